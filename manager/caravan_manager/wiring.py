"""Makes everything that the manager consists of. Nothing else does; constructors store, they do not connect."""

import os
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from caravan_common.consul.catalog import Catalog
from caravan_common.consul.leader import Leadership
from caravan_common.errors import ConfigurationError
from caravan_common.nomad.client import NomadCluster
from caravan_common.redis import make_redis
from caravan_common.vault.transit import Transit
from caravan_common.wire.events import Streams
from caravan_manager.api.limits import RateLimits
from caravan_manager.compiler.skeleton import Skeleton
from caravan_manager.config import AgentsSection, DecisionsSection, ManagerConfig, SchedulerSection, VaultSection
from caravan_manager.db.engine import Database, make_engine
from caravan_manager.images.service import ImagesService
from caravan_manager.nodes.administration import NodesAdministration
from caravan_manager.nodes.agents import HttpAgents
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.accounts import AccountsService
from caravan_manager.people.administration import PeopleAdministration
from caravan_manager.people.remembered import RememberedCredentials
from caravan_manager.people.secrets import SecretKeys
from caravan_manager.people.service import PeopleService
from caravan_manager.people.throttle import LoginThrottle
from caravan_manager.quotas.service import QuotasService
from caravan_manager.reconcile.exchange import NewsExchange
from caravan_manager.reconcile.illness import Illnesses
from caravan_manager.reconcile.sweeper import Limits, Sweeper
from caravan_manager.reconcile.watcher import AgentWatcher, NomadWatcher
from caravan_manager.scheduler.decisions.log import DecisionLog, Keep
from caravan_manager.scheduler.explaining.service import ExplanationsService
from caravan_manager.scheduler.loop import Cluster, Scheduler
from caravan_manager.scheduler.options import check_options
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.sessions.following import SessionEvents
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.news import SessionNews
from caravan_manager.sessions.restarts import Restarts
from caravan_manager.sessions.service import SessionsService
from caravan_manager.vfolders.proxies import HttpStorageProxy
from caravan_manager.vfolders.service import VFoldersService

LEADER_KEY = "caravan/leader/scheduler"
CREDENTIALS_SECONDS = 2.0
"""How long a keypair that another process revoked may still come in, at most."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the doors call."""

    people: PeopleService
    people_admin: PeopleAdministration
    accounts: AccountsService
    sessions: SessionsService
    explanations: ExplanationsService
    events: SessionEvents
    vfolders: VFoldersService
    images: ImagesService
    nodes: NodesService
    node_admin: NodesAdministration
    quotas: QuotasService
    limits: RateLimits


@dataclass(frozen=True, slots=True)
class Wired:
    """The services, the loops that run beside them, and what must be closed."""

    services: Services
    scheduler: Scheduler
    decisions: DecisionLog
    sweeper: Sweeper
    agent_watcher: AgentWatcher
    nomad_watcher: NomadWatcher
    news_exchange: NewsExchange
    database: Database
    redis: Redis
    counters: Redis
    catalog: Catalog
    client: aiohttp.ClientSession

    async def close(self) -> None:
        """Close every connection."""
        await self.client.close()
        await self.redis.aclose()
        await self.counters.aclose()
        await self.database.close()


def now() -> datetime:
    """Return the time; everything else gets it as an argument."""
    return datetime.now(UTC)


def make_secret_keys(section: VaultSection) -> SecretKeys:
    """Make what encrypts and reveals keypairs' secrets."""
    transit = Transit(section.address, section.token_file, section.transit_key)
    return SecretKeys(transit, time.monotonic)


def _agents_tls(section: AgentsSection) -> ssl.SSLContext | None:
    """Return what agents' certificates are checked with. Raises ConfigurationError for a file without certificates."""
    if section.ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=section.ca_file)
    except OSError as err:  # an ssl.SSLError is one
        raise ConfigurationError(f"{section.ca_file} holds no certificate of a CA: {err}") from err


def _name_of_process(environment: Mapping[str, str]) -> str:
    """Return a name that no other living manager has, and that Nomad gives again to the one it starts after a crash.

    Under it a successor finds the leadership and the unacknowledged events that the dead process left.
    """
    return environment.get("NOMAD_ALLOC_ID") or f"{socket.gethostname()}-{os.getpid()}"


def _limits(section: SchedulerSection) -> Limits:
    return Limits(
        every=timedelta(seconds=section.sweep_seconds),
        node_silence=timedelta(seconds=section.node_lost_seconds),
        start=timedelta(seconds=section.start_limit_seconds),
    )


def _keep(section: DecisionsSection) -> Keep:
    return Keep(timedelta(days=section.keep_days), section.keep_mebibytes * 2**20)


def wire(config: ManagerConfig) -> Wired:
    """Make the manager. Must be called inside a running event loop, for the HTTP client's sake."""
    begin = Database(make_engine(config.database))
    once = Retry(NoBackoff(), 0)  # a reading that is repeated unseen would leave behind what the first one was given
    redis = make_redis(config.redis, answer_seconds=30, retry=once)
    counters = make_redis(config.redis, answer_seconds=2, retry=once)
    client = aiohttp.ClientSession()
    news = SessionNews()
    moves = SessionMoves(begin, news, now)
    nomad = NomadCluster(config.nomad.address, config.nomad.namespace)
    agents = HttpAgents(client, config.agents.token.get_secret_value(), _agents_tls(config.agents))
    proxies = {name: HttpStorageProxy(client, section) for name, section in config.storage.items()}
    vfolders = VFoldersService(begin, proxies)
    nodes = NodesService(begin)
    illnesses = Illnesses(moves)
    restarts = Restarts(moves, nomad, agents)
    me = _name_of_process(os.environ)
    cluster = Cluster(nomad, agents, Skeleton(config.session_job), restarts)
    leadership = Leadership(config.consul.address, LEADER_KEY, f"caravan-manager-{me}")
    secrets = make_secret_keys(config.vault)
    remembered = RememberedCredentials(CREDENTIALS_SECONDS, time.monotonic)
    privileged = config.scheduler.only_superadmins_designate_nodes
    sessions = SessionsService(
        begin, moves, vfolders, agents, nomad, now, restarts, only_superadmins_designate=privileged
    )
    services = Services(
        people=PeopleService(begin, secrets, remembered),
        people_admin=PeopleAdministration(begin, remembered),
        accounts=AccountsService(
            begin, secrets, LoginThrottle(counters), now, config.people.max_password_age, remembered
        ),
        sessions=sessions,
        explanations=ExplanationsService(begin, sessions, now),
        events=SessionEvents(begin, news),
        vfolders=vfolders,
        images=ImagesService(begin),
        nodes=nodes,
        node_admin=NodesAdministration(begin, lambda name, options: check_options(name, options, find_plugins())),
        quotas=QuotasService(begin),
        limits=RateLimits(counters, time.monotonic),
    )
    streams = Streams.of(config.redis.stream)
    decisions = DecisionLog(begin, _keep(config.decisions), now)
    return Wired(
        services=services,
        scheduler=Scheduler(begin, moves, cluster, leadership, config.scheduler.interval_seconds, decisions.record),
        decisions=decisions,
        sweeper=Sweeper(moves, nomad, agents, nodes, illnesses, _limits(config.scheduler)),
        agent_watcher=AgentWatcher(redis, streams, me, nodes, illnesses, moves),
        nomad_watcher=NomadWatcher(client, config.nomad.address, config.nomad.namespace, moves),
        news_exchange=NewsExchange(redis, streams.sessions, news),
        database=begin,
        redis=redis,
        counters=counters,
        catalog=Catalog(config.consul.address),
        client=client,
    )
