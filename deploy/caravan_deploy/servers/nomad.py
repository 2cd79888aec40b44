"""Nomad: a server that is a client, too, and a client on each machine that joined; ACLs, and workload identities."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caravan_deploy.addresses import interface_of
from caravan_deploy.api import Api
from caravan_deploy.errors import ApiError
from caravan_deploy.layout import LOOPBACK, MEBIBYTE, MHZ_PER_CPU, PLATFORM_MEMORY_MB, PLATFORM_MHZ, Layout
from caravan_deploy.processes import Daemon
from caravan_deploy.progress import wait_for
from caravan_deploy.servers.access import VAULT_LOGIN
from caravan_deploy.servers.consul import DATACENTER
from caravan_deploy.servers.credentials import Credentials
from caravan_deploy.servers.tokens import Tokens, write_secret

NOT_YET = "0s"
VAULT = {"enabled": True, "jwt_auth_backend_path": VAULT_LOGIN}
DRIVERS = ("docker", "raw_exec")
CLOUDS = "env_aws,env_gce,env_azure,env_digitalocean"
DEVICE_PLUGIN = "caravan-device-plugin"
HOOK = Path("agent_driver/caravan_agent_driver/hook.py")


def nomad_api(layout: Layout, tokens: Tokens) -> Api:
    """Return Nomad's API with the management token."""
    return Api("Nomad", layout.ports.nomad_http, {"X-Nomad-Token": tokens.nomad_management})


def nomad_daemon(layout: Layout, program: Path) -> Daemon:
    command = [str(program), "agent", f"-config={layout.etc / 'nomad.json'}"]
    return Daemon("nomad", command, layout.run / "nomad.pid", layout.logs / "nomad.log")


def start_nomad(layout: Layout, tokens: Tokens, program: Path) -> None:
    """Start Nomad, bootstrap its ACLs the first time, and wait until its one node is ready."""
    changed = write_secret(layout.etc / "nomad.json", json.dumps(_configuration(layout, tokens), indent=2))
    daemon = nomad_daemon(layout, program)
    daemon.restart(changed=changed)
    anonymous, api = Api("Nomad", layout.ports.nomad_http), nomad_api(layout, tokens)

    def led() -> bool | None:
        daemon.must_run()
        return True if anonymous.answers("/v1/status/leader") else None

    wait_for(f"Nomad has no leader ({daemon.log})", led, 30)
    wait_for(f"Nomad does not take its management token ({daemon.log})", lambda: _bootstrapped(api, tokens), 30)


def wait_for_node(layout: Layout, api: Api) -> dict[str, Any]:
    """Return the machine's own node once it is registered by this run, ready, and its drivers are found."""

    def ready() -> dict[str, Any] | None:
        if not _registered(api):
            _register_again(layout, api)
            return None
        return next((node for node in api.call("GET", "/v1/nodes") if _is_ready(layout, node)), None)

    return wait_for(f"Nomad's client is not ready ({layout.logs / 'nomad.log'})", ready, 60)


def _is_ready(layout: Layout, node: Mapping[str, Any]) -> bool:
    drivers: dict[str, Any] = node["Drivers"] or {}
    found = all(drivers.get(name, {}).get("Healthy") for name in DRIVERS)
    return node["Name"] == layout.node_name and node["Status"] == "ready" and found


def _registered(api: Api) -> bool:
    """Say whether the client has heard from the server since it started: the node's last status may be an old run's."""
    return bool(api.call("GET", "/v1/agent/self")["stats"]["client"]["heartbeat_ttl"] != NOT_YET)


def _register_again(layout: Layout, api: Api) -> None:
    """Make the client register now: refused while the server still reads its log, it would wait 15 s or more.

    A list of servers that differs from the one it knows, here by naming the same server twice, makes it try again.
    """
    address = f"address={layout.address}:{layout.ports.nomad_rpc}"
    for servers in (f"{address}&{address}", address):
        api.call("PUT", f"/v1/agent/servers?{servers}")


def _bootstrapped(api: Api, tokens: Tokens) -> bool | None:
    if api.answers("/v1/acl/token/self"):
        return True
    try:
        api.call("POST", "/v1/acl/bootstrap", {"BootstrapSecret": tokens.nomad_management})
    except ApiError:
        return None
    return True


def start_nomad_client(layout: Layout, credentials: Credentials, program: Path) -> None:
    """Start Nomad's client on a machine that joined. That it works is seen when its agent's job does."""
    changed = write_secret(layout.etc / "nomad.json", json.dumps(_client_configuration(layout, credentials), indent=2))
    nomad_daemon(layout, program).restart(changed=changed)


def _configuration(layout: Layout, tokens: Tokens) -> dict[str, object]:
    ports = layout.ports
    return _common(layout, tokens.consul_nomad) | {
        "server": {"enabled": True, "bootstrap_expect": 1, "raft_multiplier": 1, "encrypt": tokens.nomad_gossip},
        "client": _client(layout) | {"meta": _meta(layout) | _server_meta(layout)},
        "vault": VAULT
        | {
            "address": layout.url(ports.vault),
            "default_identity": {"aud": ["vault.io"], "ttl": "1h"},
        },
    }


def _client_configuration(layout: Layout, credentials: Credentials) -> dict[str, object]:
    ports = layout.ports
    client = {
        "servers": [f"{layout.server}:{ports.nomad_rpc}"],
        # Who stops this Nomad by SIGINT takes the machine out: its sessions end, while their agent is still there.
        "drain_on_shutdown": {"deadline": "1s", "ignore_system_jobs": True},
    }
    return _common(layout, credentials.consul) | {
        "client": _client(layout) | client,
        "leave_on_interrupt": True,
        "vault": VAULT
        | {
            "address": f"https://{layout.server}:{ports.vault}",
            "ca_file": str(layout.authority),
        },
    }


def _common(layout: Layout, consul_token: str) -> dict[str, object]:
    """Return what all machines have. The HTTP API stays on loopback."""
    ports = layout.ports
    return {
        "name": layout.node_name,
        "datacenter": DATACENTER,
        "data_dir": str(layout.data / "nomad"),
        "bind_addr": layout.address,
        "addresses": {"http": LOOPBACK, "rpc": layout.address, "serf": layout.address},
        "advertise": {
            "http": f"{LOOPBACK}:{ports.nomad_http}",
            "rpc": f"{layout.address}:{ports.nomad_rpc}",
            "serf": f"{layout.address}:{ports.nomad_serf}",
        },
        "ports": {"http": ports.nomad_http, "rpc": ports.nomad_rpc, "serf": ports.nomad_serf},
        "acl": {"enabled": True},
        "plugin_dir": str(layout.plugins),
        "plugin": [
            {"raw_exec": [{"config": [{"enabled": True}]}]},
            {"docker": [{"config": [_docker_plugin()]}]},
            {DEVICE_PLUGIN: [{"config": [{"devices": str(layout.devices)}]}]},
        ],
        "consul": {
            "address": f"{LOOPBACK}:{ports.consul_http}",
            "token": consul_token,
            "service_identity": {"aud": ["consul.io"], "ttl": "1h"},
            "task_identity": {"aud": ["consul.io"], "ttl": "1h"},
        },
        "limits": {"http_max_conns_per_client": 0, "rpc_max_conns_per_client": 0},
        "telemetry": {
            "prometheus_metrics": True,
            "publish_allocation_metrics": True,
            "publish_node_metrics": True,
            "disable_hostname": True,
        },
        "disable_update_check": True,
        "log_level": "INFO",
        **_wire(layout),
    }


def _wire(layout: Layout) -> dict[str, object]:
    """Return what keeps words between machines secret and strangers out; on loopback there are neither."""
    if not layout.is_open:
        return {}
    files = {"ca_file": layout.authority, "cert_file": layout.certificate, "key_file": layout.certificate}
    return {"tls": {name: str(path) for name, path in files.items()} | {"rpc": True, "verify_server_hostname": True}}


def _client(layout: Layout) -> dict[str, object]:
    """Return the client's part; its totals are the advertised slots and the platform's own share."""
    return {
        "enabled": True,
        "network_interface": interface_of(layout.address),
        "min_dynamic_port": layout.ports.dynamic_min,
        "max_dynamic_port": layout.ports.dynamic_max,
        "cpu_total_compute": layout.cpus * MHZ_PER_CPU + PLATFORM_MHZ,
        "memory_total_mb": layout.memory_mb + PLATFORM_MEMORY_MB,
        "gc_max_allocs": 200,
        # By default a task is killed when Vault or Consul was away for some minutes; ours go on with what they have.
        "template": [{f"{store}_retry": [{"attempts": 0}] for store in ("vault", "consul", "nomad")}],
        "options": {"fingerprint.denylist": CLOUDS, "driver.allowlist": ",".join(DRIVERS)},
        "meta": _meta(layout),
    }


def _meta(layout: Layout) -> dict[str, str]:
    """Return what jobs must know of this machine: where Caravan's things are, and how much of it sessions may have."""
    return {
        "caravan_programs": str(layout.programs),
        "caravan_state": str(layout.agent_state),
        "caravan_scratch": str(layout.agent_state / "scratches"),
        "caravan_runtime": str(layout.agent_state / "runtime"),
        "caravan_hook": str(layout.checkout / HOOK),
        "caravan_socket": str(layout.agent_socket),
        "caravan_devices": str(layout.devices),
        "caravan_slots_cpu": str(layout.cpus),
        "caravan_slots_mem": str(layout.memory_mb * MEBIBYTE),
    }


def _server_meta(layout: Layout) -> dict[str, str]:
    """Return what only the server has: the platform's own jobs and their data, and the volume."""
    return {"caravan_platform": "true", "caravan_volume1": str(layout.volume)}


def _docker_plugin() -> dict[str, object]:
    return {
        "volumes": [{"enabled": True}],
        # The agent removes a session's container itself, when it has read the last line of its log.
        "gc": [{"image": False, "container": False, "dangling_containers": [{"enabled": False}]}],
        "allow_privileged": False,
    }
