"""Makes the agent's parts and connects them. Nothing else does."""

import ssl
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiohttp import web

from caravan_agent_driver.api.hooks import hooks_door
from caravan_agent_driver.api.kernels import manager_door
from caravan_agent_driver.config import SUBNET_PREFIX, AgentConfig
from caravan_agent_driver.devices.inventory import Inventory
from caravan_agent_driver.docker.containers import container_log
from caravan_agent_driver.docker.engine import Engine
from caravan_agent_driver.docker.networks import SessionNetworks
from caravan_agent_driver.events import RedisStreams, Reporter
from caravan_agent_driver.kernels.cleanup import Cleanup
from caravan_agent_driver.kernels.inside import InsideMounts
from caravan_agent_driver.kernels.logs import KernelLogs
from caravan_agent_driver.kernels.preparation import Preparation
from caravan_agent_driver.kernels.scratch import Scratch
from caravan_agent_driver.kernels.session_network import SessionNetwork
from caravan_agent_driver.kernels.store import KernelStore
from caravan_agent_driver.kernels.sweeper import Sweeper
from caravan_agent_driver.kernels.watcher import Watcher
from caravan_agent_driver.mounts.bind import BindMounts
from caravan_agent_driver.node import Node
from caravan_agent_driver.tasks import Background
from caravan_common.errors import ConfigurationError
from caravan_common.metrics import metrics
from caravan_common.service import Listener


@dataclass(frozen=True, slots=True)
class Agent:
    """The parts that a process starts, runs and stops."""

    config: AgentConfig
    engine: Engine
    stream: RedisStreams
    inventory: Inventory
    node: Node
    store: KernelStore
    reporter: Reporter
    preparation: Preparation
    watcher: Watcher
    sweeper: Sweeper
    listeners: tuple[Listener, ...]


def make_agent(config: AgentConfig, background: Background) -> Agent:
    """Make an agent; nothing connects or starts yet."""
    limits = config.limits
    engine = Engine(config.docker_socket)
    stream = RedisStreams(config.redis)
    store = KernelStore(config.state_dir / "kernels")
    scratch = Scratch(config.state_dir / "scratches", config.uid, config.gid)
    volumes = {name: section.path for name, section in config.volumes.items()}
    network = SessionNetwork(SessionNetworks(engine, config.cluster, config.network_pool, SUBNET_PREFIX), store)
    logs = KernelLogs(config.state_dir / "logs", limits.log_bytes, partial(container_log, engine), background)
    mounts = BindMounts(volumes, (config.uid, config.gid))
    inventory = Inventory(config.devices)
    preparation = Preparation(store, scratch, mounts, network, inventory, background)
    cleanup = Cleanup(store, engine, scratch, network, logs)
    watcher = Watcher(store, engine, logs, InsideMounts(store, engine, mounts), background)
    token = config.api.token.get_secret_value()
    return Agent(
        config=config,
        engine=engine,
        stream=stream,
        inventory=inventory,
        node=Node(config, engine, inventory),
        store=store,
        reporter=Reporter(store, stream, background, config.node_id),
        preparation=preparation,
        watcher=watcher,
        sweeper=Sweeper(store, engine, scratch, network, logs, cleanup, limits),
        listeners=(
            Listener(
                manager_door(token, store, preparation, cleanup, logs, watcher),
                config.api.host,
                config.api.port,
                tls=None if config.api.cert_file is None else _server_tls(config.api.cert_file),
            ),
            Listener(_metrics_door(), config.metrics.host, config.metrics.port),
            Listener(hooks_door(cleanup), path=str(config.socket)),
        ),
    )


def _server_tls(cert_file: Path) -> ssl.SSLContext:
    """Return what the manager's door shows. Raises ConfigurationError for a file without key and certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(cert_file)
    except OSError as err:  # an ssl.SSLError is one
        raise ConfigurationError(f"{cert_file} holds no key with its certificate: {err}") from err
    return context


def _metrics_door() -> web.Application:
    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app
