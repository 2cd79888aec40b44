"""Vault: raft storage, initialised once with one key, unsealed at each start by the key in a file of this machine."""

import json
from pathlib import Path

from caravan_deploy.api import Api
from caravan_deploy.errors import SetupError
from caravan_deploy.layout import LOOPBACK, Layout
from caravan_deploy.ports import answers
from caravan_deploy.processes import Daemon
from caravan_deploy.progress import wait_for
from caravan_deploy.servers.tokens import Tokens, write_secret

WARNING = (
    "The key and the root token of a one-machine Vault. Whoever reads this file reads every secret of this Caravan. "
    "Never deploy several machines like this: use several key shares, or auto-unseal, and revoke the root token."
)


def vault_daemon(layout: Layout, program: Path) -> Daemon:
    command = [str(program), "server", f"-config={layout.etc / 'vault.json'}"]
    return Daemon("vault", command, layout.run / "vault.pid", layout.logs / "vault.log")


def vault_api(layout: Layout) -> Api:
    """Return Vault's API with the root token. Raises SetupError before Vault was initialised."""
    keys = layout.secrets / "vault-keys.json"
    if not keys.exists():
        raise SetupError("Vault has no keys yet: run `make up` first.")
    root_token: str = json.loads(keys.read_text(encoding="utf-8"))["root_token"]
    return Api("Vault", layout.ports.vault, {"X-Vault-Token": root_token})


def start_vault(layout: Layout, tokens: Tokens, program: Path) -> None:
    """Start Vault, initialise it the first time, unseal it, and wait until it is active."""
    changed = write_secret(layout.etc / "vault.json", json.dumps(_configuration(layout, tokens), indent=2))
    daemon = vault_daemon(layout, program)
    daemon.restart(changed=changed)
    anonymous = Api("Vault", layout.ports.vault)

    def answering() -> bool | None:
        daemon.must_run()
        return True if anonymous.answers("/v1/sys/seal-status") else None

    wait_for(f"Vault does not answer ({daemon.log})", answering, 30)
    _initialise(layout, anonymous)
    _unseal(layout, anonymous)
    wait_for(f"Vault is not active ({daemon.log})", lambda: True if anonymous.answers("/v1/sys/health") else None, 30)


def open_vault(layout: Layout, tokens: Tokens, program: Path) -> None:
    """Have Vault listen for other machines, too, now that it has a certificate."""
    if not answers(layout.address, layout.ports.vault):
        start_vault(layout, tokens, program)


def _initialise(layout: Layout, api: Api) -> None:
    keys = layout.secrets / "vault-keys.json"
    if api.call("GET", "/v1/sys/init")["initialized"]:
        if not keys.exists():
            raise SetupError(f"Vault's data is there but its keys are not ({keys}): `make clean` and begin anew.")
        return
    made = api.call("PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1}, limit=60)
    content = {"warning": WARNING, "unseal_key": made["keys_base64"][0], "root_token": made["root_token"]}
    write_secret(keys, json.dumps(content, indent=2) + "\n")


def _unseal(layout: Layout, api: Api) -> None:
    if api.call("GET", "/v1/sys/seal-status")["sealed"]:
        keys = json.loads((layout.secrets / "vault-keys.json").read_text(encoding="utf-8"))
        api.call("PUT", "/v1/sys/unseal", {"key": keys["unseal_key"]}, limit=60)


def _configuration(layout: Layout, tokens: Tokens) -> dict[str, object]:
    ports = layout.ports
    opened = layout.is_open and layout.certificate.exists()
    return {
        "api_addr": f"https://{layout.address}:{ports.vault}" if opened else layout.url(ports.vault),
        "cluster_addr": f"https://{LOOPBACK}:{ports.vault_cluster}",
        "cluster_name": layout.name,
        "disable_mlock": True,
        "listener": [{"tcp": listener} for listener in _listeners(layout, opened=opened)],
        "storage": {"raft": {"path": str(layout.data / "vault"), "node_id": layout.name, "performance_multiplier": 1}},
        "service_registration": {
            "consul": {"address": f"{LOOPBACK}:{ports.consul_http}", "token": tokens.consul_vault}
        },
        "telemetry": {"prometheus_retention_time": "60s", "disable_hostname": True},
        "log_level": "info",
    }


def _listeners(layout: Layout, *, opened: bool) -> list[dict[str, object]]:
    """Return where Vault listens: on loopback, and by TLS for other machines once it has a certificate."""
    ports = layout.ports
    local: dict[str, object] = {
        "address": f"{LOOPBACK}:{ports.vault}",
        "cluster_address": f"{LOOPBACK}:{ports.vault_cluster}",
        "tls_disable": True,
    }
    outer: dict[str, object] = {
        "address": f"{layout.address}:{ports.vault}",
        "cluster_address": f"{layout.address}:{ports.vault_cluster}",
        "tls_cert_file": str(layout.certificate),
        "tls_key_file": str(layout.certificate),
        "tls_min_version": "tls13",
    }
    return [local, outer] if opened else [local]
