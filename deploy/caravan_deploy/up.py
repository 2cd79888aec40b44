"""Bring a stack up. Each step can be repeated: `up` after anything, even a finished `up`, ends in the same state."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from caravan_deploy.api import Api
from caravan_deploy.errors import SetupError
from caravan_deploy.layout import LOOPBACK, NOWHERE, Layout
from caravan_deploy.platform.admin import Admin, bootstrap, load_admin, write_admin_file
from caravan_deploy.platform.image import KernelImage
from caravan_deploy.platform.jobs import SERVICES, STORES, Platform
from caravan_deploy.platform.passwords import make_platform_secrets
from caravan_deploy.ports import refuse_taken
from caravan_deploy.processes import orphans_of
from caravan_deploy.progress import step
from caravan_deploy.servers.access import (
    apply_consul_login,
    apply_consul_policies,
    apply_nomad_policies,
    apply_vault_policies,
    enable_secret_engines,
    let_machines_log_in,
)
from caravan_deploy.servers.consul import consul_api, consul_daemon, start_consul
from caravan_deploy.servers.devices import install_device_plugin
from caravan_deploy.servers.docker import start_docker
from caravan_deploy.servers.machine import server_login, start_machine_agent
from caravan_deploy.servers.nomad import nomad_api, nomad_daemon, start_nomad, wait_for_node
from caravan_deploy.servers.pki import AUTHORITY, make_authority
from caravan_deploy.servers.tokens import Tokens, load_tokens
from caravan_deploy.servers.vault import open_vault, start_vault, vault_api, vault_daemon


@dataclass(frozen=True, slots=True)
class Servers:
    """The three servers of a running stack, each with its management token."""

    nomad: Api
    consul: Api
    vault: Api


def check_ports(layout: Layout) -> None:
    """Refuse ports that somebody else holds; those of servers that run, and of tasks that outlived them, are ours."""
    running = {
        daemon.name
        for daemon in (consul_daemon(layout, NOWHERE), vault_daemon(layout, NOWHERE), nomad_daemon(layout, NOWHERE))
        if daemon.pid() is not None
    }
    jobs_run = "nomad" in running or orphans_of(layout.data / "nomad")
    of_jobs: set[str] = set() if jobs_run else {"manager", "storage", "agent"}
    wanted = {"consul", "vault", "nomad"} - running | of_jobs
    ports = {name: port for name, port in layout.ports.fixed().items() if name.partition("_")[0] in wanted}
    refuse_taken(ports, {LOOPBACK, layout.address})


def bound_to(layout: Layout, address: str) -> Layout:
    """Return the stack with that address for other machines. Raises SetupError while it runs with another one."""
    if address == layout.address:
        return layout
    if any(daemon(layout, NOWHERE).pid() for daemon in (consul_daemon, vault_daemon, nomad_daemon)):
        raise SetupError(f"the stack runs at {layout.address}: `make down` first, then choose another address.")
    layout.certificate.unlink(missing_ok=True)
    return replace(layout, address=address)


def start_servers(layout: Layout, programs: dict[str, Path]) -> Servers:
    """Start Docker, Consul, Vault and Nomad and give them their policies."""
    layout.make_folders()
    layout.save()
    install_device_plugin(layout)
    tokens = load_tokens(layout)
    with ThreadPoolExecutor() as pool:
        work = [pool.submit(docker_runs, layout), pool.submit(_vault, layout, tokens, programs["vault"])]
        if layout.is_open:
            work[-1].result()
            _open(layout, tokens, programs["vault"])
        work.append(pool.submit(_consul, layout, tokens, programs["consul"]))
        for done in work:
            done.result()
    with step("Nomad: server and client, ACLs, workload identities"):
        start_nomad(layout, tokens, programs["nomad"])
    servers = connect(layout, tokens)
    with step("policies and secrets"):
        apply_nomad_policies(layout, servers.nomad)
        apply_consul_login(layout, servers.consul, tokens)
        apply_vault_policies(layout, servers.vault)
        make_platform_secrets(servers.vault)
    with step("Nomad's node is ready"):
        wait_for_node(layout, servers.nomad)
    return servers


def connect(layout: Layout, tokens: Tokens) -> Servers:
    """Return the APIs of a stack that was started before."""
    return Servers(nomad_api(layout, tokens), consul_api(layout, tokens), vault_api(layout))


def start_platform(layout: Layout, servers: Servers, image: KernelImage) -> Admin:
    """Run the platform's jobs: first the stores, then what needs them; then make the first admin."""
    platform = Platform(layout, servers.nomad, servers.consul)
    platform.write_session_job()
    for jobs in (STORES, SERVICES):
        for job in jobs:
            platform.submit(job)
        for job in jobs:
            with step(job):
                platform.wait_until_healthy(job)
    admin = load_admin(layout)
    with step("first admin and kernel image registered"):
        bootstrap(layout, platform, servers.vault, admin, image)
    write_admin_file(layout, admin)
    return admin


def docker_runs(layout: Layout) -> None:
    """See to it that Docker runs, and say so."""
    with step("Docker"):
        start_docker(layout)


def _consul(layout: Layout, tokens: Tokens, program: Path) -> None:
    with step("Consul: one server, ACLs default-deny"):
        start_consul(layout, tokens, program)
        apply_consul_policies(layout, consul_api(layout, tokens), tokens)


def _open(layout: Layout, tokens: Tokens, program: Path) -> None:
    """Get this machine its certificate, which Consul and Nomad start with, and have Vault show it to other machines."""
    with step(f"certificate of this machine; Vault answers at {layout.address}"):
        vault = vault_api(layout)
        let_machines_log_in(layout, vault)
        layout.authority.write_text(vault.call("GET", AUTHORITY), encoding="ascii")
        start_machine_agent(layout, layout.url(layout.ports.vault), server_login(layout, vault), program)
        open_vault(layout, tokens, program)


def _vault(layout: Layout, tokens: Tokens, program: Path) -> None:
    with step("Vault: raft storage, unsealed"):
        start_vault(layout, tokens, program)
        enable_secret_engines(vault_api(layout))
        make_authority(layout, vault_api(layout))
