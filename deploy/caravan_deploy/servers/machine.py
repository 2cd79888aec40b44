"""The Vault agent of a machine in a cluster: it gets the machine's certificate, and a new one in time."""

import json
from pathlib import Path

from caravan_deploy.api import Api
from caravan_deploy.layout import Layout
from caravan_deploy.processes import Daemon
from caravan_deploy.progress import wait_for
from caravan_deploy.servers.access import APPROLE
from caravan_deploy.servers.pki import MOUNT, NODE_NAMES, SERVER_NAMES
from caravan_deploy.servers.tokens import write_secret


def machine_daemon(layout: Layout, program: Path) -> Daemon:
    command = [str(program), "agent", f"-config={layout.etc / 'vault-agent.json'}"]
    return Daemon("vault-agent", command, layout.run / "vault-agent.pid", layout.logs / "vault-agent.log")


def start_machine_agent(layout: Layout, vault: str, login: tuple[str, str], program: Path) -> None:
    """Start the agent at the Vault of that URL, and wait for the certificate. ``login`` is role ID and secret ID."""
    files = {"role-id": login[0], "secret-id": login[1], "vault-agent.json": _configuration(layout, vault)}
    changed = [write_secret(layout.etc / name, content) for name, content in files.items()]
    daemon = machine_daemon(layout, program)
    daemon.restart(changed=any(changed))

    def certified() -> bool | None:
        daemon.must_run()
        return True if layout.certificate.exists() else None

    wait_for(f"Vault gives this machine no certificate ({daemon.log})", certified, 30)


def server_login(layout: Layout, vault: Api) -> tuple[str, str]:
    """Return role ID and secret ID of the server's own login; the ones that it has go on."""
    files = layout.etc / "role-id", layout.etc / "secret-id"
    if all(file.exists() for file in files):
        return files[0].read_text(encoding="ascii"), files[1].read_text(encoding="ascii")
    role: str = vault.call("GET", f"/v1/auth/{APPROLE}/role/server/role-id")["data"]["role_id"]
    secret: str = vault.call("POST", f"/v1/auth/{APPROLE}/role/server/secret-id")["data"]["secret_id"]
    return role, secret


def _configuration(layout: Layout, vault: str) -> str:
    login = {
        "role_id_file_path": str(layout.etc / "role-id"),
        "secret_id_file_path": str(layout.etc / "secret-id"),
        "remove_secret_id_file_after_reading": False,
    }
    server = {"address": vault} | ({"ca_cert": str(layout.authority)} if layout.has_joined else {})
    reload = [str(layout.programs / "caravan-stack"), "--root", str(layout.root), "reload"]
    configuration = {
        "vault": server,
        "auto_auth": {"method": [{"type": "approle", "mount_path": f"auth/{APPROLE}", "config": login}]},
        "template_config": {"exit_on_retry_failure": False},
        "template": [
            {
                "destination": str(layout.certificate),
                "perms": "0600",
                "contents": _certificate(layout),
                "exec": {"command": reload, "timeout": "30s"},
            }
        ],
        "log_level": "info",
    }
    return json.dumps(configuration, indent=2)


def _certificate(layout: Layout) -> str:
    """Return the template of a PEM file with key, certificate and the authority's."""
    role = "node" if layout.has_joined else "server"
    first, *others = NODE_NAMES if layout.has_joined else SERVER_NAMES
    wanted = [f"{MOUNT}/issue/{role}", f"common_name={first}", f"alt_names={','.join(others)}"]
    if not layout.has_joined:
        wanted.append(f"ip_sans={layout.address}")
    arguments = " ".join(json.dumps(word) for word in wanted)
    return "{{ with pkiCert " + arguments + " }}{{ .Key }}{{ .Cert }}{{ end }}"
