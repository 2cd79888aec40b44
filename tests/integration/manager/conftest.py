"""A private PostgreSQL server for the manager's tests, an empty database for each test, and people to act in it."""

import base64
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.integration.manager.fake_storage import FakeStorageProxy

from caravan_manager.config import DatabaseSection
from caravan_manager.db.engine import Begin, Database, Transaction, make_engine
from caravan_manager.db.migrate import upgrade
from caravan_manager.db.tables import (
    domains,
    images,
    keypair_resource_policies,
    keypairs,
    metadata,
    project_members,
    project_resource_policies,
    projects,
    scaling_groups,
    scaling_groups_of_domains,
    user_resource_policies,
    users,
)
from caravan_manager.people.model import Principal, UserRole
from caravan_manager.vfolders.service import VFoldersService

HOST_RIGHTS = [
    "create-vfolder",
    "modify-vfolder",
    "delete-vfolder",
    "mount-in-session",
    "upload-file",
    "download-file",
    "invite-others",
    "set-user-specific-permission",
]
NAME = "caravan_test"
EMPTY = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "SET session_replication_role = replica",  # no foreign key is looked at: the order of the tables does not matter
    *(f"DELETE FROM {table.name}" for table in metadata.sorted_tables),
    "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'",
)
"""Makes the database what it was when it was new, in a hundredth of the time that a new one takes."""


@dataclass(frozen=True, slots=True)
class Seed:
    """What the tests' database holds: one domain, one project, a superadmin and a user, one image."""

    domain: str
    project: UUID
    project_name: str
    scaling_group: str
    image: UUID
    image_reference: str
    volume_host: str
    admin: Principal
    admin_secret: str
    user: Principal
    user_secret: str


def seal(secret: str) -> str:
    """Return what stands for Vault's ciphertext in these tests."""
    return "vault:v1:" + base64.b64encode(secret.encode()).decode()


def _program(name: str) -> str:
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda home: int(home.parent.name), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*map(str, homes), os.environ.get("PATH", "")]))
    if found is None:
        pytest.fail(f"PostgreSQL's program {name} is not installed (Debian: the package postgresql)")
    return found


def _as_postgres() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(server: "subprocess.Popen[Any]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        ready = subprocess.run([_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)], check=False)
        if ready.returncode == 0:
            return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")


@pytest.fixture(scope="session")
def postgres() -> Generator[DatabaseSection, None, None]:
    """A PostgreSQL server of our own, on a free port, with its data in a temporary folder."""
    home = Path(tempfile.mkdtemp(prefix="caravan-test-postgres-"))
    account = _as_postgres()
    if account:
        os.chown(home, account["user"], account["group"])
    data, port = home / "data", _free_port()
    initdb = [_program("initdb"), "-D", str(data), "-U", "caravan", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    subprocess.run([*initdb, "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd=home, **account)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(home),
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "60",
    }
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    log = home / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [_program("postgres"), "-D", str(data), *options], stdout=output, stderr=output, cwd=home, **account
        )
    try:
        _wait_until_ready(server, port, log)
        yield DatabaseSection(
            host="127.0.0.1", port=port, name="postgres", user="caravan", password=SecretStr(""), pool_size=5
        )
    finally:
        server.send_signal(signal.SIGINT)  # PostgreSQL: end now, in order
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(home)


async def _administer(server: DatabaseSection, *statements: str) -> None:
    engine = make_engine(server).execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


@pytest.fixture(scope="session")
async def migrated(postgres: DatabaseSection) -> DatabaseSection:
    """The database with the manager's tables that all tests use, one after the other."""
    await _administer(postgres, f"CREATE DATABASE {NAME}")
    made = postgres.model_copy(update={"name": NAME})
    await upgrade(made)
    return made


class Emptier:
    """Empties the database, over a connection that stays open from one test to the next."""

    def __init__(self, section: DatabaseSection) -> None:
        self._section = section
        self._connection: asyncpg.Connection | None = None

    async def empty(self) -> None:
        """Leave all tables and nothing in them, and nobody else connected."""
        if self._connection is None:
            at = self._section
            self._connection = await asyncpg.connect(host=at.host, port=at.port, user=at.user, database=at.name)
        await self._connection.execute("; ".join(EMPTY))

    async def close(self) -> None:
        """Disconnect, until the next time."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


@pytest.fixture(scope="session")
async def emptier(migrated: DatabaseSection) -> AsyncGenerator[Emptier, None]:
    """Empties the database that all tests use."""
    opened = Emptier(migrated)
    yield opened
    await opened.close()


@pytest.fixture
async def database(migrated: DatabaseSection, emptier: Emptier) -> DatabaseSection:
    """A database with all tables and nothing in them; nobody else is connected to it."""
    await emptier.empty()
    return migrated


@pytest.fixture
async def own_database(
    postgres: DatabaseSection, database: DatabaseSection, emptier: Emptier
) -> AsyncGenerator[DatabaseSection, None]:
    """A database for a test that changes the tables themselves."""
    await emptier.close()  # PostgreSQL copies no database that somebody is connected to
    await _administer(postgres, f"CREATE DATABASE caravan_own TEMPLATE {database.name}")
    yield postgres.model_copy(update={"name": "caravan_own"})
    await _administer(postgres, "DROP DATABASE caravan_own WITH (FORCE)")


@pytest.fixture(scope="session")
def engine(migrated: DatabaseSection) -> AsyncEngine:
    """The engine of all tests: it keeps the statements that it compiled, and no connection from test to test."""
    return make_engine(migrated)


@pytest.fixture
async def begin(database: DatabaseSection, engine: AsyncEngine) -> AsyncGenerator[Begin, None]:
    """Opens transactions in the test's database."""
    opened = Database(engine)
    yield opened
    await opened.close()


@pytest.fixture
async def seed(begin: Begin) -> Seed:
    """The people, the project, the scaling group and the image that tests act with."""
    project, image = uuid4(), uuid4()
    admin = _principal("admin", UserRole.SUPERADMIN, "AKIATESTADMINAAAAAAA")
    user = _principal("user", UserRole.USER, "AKIATESTUSERAAAAAAAA")
    made = Seed(
        domain="default",
        project=project,
        project_name="default",
        scaling_group="default",
        image=image,
        image_reference="caravan/python:3.11-bookworm",
        volume_host="local:volume1",
        admin=admin,
        admin_secret="admin-secret-key-for-the-tests-00000000",
        user=user,
        user_secret="user-secret-key-for-the-tests-000000000",
    )
    async with begin() as tx:
        await _add_policies(tx, made)
        await _add_user(tx, made, admin, made.admin_secret)
        await _add_user(tx, made, user, made.user_secret)
        await _add_image(tx, image)
    return made


@pytest.fixture
def admin(seed: Seed) -> Principal:
    """The superadmin."""
    return seed.admin


@pytest.fixture
def user(seed: Seed) -> Principal:
    """A user without special rights, a member of the project."""
    return seed.user


def _principal(name: str, role: UserRole, access_key: str) -> Principal:
    return Principal(
        user_id=uuid4(),
        email=f"{name}@example.com",
        username=name,
        role=role,
        domain_name="default",
        access_key=access_key,
        resource_policy="default",
        user_resource_policy="default",
        rate_limit=30000,
    )


async def _add_policies(tx: Transaction, seed: Seed) -> None:
    hosts = {seed.volume_host: HOST_RIGHTS}
    await tx.execute(domains.insert().values(name=seed.domain, allowed_vfolder_hosts=hosts))
    await tx.execute(keypair_resource_policies.insert().values(name="default", allowed_vfolder_hosts=hosts))
    await tx.execute(user_resource_policies.insert().values(name="default", max_vfolder_count=10))
    await tx.execute(project_resource_policies.insert().values(name="default", max_vfolder_count=10))
    await tx.execute(
        projects.insert().values(
            id=seed.project,
            name=seed.project_name,
            domain_name=seed.domain,
            resource_policy="default",
            allowed_vfolder_hosts=hosts,
        )
    )
    await tx.execute(scaling_groups.insert().values(name=seed.scaling_group))
    await tx.execute(
        scaling_groups_of_domains.insert().values(scaling_group=seed.scaling_group, domain_name=seed.domain)
    )


async def _add_user(tx: Transaction, seed: Seed, principal: Principal, secret: str) -> None:
    await tx.execute(
        users.insert().values(
            id=principal.user_id,
            username=principal.username,
            email=principal.email,
            password_hash="nobody can log in with a password",
            full_name=principal.username.title(),
            role=principal.role.value,
            domain_name=principal.domain_name,
            resource_policy=principal.user_resource_policy,
            main_access_key=principal.access_key,
        )
    )
    await tx.execute(
        keypairs.insert().values(
            access_key=principal.access_key,
            secret_ciphertext=seal(secret),
            user_id=principal.user_id,
            is_admin=principal.is_superadmin,
            resource_policy=principal.resource_policy,
        )
    )
    await tx.execute(project_members.insert().values(project_id=seed.project, user_id=principal.user_id))


async def _add_image(tx: Transaction, image: UUID) -> None:
    await tx.execute(
        images.insert().values(
            id=image,
            registry="local",
            name="caravan/python",
            tag="3.11-bookworm",
            architecture="x86_64",
            digest="sha256:" + "0" * 64,
            size_bytes=1000,
            is_local=True,
            labels={"ai.backend.resource.min.cpu": "1", "ai.backend.resource.min.mem": "64m"},
        )
    )


@pytest.fixture
def storage() -> FakeStorageProxy:
    """The storage proxy ``local``, in memory."""
    return FakeStorageProxy()


@pytest.fixture
def vfolders(begin: Begin, storage: FakeStorageProxy) -> VFoldersService:
    """The service of virtual folders, on the test's database and the storage proxy in memory."""
    return VFoldersService(begin, {"local": storage})
