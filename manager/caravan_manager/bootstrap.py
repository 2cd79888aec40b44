"""The first things in an empty database: default domain, project and policies, the first administrator, the images."""

from typing import Self
from uuid import uuid4

import structlog
from pydantic import Field, SecretStr, model_validator
from sqlalchemy import Table, select
from sqlalchemy.dialects.postgresql import insert

from caravan_common.config import Section
from caravan_common.errors import InvalidParametersError
from caravan_common.slots import ResourceSlots
from caravan_manager.config import BootstrapConfig
from caravan_manager.db.engine import Database, Transaction, make_engine
from caravan_manager.db.tables import (
    domains,
    keypair_resource_policies,
    keypairs,
    project_members,
    project_resource_policies,
    projects,
    resource_presets,
    scaling_groups,
    scaling_groups_of_domains,
    user_resource_policies,
    users,
)
from caravan_manager.images import repository as images
from caravan_manager.images.model import Image, ImageReference
from caravan_manager.people.model import UserRole
from caravan_manager.people.passwords import hash_password
from caravan_manager.wiring import make_secret_keys

log = structlog.get_logger()

DEFAULT = "default"
VOLUME_RIGHTS = [
    "create-vfolder",
    "modify-vfolder",
    "delete-vfolder",
    "mount-in-session",
    "upload-file",
    "download-file",
    "invite-others",
    "set-user-specific-permission",
]
PRESETS = {
    "small": {"cpu": "1", "mem": "1g"},
    "medium": {"cpu": "4", "mem": "8g"},
    "large": {"cpu": "8", "mem": "32g"},
}
"""The presets that a new stack has."""


class AdminSeed(Section):
    """The first administrator."""

    email: str
    username: str
    password: SecretStr
    access_key: str = Field(min_length=16, max_length=20)
    secret_key: SecretStr


class ImageSeed(Section):
    """An image that is on the nodes. ``name`` may carry a registry."""

    name: str
    tag: str
    architecture: str
    digest: str
    size_bytes: int = 0
    labels: dict[str, str] = {}

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        """Refuse limits that cannot be read, of which else those would be told who want a session of the image."""
        try:
            _image(self).check_limits()
        except InvalidParametersError as err:
            raise ValueError(err.message) from err
        return self


class DefaultsSeed(Section):
    """Names that the first things get."""

    scaling_group: str = DEFAULT
    volume_host: str


class Seed(Section):
    """The whole file."""

    admin: AdminSeed
    defaults: DefaultsSeed
    images: list[ImageSeed] = []


async def bootstrap(config: BootstrapConfig, seed: Seed) -> None:
    """Make what is missing, in one transaction. What exists stays as it is; images are brought up to date."""
    secret = await make_secret_keys(config.vault).encrypt(seed.admin.secret_key.get_secret_value())
    password = await hash_password(seed.admin.password.get_secret_value())
    database = Database(make_engine(config.database))
    try:
        async with database() as tx:
            await _add_defaults(tx, seed.defaults)
            await _add_admin(tx, seed.admin, password, secret)
            for image in seed.images:
                await images.upsert(tx, _image(image))
    finally:
        await database.close()
    log.info("bootstrap.done", admin=seed.admin.email, images=len(seed.images))


async def _add(tx: Transaction, table: Table, **values: object) -> None:
    await tx.execute(insert(table).values(**values).on_conflict_do_nothing())


async def _add_defaults(tx: Transaction, defaults: DefaultsSeed) -> None:
    hosts = {defaults.volume_host: VOLUME_RIGHTS}
    await _add(tx, keypair_resource_policies, name=DEFAULT, allowed_vfolder_hosts=hosts)
    await _add(tx, user_resource_policies, name=DEFAULT)
    await _add(tx, project_resource_policies, name=DEFAULT)
    await _add(tx, domains, name=DEFAULT, description="The default domain", allowed_vfolder_hosts=hosts)
    await _add(
        tx,
        projects,
        id=uuid4(),
        domain_name=DEFAULT,
        name=DEFAULT,
        description="The default project",
        resource_policy=DEFAULT,
        allowed_vfolder_hosts=hosts,
    )
    await _add(tx, scaling_groups, name=defaults.scaling_group, description="The default scaling group")
    await _add(tx, scaling_groups_of_domains, scaling_group=defaults.scaling_group, domain_name=DEFAULT)
    for name, slots in PRESETS.items():
        await _add(tx, resource_presets, id=uuid4(), name=name, resource_slots=ResourceSlots.parse(slots).to_json())


async def _add_admin(tx: Transaction, admin: AdminSeed, password_hash: str, secret_ciphertext: str) -> None:
    if await tx.scalar(select(users.c.id).where(users.c.email == admin.email)) is not None:
        return
    user = uuid4()
    await _add(
        tx,
        users,
        id=user,
        username=admin.username,
        email=admin.email,
        password_hash=password_hash,
        role=UserRole.SUPERADMIN.value,
        domain_name=DEFAULT,
        resource_policy=DEFAULT,
        main_access_key=admin.access_key,
    )
    await _add(
        tx,
        keypairs,
        access_key=admin.access_key,
        secret_ciphertext=secret_ciphertext,
        user_id=user,
        is_admin=True,
        resource_policy=DEFAULT,
    )
    project = await tx.scalar(select(projects.c.id).where(projects.c.name == DEFAULT))
    await _add(tx, project_members, project_id=project, user_id=user)


def _image(seed: ImageSeed) -> Image:
    reference = ImageReference.parse(f"{seed.name}:{seed.tag}")
    return Image(
        id=uuid4(),
        registry=reference.registry,
        name=reference.name,
        tag=reference.tag,
        architecture=seed.architecture,
        digest=seed.digest,
        size_bytes=seed.size_bytes,
        is_local=True,
        status="ALIVE",
        labels=seed.labels,
        aliases=(),
    )
