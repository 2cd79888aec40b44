"""What `make up` tells at its end, and `make status` at any time."""

from dataclasses import dataclass

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import NOWHERE, Layout
from caravan_deploy.nodes.joining import agent_passes
from caravan_deploy.platform.admin import Admin
from caravan_deploy.platform.image import REFERENCE
from caravan_deploy.platform.jobs import SERVICES, STORES, Platform
from caravan_deploy.progress import say
from caravan_deploy.servers.consul import consul_api, consul_daemon
from caravan_deploy.servers.credentials import load_credentials
from caravan_deploy.servers.docker import docker_answers
from caravan_deploy.servers.machine import machine_daemon
from caravan_deploy.servers.nomad import nomad_api, nomad_daemon
from caravan_deploy.servers.tokens import load_tokens
from caravan_deploy.servers.vault import vault_daemon


@dataclass(frozen=True, slots=True)
class Row:
    """One thing of the stack: where it is, and how it does."""

    what: str
    where: str
    health: str


def status(layout: Layout) -> list[Row]:
    """Return the state of every part of the stack, as far as it is this machine's."""
    ports = layout.ports
    if layout.has_joined:
        return _joined(layout)
    daemons = (
        (consul_daemon(layout, NOWHERE), ports.consul_http),
        (vault_daemon(layout, NOWHERE), ports.vault),
        (nomad_daemon(layout, NOWHERE), ports.nomad_http),
    )
    rows = [Row("docker", "/var/run/docker.sock", "answers" if docker_answers() else "does not answer")]
    for daemon, port in daemons:
        pid = daemon.pid()
        rows.append(Row(daemon.name, layout.url(port), f"process {pid}" if pid else "stopped"))
    running = all(daemon.pid() for daemon, _ in daemons)
    rows += [_job(layout, job, running=running) for job in (*STORES, *SERVICES)]
    return rows + _others(layout) if running else rows


def show_status(layout: Layout) -> bool:
    """Print the table; says whether everything is well."""
    if not layout.saved.exists():
        say(f"there is no stack at {layout.root}: `make up` makes one.")
        return False
    rows = [Row("WHAT", "WHERE", "HEALTH"), *status(layout)]
    first, second = max(len(row.what) for row in rows), max(len(row.where) for row in rows)
    for row in rows:
        say(f"{row.what:{first}}  {row.where:{second}}  {row.health}")
    return all(row.health not in {"stopped", "does not answer", "not healthy"} for row in rows)


def show_admin(layout: Layout, admin: Admin) -> None:
    """Print the first admin's credentials: done once, when they were made."""
    say("")
    say("The first admin (printed this once; kept in the file below, which only its owner can read):")
    say(f"  email       {admin.email}")
    say(f"  password    {admin.password}")
    say(f"  access key  {admin.access_key}")
    say(f"  secret key  {admin.secret_key}")
    say(f"  file        {layout.admin_file}")


def show_next_steps(layout: Layout) -> None:
    """Print how to go on."""
    say("")
    say(f"Caravan runs at {layout.endpoint}. Go on with the official client:")
    say(f"  source {layout.admin_file}")
    say(f"  backend.ai session create --name first -r cpu=1 -r mem=256m {REFERENCE}")
    say("  backend.ai session list")
    say("As an operator: make status, nomad job status, consul catalog services, vault policy list;")
    say("docs/guides/what-is-where.md says where their tokens lie. make down stops everything and keeps the data.")


def _joined(layout: Layout) -> list[Row]:
    """Return the rows of a machine that joined."""
    rows = [Row("docker", "/var/run/docker.sock", "answers" if docker_answers() else "does not answer")]
    for daemon in (consul_daemon(layout, NOWHERE), machine_daemon(layout, NOWHERE), nomad_daemon(layout, NOWHERE)):
        pid = daemon.pid()
        rows.append(Row(daemon.name, f"{layout.address}, of {layout.server}", f"process {pid}" if pid else "stopped"))
    passes = agent_passes(layout, load_credentials(layout))
    agent = f"{layout.address}:{layout.ports.agent}"
    return [*rows, Row("caravan-agent", agent, "checks pass" if passes else "not healthy")]


def _others(layout: Layout) -> list[Row]:
    """Return the machines that joined; those that are away do not make the server ill."""
    try:
        known = nomad_api(layout, load_tokens(layout)).call("GET", "/v1/nodes")
    except SetupError:
        return []
    others = {node["Name"]: node for node in known if node["Name"] != layout.node_name and node["Status"] != "ready"}
    others |= {node["Name"]: node for node in known if node["Name"] != layout.node_name and node["Status"] == "ready"}
    return [Row(f"node {name}", others[name]["Address"], others[name]["Status"]) for name in sorted(others)]


def _job(layout: Layout, job: str, *, running: bool) -> Row:
    name = job if job.startswith("caravan-") else f"caravan-{job}"
    if not running:
        return Row(job, f"job {job}", "stopped")
    tokens = load_tokens(layout)
    platform = Platform(layout, nomad_api(layout, tokens), consul_api(layout, tokens))
    try:
        found, passing = platform.where(name), platform.passing(name)
    except SetupError:
        found, passing = [], False
    return Row(job, ", ".join(found) or f"job {job}", "checks pass" if passing else "not healthy")
