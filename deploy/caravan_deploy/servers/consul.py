"""Consul: one server with ACLs, default-deny, on loopback."""

import json
from pathlib import Path

from caravan_deploy.api import Api
from caravan_deploy.layout import LOOPBACK, Layout
from caravan_deploy.processes import Daemon
from caravan_deploy.progress import wait_for
from caravan_deploy.servers.tokens import Tokens, write_secret


def consul_api(layout: Layout, tokens: Tokens) -> Api:
    """Return Consul's API with the management token."""
    return Api("Consul", layout.ports.consul_http, {"X-Consul-Token": tokens.consul_management})


def consul_daemon(layout: Layout, program: Path) -> Daemon:
    command = [str(program), "agent", f"-config-file={layout.etc / 'consul.json'}"]
    return Daemon("consul", command, layout.run / "consul.pid", layout.logs / "consul.log")


def start_consul(layout: Layout, tokens: Tokens, program: Path) -> None:
    """Start Consul and wait until it has a leader and accepts the management token."""
    write_secret(layout.etc / "consul.json", json.dumps(_configuration(layout, tokens), indent=2))
    daemon = consul_daemon(layout, program)
    daemon.start()
    api = consul_api(layout, tokens)

    def ready() -> bool | None:
        daemon.must_run()
        return True if api.answers("/v1/acl/token/self") and api.call("GET", "/v1/status/leader") else None

    wait_for(f"Consul has no leader ({daemon.log})", ready, 30)


def _configuration(layout: Layout, tokens: Tokens) -> dict[str, object]:
    ports = layout.ports
    return {
        "server": True,
        "bootstrap_expect": 1,
        "datacenter": "dc1",
        "node_name": layout.name,
        "data_dir": str(layout.data / "consul"),
        "bind_addr": LOOPBACK,
        "client_addr": LOOPBACK,
        "ports": {
            "http": ports.consul_http,
            "dns": ports.consul_dns,
            "server": ports.consul_server,
            "serf_lan": ports.consul_serf,
            "serf_wan": -1,
            "grpc": -1,
            "grpc_tls": -1,
        },
        "acl": {
            "enabled": True,
            "default_policy": "deny",
            "tokens": {
                "initial_management": tokens.consul_management,
                "agent": tokens.consul_agent,
            },
        },
        "performance": {"raft_multiplier": 1},
        "limits": {"http_max_conns_per_client": 2000},
        "connect": {"enabled": False},
        "telemetry": {"prometheus_retention_time": "60s", "disable_hostname": True},
        "disable_update_check": True,
        "leave_on_terminate": False,
        "log_level": "INFO",
    }
