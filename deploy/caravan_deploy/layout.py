"""Where one stack lies and listens. Every path and port of the deploy room comes from these values."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from caravan_deploy.errors import SetupError

REPOSITORY = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
LONGEST_SOCKET_PATH = 107
MEBIBYTE = 1024**2
PLATFORM_MHZ = 2000
PLATFORM_MEMORY_MB = 2048
MHZ_PER_CPU = 1000
CLIENT_VERSION = "25.5.2"
NOWHERE = Path()
"""In place of a program's path, to ask whether it runs."""


def cache_folder() -> Path:
    """Return the per-user cache that all stacks and checkouts of a user share."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "caravan"


def client_folder(version: str = CLIENT_VERSION) -> Path:
    """Return where the official client's program lies once it is installed."""
    return cache_folder() / "client" / version / "bin"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one stack, the same on all its machines; ``dynamic_*`` is the range Nomad gives to its tasks."""

    consul_http: int = 8500
    consul_dns: int = 8600
    consul_server: int = 8300
    consul_serf: int = 8301
    vault: int = 8200
    vault_cluster: int = 8201
    nomad_http: int = 4646
    nomad_rpc: int = 4647
    nomad_serf: int = 4648
    manager: int = 8091
    manager_internal: int = 18080
    storage_client: int = 6021
    storage_manager: int = 6022
    storage_metrics: int = 16023
    agent: int = 6011
    agent_metrics: int = 6003
    dynamic_min: int = 20000
    dynamic_max: int = 25999

    @classmethod
    def block(cls, base: int, size: int) -> "Ports":
        """Return ports from one block of ``size`` ports at ``base``; the tasks' range is what the fixed ones leave."""
        names = [f.name for f in fields(cls) if not f.name.startswith("dynamic_")]
        fixed = {name: base + number for number, name in enumerate(names)}
        return cls(**fixed, dynamic_min=base + len(names), dynamic_max=base + size - 1)

    def fixed(self) -> dict[str, int]:
        """Return the ports that must be free before a stack starts, by name."""
        return {name: port for name, port in asdict(self).items() if not name.startswith("dynamic_")}


def _cpus() -> int:
    return max(4, os.cpu_count() or 1)


def _memory_mb() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEBIBYTE
    return max(1024, total - PLATFORM_MEMORY_MB)


@dataclass(frozen=True, slots=True)
class Layout:
    """One machine's part of one stack.

    ``name`` is the stack's, and labels what it makes in Docker; ``root`` holds its data, ``checkout`` has its programs.
    ``address`` is where other machines reach this one; on loopback there are none. ``server`` is the address of the
    stack's server, on a machine that joined it, and ``node`` that machine's name.
    """

    root: Path
    name: str = "caravan"
    ports: Ports = field(default_factory=Ports)
    checkout: Path = REPOSITORY
    network_pool: str = "10.128.0.0/12"
    cpus: int = field(default_factory=_cpus)
    memory_mb: int = field(default_factory=_memory_mb)
    address: str = LOOPBACK
    server: str = ""
    node: str = ""

    @property
    def node_name(self) -> str:
        """This machine's name in Nomad and Consul; the server has the stack's."""
        return self.node or self.name

    @property
    def is_open(self) -> bool:
        """Whether other machines may reach the servers of this one."""
        return self.address != LOOPBACK

    @property
    def has_joined(self) -> bool:
        """Whether this machine is not the stack's server, but a node that joined it."""
        return bool(self.server)

    @property
    def authority(self) -> Path:
        """Certificate of the cluster's authority, where the stack has several machines."""
        return self.etc / "ca.pem"

    @property
    def certificate(self) -> Path:
        """This machine's own key and certificate, renewed by its Vault agent."""
        return self.etc / "machine.pem"

    @property
    def etc(self) -> Path:
        """Configuration files with the agents' tokens (0700)."""
        return self.root / "etc"

    @property
    def secrets(self) -> Path:
        """Management tokens and Vault's keys, of use to this one machine only (0700)."""
        return self.root / "secrets"

    @property
    def run(self) -> Path:
        """Recorded process IDs and the agent's socket."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """Logs of the processes that the stack itself starts; tasks' logs are Nomad's."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """What must survive ``down``: one folder each for consul, vault, nomad, postgres, redis, agent, volumes."""
        return self.root / "data"

    @property
    def agent_socket(self) -> Path:
        return self.run / "agent.sock"

    @property
    def agent_state(self) -> Path:
        return self.data / "agent"

    @property
    def volume(self) -> Path:
        return self.data / "volumes" / "volume1"

    @property
    def admin_file(self) -> Path:
        return self.root / "admin.env"

    @property
    def session_job(self) -> Path:
        """The skeleton of session jobs as Nomad parsed it, for the manager."""
        return self.etc / "session.nomad.json"

    @property
    def devices(self) -> Path:
        """The device file: this machine's accelerators, for Nomad's device plugin and Caravan's agent."""
        return self.etc / "devices.toml"

    @property
    def plugins(self) -> Path:
        """Nomad's plugins that are not part of it."""
        return self.root / "plugins"

    @property
    def client_home(self) -> Path:
        """Home of the official client while it runs the main job."""
        return self.root / "main-job"

    @property
    def saved(self) -> Path:
        return self.root / "stack.json"

    @property
    def programs(self) -> Path:
        """Where the checkout's virtual environment has Caravan's own programs."""
        return self.checkout / ".venv" / "bin"

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.manager}"

    def url(self, port: int) -> str:
        return f"http://{LOOPBACK}:{port}"

    def make_folders(self) -> None:
        """Make the folders that do not exist; what may hold a secret is closed to other users."""
        if len(str(self.agent_socket)) > LONGEST_SOCKET_PATH:
            raise SetupError(
                f"{self.root} is too long a path: the agent's socket below it must fit in {LONGEST_SOCKET_PATH} bytes."
            )
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        for folder in (self.etc, self.secrets, self.run, self.logs, self.data):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.agent_state.mkdir(mode=0o755, exist_ok=True)
        for name in ("consul", "nomad") if self.has_joined else ("consul", "vault", "nomad", "postgres", "redis"):
            (self.data / name).mkdir(mode=0o700, exist_ok=True)
        if self.has_joined:
            return
        self.client_home.mkdir(mode=0o700, exist_ok=True)
        self.volume.mkdir(mode=0o755, parents=True, exist_ok=True)

    def save(self) -> None:
        """Remember name, ports and sizes, so that later commands need no options."""
        state = {
            "name": self.name,
            "ports": asdict(self.ports),
            "network_pool": self.network_pool,
            "cpus": self.cpus,
            "memory_mb": self.memory_mb,
            "address": self.address,
            "server": self.server,
            "node": self.node,
        }
        self.saved.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


def load_layout(root: Path, overrides: Mapping[str, int]) -> Layout:
    """Return the stack that lies at ``root``, or the default one to be made there; ``overrides`` are ports by name."""
    layout = Layout(root=root.resolve())
    if layout.saved.exists():
        try:
            raw = json.loads(layout.saved.read_text(encoding="utf-8"))
            layout = replace(layout, **(raw | {"ports": Ports(**raw["ports"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise SetupError(f"{layout.saved} is not what this version of Caravan wrote ({error}).") from error
    return replace(layout, ports=replace(layout.ports, **overrides))
