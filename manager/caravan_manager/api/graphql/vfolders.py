"""Virtual folders in GraphQL, and the volumes that they lie on."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from ariadne import ObjectType

from caravan_common.errors import InvalidParametersError
from caravan_common.wire.storage import Volume
from caravan_manager.api.graphql.base import Info, Listed, Page, bind, nothing
from caravan_manager.db.choice import EVERYTHING
from caravan_manager.people.model import Principal
from caravan_manager.vfolders.model import VFolder
from caravan_manager.vfolders.service import Ownership

queries = ObjectType("Queries")


@queries.field("vfolder_list")
async def vfolder_list(
    _: object,
    info: Info,
    limit: int,
    offset: int,
    domain_name: str | None = None,
    group_id: UUID | None = None,
    access_key: str | None = None,
    **language: str | None,
) -> Listed[VFolder]:
    """Answer a page of the folders that the caller may see; with the caller's access key, of the caller's own."""
    asked, page = info.context, Page.of(limit, offset, language)
    _must_be_own(asked.principal, domain_name, access_key)
    ownership: Ownership = "all" if access_key is None else "own"
    found, total = await asked.vfolders.list_page(
        asked.principal,
        ownership=ownership,
        project=group_id,
        limit=page.limit,
        offset=page.offset,
        choice=page.choice,
    )
    return Listed(found, total)


def _listing(ownership: Ownership) -> Callable[..., Awaitable[Listed[VFolder]]]:
    async def resolve(
        _: object,
        info: Info,
        limit: int,
        offset: int,
        domain_name: str | None = None,
        access_key: str | None = None,
        **language: str | None,
    ) -> Listed[VFolder]:
        asked, page = info.context, Page.of(limit, offset, language)
        _must_be_own(asked.principal, domain_name, access_key)
        found, total = await asked.vfolders.list_page(
            asked.principal,
            ownership=ownership,
            project=None,
            limit=page.limit,
            offset=page.offset,
            choice=page.choice,
        )
        return Listed(found, total)

    return resolve


queries.field("vfolder_own_list")(_listing("own"))
queries.field("vfolder_invited_list")(_listing("invited"))
queries.field("vfolder_project_list")(_listing("project"))


@queries.field("storage_volume")
async def storage_volume(_: object, info: Info, id: str | None = None) -> object:  # noqa: A002
    """Answer one volume, by its host's name."""
    volumes = (await info.context.vfolders.all_hosts(info.context.principal)).volumes
    return (id, volumes[id]) if id is not None and id in volumes else None


@queries.field("storage_volume_list")
async def storage_volume_list(
    _: object, info: Info, limit: int, offset: int, **language: str | None
) -> Listed[tuple[str, Volume]]:
    """Answer a page of the volumes of the storage proxies that answer, by name."""
    page = Page.of(limit, offset, language)
    if page.choice != EVERYTHING:
        raise InvalidParametersError("volumes can be neither filtered nor ordered")
    found = list((await info.context.vfolders.all_hosts(info.context.principal)).volumes.items())
    return Listed(found[page.offset : page.offset + page.limit], len(found))


def _must_be_own(principal: Principal, domain_name: str | None, access_key: str | None) -> None:
    """Refuse what nothing answers yet: another keypair's folders, and one domain's for those who see all of them."""
    if access_key not in {None, principal.access_key}:
        raise InvalidParametersError("the folders of another access key cannot be listed yet")
    if domain_name is not None and (principal.is_superadmin or domain_name != principal.domain_name):
        raise InvalidParametersError("the folders of one domain cannot be listed yet")


FOLDER: dict[str, Callable[[VFolder], object]] = {
    "id": lambda folder: str(folder.id),
    "host": lambda folder: str(folder.host),
    "quota_scope_id": lambda folder: folder.quota_scope_id,
    "name": lambda folder: folder.name,
    "user": lambda folder: folder.user_id,
    "user_email": lambda folder: folder.user_email,
    "group": lambda folder: folder.project_id,
    "group_name": lambda folder: folder.project_name,
    "creator": lambda folder: folder.creator,
    "domain_name": lambda folder: folder.domain_name,
    "unmanaged_path": nothing,
    "usage_mode": lambda folder: folder.usage_mode.value,
    "permission": lambda folder: folder.permission.value,
    "ownership_type": lambda folder: folder.ownership_type,
    "max_files": lambda folder: folder.max_files,
    "max_size": lambda folder: folder.max_size,
    "created_at": lambda folder: folder.created_at,
    "last_used": lambda folder: folder.last_used,
    "num_files": nothing,
    "cur_size": nothing,
    "cloneable": lambda folder: folder.cloneable,
    "status": lambda folder: folder.status.value,
}

VOLUME: dict[str, Callable[[tuple[str, Volume]], object]] = {
    "id": lambda found: found[0],
    "backend": lambda found: found[1].backend,
    "fsprefix": nothing,
    "path": nothing,
    "capabilities": lambda found: found[1].capabilities,
    "hardware_metadata": lambda _: {},
    "performance_metric": lambda _: {},
    "usage": lambda found: {"percentage": found[1].usage_percent},
    "proxy": lambda found: found[0].partition(":")[0],
    "name": lambda found: found[1].name,
}

BINDABLES = [queries, bind("VirtualFolder", FOLDER), bind("StorageVolume", VOLUME)]
