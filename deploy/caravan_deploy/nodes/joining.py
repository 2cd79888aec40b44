"""The other machine's side: believe the server, get credentials, start the agents of Consul, Vault and Nomad."""

import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from caravan_deploy.addresses import address_towards, checked_address
from caravan_deploy.api import Api
from caravan_deploy.errors import ApiError, SetupError
from caravan_deploy.layout import LOOPBACK, Layout, Ports
from caravan_deploy.nodes.invitation import fingerprint
from caravan_deploy.nodes.token import JoinToken
from caravan_deploy.platform.image import ensure_image
from caravan_deploy.ports import refuse_taken
from caravan_deploy.progress import step, wait_for
from caravan_deploy.servers.consul import consul_daemon, start_consul_client
from caravan_deploy.servers.credentials import Credentials, load_credentials, save_credentials
from caravan_deploy.servers.devices import install_device_plugin
from caravan_deploy.servers.machine import start_machine_agent
from caravan_deploy.servers.nomad import nomad_daemon, start_nomad_client
from caravan_deploy.servers.pki import AUTHORITY
from caravan_deploy.up import docker_runs

PROGRAMS = ("consul", "vault", "nomad")
AGENT = "caravan-agent"
MEMBER_LIMIT = 180.0


def accept(layout: Layout, token: JoinToken, bind: str | None) -> Layout:
    """Trade the token for this machine's credentials, and keep them; returns the machine's part of the stack.

    Raises SetupError when the server is not the one that made the token, the token was used or is too old, or this
    machine is a node of another stack.
    """
    if layout.has_joined and layout.server != token.server:
        raise SetupError(f"this machine is a node of {layout.name} at {layout.server}: `make leave` first.")
    address = checked_address(bind or address_towards(token.server))
    authority = _believed(token)
    vault = Api(
        "the server's Vault",
        token.port,
        {"X-Vault-Token": token.wrapped},
        host=token.server,
        tls=ssl.create_default_context(cadata=authority),
    )
    try:
        given: dict[str, Any] = vault.call("POST", "/v1/sys/wrapping/unwrap")["data"]
    except ApiError as error:
        if error.answered in {400, 403}:
            raise SetupError("the join token was used before, or is older than an hour: ask for another.") from error
        raise
    joined = replace(
        layout,
        name=given["cluster"],
        ports=Ports(**given["ports"]),
        network_pool=given["network_pool"],
        address=address,
        server=token.server,
        node=given["node"],
    )
    joined.make_folders()
    joined.authority.write_text(authority, encoding="ascii")
    save_credentials(joined, Credentials(**given["credentials"]))
    joined.save()
    return joined


def join(layout: Layout, programs: dict[str, Path]) -> None:
    """Start what of this machine's part does not run, and wait until Caravan's agent works here."""
    credentials = load_credentials(layout)
    _check_ports(layout)
    layout.make_folders()
    install_device_plugin(layout)
    with ThreadPoolExecutor() as pool:
        docker = pool.submit(docker_runs, layout)
        consul = pool.submit(_certified_consul, layout, credentials, programs)
        for done in (docker, consul):
            done.result()
    ensure_image()
    with step("Nomad's client; Caravan's agent comes as a job"):
        start_nomad_client(layout, credentials, programs["nomad"])
        _wait_for_agent(layout, credentials)


def agent_passes(layout: Layout, credentials: Credentials) -> bool:
    """Say whether the agent's job runs on this machine and its checks pass, as the machine's own Consul sees it."""
    api = Api("Consul", layout.ports.consul_http, {"X-Consul-Token": credentials.consul})
    return api.answers(f"/v1/agent/health/service/name/{AGENT}")


def _believed(token: JoinToken) -> str:
    """Return the authority's certificate from the server, if it is the one that the token names."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE  # nothing is told before the fingerprint agrees
    stranger = Api("the server's Vault", token.port, host=token.server, tls=unchecked)
    certificate = str(stranger.call("GET", AUTHORITY))
    try:
        agrees = fingerprint(certificate) == token.fingerprint
    except ValueError:
        agrees = False
    if not agrees:
        raise SetupError(
            f"{token.server}:{token.port} is not the server that made the join token; nothing was told to it."
        )
    return certificate


def _certified_consul(layout: Layout, credentials: Credentials, programs: dict[str, Path]) -> None:
    with step("certificate of this machine"):
        vault = f"https://{layout.server}:{layout.ports.vault}"
        start_machine_agent(layout, vault, (credentials.role_id, credentials.secret_id), programs["vault"])
    with step("Consul's agent"):
        start_consul_client(layout, credentials, programs["consul"])


def _wait_for_agent(layout: Layout, credentials: Credentials) -> None:
    daemon = nomad_daemon(layout, Path())

    def works() -> bool | None:
        daemon.must_run()
        return True if agent_passes(layout, credentials) else None

    wait_for(f"Caravan's agent does not come to this machine ({daemon.log})", works, MEMBER_LIMIT, pause=0.5)


def _check_ports(layout: Layout) -> None:
    """Refuse ports that somebody else holds; those of servers that run are ours."""
    programs = {daemon.name for daemon in (consul_daemon(layout, Path()), nomad_daemon(layout, Path())) if daemon.pid()}
    wanted = {"consul", "nomad", "agent"} - programs - ({"agent"} if "nomad" in programs else set())
    ports = {name: port for name, port in layout.ports.fixed().items() if name.partition("_")[0] in wanted}
    refuse_taken(ports, {LOOPBACK, layout.address})
