"""What the manager's configuration file may say."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from caravan_common.config import LogSection, RedisSection, Section


def _network(text: str) -> str:
    return str(ip_network(text))


Network = Annotated[str, AfterValidator(_network)]
"""A network in CIDR form."""


class ApiSection(Section):
    """Where clients reach the manager, and where Prometheus and health checks do."""

    host: str = "127.0.0.1"
    port: int = Field(default=8091, ge=0, le=65535)
    internal_host: str = "127.0.0.1"
    internal_port: int = Field(default=18080, ge=0, le=65535)
    trusted_proxies: list[Network] = []
    """Networks in CIDR form of the reverse proxies whose ``X-Forwarded-*`` headers are believed."""


class DatabaseSection(Section):
    """Where PostgreSQL is."""

    host: str
    port: int = Field(ge=1, le=65535)
    name: str
    user: str
    password: SecretStr
    pool_size: int = Field(default=10, ge=1, le=100)


class NomadSection(Section):
    """Where Nomad is. The token is the workload identity in the environment's NOMAD_TOKEN."""

    address: str
    namespace: str = "caravan"


class ConsulSection(Section):
    """Where Consul's agent is. The token is the workload identity's, in CONSUL_HTTP_TOKEN."""

    address: str


class VaultSection(Section):
    """Where Vault is. The token lies in a file that Nomad renews."""

    address: str
    token_file: Path
    transit_key: str = "caravan-keypairs"


class AgentsSection(Section):
    """How the manager speaks to agents. With ``ca_file`` only to those that show a certificate of that CA."""

    token: SecretStr
    ca_file: Path | None = None


class StorageSection(Section):
    """One storage proxy: where the manager reaches it. Clients are told by the proxy itself where to go."""

    manager_url: str
    token: SecretStr


class PeopleSection(Section):
    """Rules of accounts."""

    max_password_age_days: float | None = Field(default=None, gt=0)
    """After so many days a password must be changed to log in; signed requests are not affected. None: never."""

    @property
    def max_password_age(self) -> timedelta | None:
        """The same as a duration."""
        return None if self.max_password_age_days is None else timedelta(days=self.max_password_age_days)


class SchedulerSection(Section):
    """How often the scheduler looks without being woken, and how long things may take."""

    interval_seconds: float = Field(default=2, gt=0, le=60)
    sweep_seconds: float = Field(default=60, gt=0, le=3600)
    node_lost_seconds: float = Field(default=30, gt=0)
    start_limit_seconds: float = Field(default=900, gt=0)
    """How long a placed session may take until its containers run, pulling the image included."""
    only_superadmins_designate_nodes: bool = False
    """Whether nobody else may say on which nodes a session must be; Backend.AI's ``hide-agents`` does that, too."""


class DecisionsSection(Section):
    """How long, and how much, is kept of what the scheduler decided. With 0 mebibytes nothing is."""

    keep_days: float = Field(default=7, gt=0, le=3650)
    keep_mebibytes: int = Field(default=256, ge=0)


class BootstrapConfig(Section):
    """What the bootstrap needs of the file: no more rights than these, and no server but these two."""

    log: LogSection = LogSection()
    database: DatabaseSection
    vault: VaultSection


class ManagerConfig(Section):
    """The whole file."""

    manager_version: str = "25.5.2"
    session_job: Path
    """The skeleton of session jobs as JSON: what `nomad job run -output` makes of `jobs/session/session.nomad.hcl`."""
    log: LogSection = LogSection()
    api: ApiSection = ApiSection()
    database: DatabaseSection
    redis: RedisSection
    nomad: NomadSection
    consul: ConsulSection
    vault: VaultSection
    agents: AgentsSection
    storage: dict[str, StorageSection]
    scheduler: SchedulerSection = SchedulerSection()
    decisions: DecisionsSection = DecisionsSection()
    people: PeopleSection = PeopleSection()
