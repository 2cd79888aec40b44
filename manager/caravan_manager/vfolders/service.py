"""What users ask of virtual folders. Storage proxies are called between transactions, never inside one."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid4

import structlog
from sqlalchemy import ColumnElement, false
from sqlalchemy.exc import IntegrityError

from caravan_common.errors import CaravanError, ForbiddenError, InvalidParametersError, UnavailableError
from caravan_common.states import FolderPermission, FolderStatus
from caravan_common.wire.storage import (
    FileList,
    FolderUsage,
    ListFiles,
    MakeDirectories,
    MakeDirectoriesResult,
    RequestDownload,
    RequestUpload,
    TransferTicket,
    Volume,
)
from caravan_manager import audit
from caravan_manager.db.choice import EVERYTHING, Choice
from caravan_manager.db.engine import Begin, Transaction
from caravan_manager.people.model import Principal, Project, ProjectNotFoundError
from caravan_manager.people.repository import list_projects
from caravan_manager.sessions.model import SessionMount
from caravan_manager.vfolders import mounts, repository
from caravan_manager.vfolders.model import (
    Host,
    HostRight,
    MountRequest,
    NewFolder,
    VFolder,
    VFolderAlreadyExistsError,
    VFolderInUseError,
    choose,
    folder_id,
    must_have_right,
)
from caravan_manager.vfolders.proxies import StorageProxy

log = structlog.get_logger()

Ownership = Literal["all", "own", "invited", "project"]


@dataclass(frozen=True, slots=True)
class Hosts:
    """Storage hosts by name; the first is the one for folders made without a host."""

    volumes: Mapping[str, Volume]

    @property
    def default(self) -> str | None:
        """The host of folders that are made without one."""
        return next(iter(self.volumes), None)


def _now() -> datetime:
    return datetime.now(UTC)


class VFoldersService:
    """Make, look at, use and delete virtual folders."""

    def __init__(self, begin: Begin, proxies: Mapping[str, StorageProxy], clock: Callable[[], datetime] = _now) -> None:
        self._begin = begin
        self._proxies = proxies
        self._clock = clock

    async def create(self, principal: Principal, request: NewFolder) -> VFolder:
        """Make a folder, at the proxy first and then in the database.

        A crash in between leaves an empty directory that nobody sees. Raises VFolderAlreadyExistsError for a name
        that is taken, InvalidParametersError over the owner's limit or on a host that is not allowed.
        """
        async with self._begin() as tx:
            folder = await self._plan(tx, principal, request)
            await _must_have_room(tx, principal, folder)
        await self._proxy(folder.host).create(folder.ref)
        try:
            async with self._begin() as tx:
                await _must_have_room(tx, principal, folder)
                await repository.add(tx, folder)
                await _record(tx, principal, "vfolder.create", folder)
        except (CaravanError, IntegrityError) as err:
            await self._undo(folder)
            if isinstance(err, IntegrityError):
                raise _already_exists(folder.name) from err
            raise
        return folder

    async def list_page(
        self,
        principal: Principal,
        *,
        ownership: Ownership,
        project: UUID | None,
        limit: int,
        offset: int,
        choice: Choice = EVERYTHING,
    ) -> tuple[list[VFolder], int]:
        """Return a page of folders, newest first, and how many there are.

        ``all`` are everybody's for a superadmin, the domain's for its administrator, for others what they can use.
        """
        scopes: dict[Ownership, ColumnElement[bool]] = {
            "all": repository.administrated_by(principal),
            "own": repository.owned_by(principal),
            "invited": false(),
            "project": repository.in_projects_of(principal),
        }
        async with self._begin() as tx:
            return await repository.list_page(tx, scopes[ownership], project, limit, offset, choice)

    async def usable(self, principal: Principal, project: str | None, limit: int = 10_000) -> list[VFolder]:
        """Return the caller's own folders and those of the caller's projects, or of one project by name or ID."""
        async with self._begin() as tx:
            chosen = None if project is None else (await _project(tx, principal, project)).id
            found, _ = await repository.list_page(tx, repository.visible_to(principal), chosen, limit, 0)
        return found

    async def folder(self, principal: Principal, folder_id: UUID) -> VFolder:
        """Return one folder; administrators see other people's. Raises VFolderNotFoundError."""
        async with self._begin() as tx:
            return await repository.get_by_id(tx, repository.administrated_by(principal), folder_id)

    async def find(self, principal: Principal, text: str) -> VFolder:
        """Return the folder that a name or an ID means. Raises VFolderNotFoundError or TooManyVFoldersError."""
        async with self._begin() as tx:
            return await _find(tx, principal, text, administrating=True)

    async def usage(self, folder: VFolder) -> FolderUsage:
        """Count the files and bytes of a folder that the caller was allowed to see."""
        return await self._proxy(folder.host).usage(folder.ref)

    async def files(self, principal: Principal, text: str, path: str) -> FileList:
        """List one directory of a folder."""
        folder = await self._opened(principal, text, FolderPermission.READ_ONLY, None)
        return await self._proxy(folder.host).files(ListFiles(**folder.ref.model_dump(), path=path))

    async def make_directories(
        self, principal: Principal, text: str, paths: list[str], *, parents: bool, exist_ok: bool
    ) -> MakeDirectoriesResult:
        """Make directories in a folder."""
        folder = await self._opened(principal, text, FolderPermission.READ_WRITE, HostRight.MODIFY)
        request = MakeDirectories(**folder.ref.model_dump(), paths=paths, parents=parents, exist_ok=exist_ok)
        return await self._proxy(folder.host).make_directories(request)

    async def request_upload(self, principal: Principal, text: str, path: str, size: int) -> TransferTicket:
        """Return where and with what token the caller uploads one file."""
        folder = await self._opened(principal, text, FolderPermission.READ_WRITE, HostRight.UPLOAD)
        request = RequestUpload(**folder.ref.model_dump(), path=path, size=size)
        return await self._proxy(folder.host).request_upload(request)

    async def request_download(self, principal: Principal, text: str, path: str, *, archive: bool) -> TransferTicket:
        """Return where and with what token the caller downloads."""
        folder = await self._opened(principal, text, FolderPermission.READ_ONLY, HostRight.DOWNLOAD)
        request = RequestDownload(**folder.ref.model_dump(), path=path, archive=archive)
        return await self._proxy(folder.host).request_download(request)

    async def rename(self, principal: Principal, text: str, name: str) -> VFolder:
        """Give a folder another name. Raises InvalidParametersError, as Backend.AI does, for one that is taken."""
        taken = "One of your accessible vfolders already has the name you requested."
        try:
            async with self._begin() as tx:
                folder = await self._owned(tx, principal, text, HostRight.MODIFY)
                renamed = folder.renamed(name)
                if name != folder.name and await repository.name_is_live(tx, principal, name):
                    raise InvalidParametersError(taken)
                await repository.save(tx, folder, renamed)
                await _record(tx, principal, "vfolder.rename", renamed)
        except IntegrityError as err:
            raise InvalidParametersError(taken) from err
        return renamed

    async def trash(self, principal: Principal, text: str) -> VFolder:
        """Put a folder into the trash. Raises VFolderInUseError while live sessions have it."""
        async with self._begin() as tx:
            folder = await self._owned(tx, principal, text, HostRight.DELETE)
            trashed = folder.trashed(self._clock())
            await _must_not_be_mounted(tx, folder)
            await repository.save(tx, folder, trashed)
            await _record(tx, principal, "vfolder.trash", trashed)
        return trashed

    async def restore(self, principal: Principal, text: str) -> VFolder:
        """Take a folder out of the trash. Raises VFolderAlreadyExistsError when its name was taken meanwhile."""
        try:
            async with self._begin() as tx:
                folder = await self._owned(tx, principal, text, HostRight.DELETE)
                restored = folder.restored(self._clock())
                if await repository.name_is_live(tx, principal, folder.name):
                    raise _already_exists(folder.name)
                await repository.save(tx, folder, restored)
                await _record(tx, principal, "vfolder.restore", restored)
        except IntegrityError as err:
            raise _already_exists(text) from err
        return restored

    async def delete(self, principal: Principal, text: str) -> VFolder:
        """Delete a folder in the trash with its files; one whose deletion was cut short can be deleted again."""
        async with self._begin() as tx:
            folder = await self._owned(tx, principal, text, HostRight.DELETE)
            ongoing = folder.being_deleted(self._clock())
            await repository.save(tx, folder, ongoing)
            await _record(tx, principal, "vfolder.delete", ongoing)
        try:
            await self._proxy(ongoing.host).delete(ongoing.ref)
        except CaravanError:
            await self._save(ongoing, ongoing.not_deleted(self._clock()))
            raise
        return await self._save(ongoing, ongoing.deleted(self._clock()))

    async def purge(self, principal: Principal, folder_id: UUID) -> None:
        """Forget a folder whose files are gone; for administrators."""
        if not principal.is_admin:
            raise ForbiddenError("only administrators purge folders")
        scope = repository.administrated_by(principal)
        async with self._begin() as tx:
            folder = await repository.get_by_id(tx, scope, folder_id, lock=True, complete=True)
            folder.must_be_purgeable()
            await repository.remove(tx, folder)
            await _record(tx, principal, "vfolder.purge", folder)

    async def hosts(self, principal: Principal, project: str | None) -> Hosts:
        """Return the hosts where the caller may do anything, by the projects or one of them (name or ID)."""
        async with self._begin() as tx:
            chosen = None if project is None else (await _project(tx, principal, project)).id
            rights = await repository.host_rights(tx, principal, chosen)
        volumes = await self._volumes()
        return Hosts({host: volume for host, volume in volumes.items() if rights.get(host)})

    async def all_hosts(self, principal: Principal) -> Hosts:
        """Return all hosts there are; for superadmins."""
        principal.must_be_superadmin()
        return Hosts(await self._volumes())

    async def resolve_mounts(
        self, tx: Transaction, principal: Principal, wanted: Sequence[MountRequest]
    ) -> tuple[SessionMount, ...]:
        """Return the folders that a session will have; they cannot be trashed before the transaction ends.

        Raises VFolderNotFoundError for an unknown folder, InvalidParametersError for a bad or doubled target,
        ForbiddenError when more is wanted than a folder allows.
        """
        mounts.check_count(wanted)
        found = [await _find(tx, principal, request.name, administrating=False) for request in wanted]
        await repository.hold(tx, [folder.id for folder in found])
        chosen: list[SessionMount] = []
        for request, seen in zip(wanted, found, strict=True):
            folder = await repository.get_by_id(tx, repository.visible_to(principal), seen.id)
            must_have_right(await _rights(tx, principal, folder), folder.host, HostRight.MOUNT)
            chosen.append(mounts.mount(folder, request))
        return mounts.check_together(chosen)

    async def _plan(self, tx: Transaction, principal: Principal, request: NewFolder) -> VFolder:
        project = None if request.project is None else await _project(tx, principal, request.project)
        if project is not None and not principal.is_admin:
            raise ForbiddenError("only administrators make folders for projects")
        rights = await repository.host_rights(tx, principal, None if project is None else project.id)
        host = request.host or _default_host(rights)
        if host.proxy not in self._proxies:
            raise InvalidParametersError(f"Invalid vfolder host: {host}")
        must_have_right(rights, host, HostRight.CREATE)
        now = self._clock()
        return VFolder(
            id=uuid4(),
            host=host,
            quota_scope_id=f"user:{principal.user_id}" if project is None else f"project:{project.id}",
            name=request.name,
            domain_name=principal.domain_name if project is None else project.domain_name,
            user_id=principal.user_id if project is None else None,
            project_id=None if project is None else project.id,
            creator=principal.email,
            usage_mode=request.usage_mode,
            permission=request.permission,
            cloneable=request.cloneable,
            status=FolderStatus.READY,
            max_files=0,
            max_size=None,
            created_at=now,
            last_used=now,
            status_changed=now,
            user_email=principal.email if project is None else None,
            project_name=None if project is None else project.name,
        )

    async def _undo(self, folder: VFolder) -> None:
        """Remove the empty directory of a folder that was not made after all; one that stays harms nobody."""
        try:
            await self._proxy(folder.host).delete(folder.ref)
        except CaravanError as err:
            log.warning("vfolder.directory_left", folder=str(folder.id), host=str(folder.host), error=str(err))

    async def _opened(
        self, principal: Principal, text: str, permission: FolderPermission, right: HostRight | None
    ) -> VFolder:
        """Return a folder whose files the caller may use this way; administrators have no right to others' files."""
        async with self._begin() as tx:
            folder = await _find(tx, principal, text, administrating=False)
            folder.must_be_usable()
            folder.must_allow(permission)
            if right is not None:
                must_have_right(await _rights(tx, principal, folder), folder.host, right)
        return folder

    async def _owned(self, tx: Transaction, principal: Principal, text: str, right: HostRight) -> VFolder:
        """Return a folder that the caller may change, locked until the transaction ends."""
        seen = await _find(tx, principal, text, administrating=True)
        folder = await repository.get_by_id(tx, repository.administrated_by(principal), seen.id, lock=True)
        folder.must_be_owned_by(principal)
        must_have_right(await _rights(tx, principal, folder), folder.host, right)
        return folder

    async def _save(self, before: VFolder, after: VFolder) -> VFolder:
        async with self._begin() as tx:
            await repository.save(tx, before, after)
        return after

    def _proxy(self, host: Host) -> StorageProxy:
        if host.proxy not in self._proxies:
            raise UnavailableError(f"no storage proxy {host.proxy} is configured")
        return self._proxies[host.proxy]

    async def _volumes(self) -> dict[str, Volume]:
        """Return the volumes of the proxies that answer, by host name."""
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(_volumes_of(name, proxy)) for name, proxy in self._proxies.items()]
        found = {host: volume for task in asked for host, volume in task.result().items()}
        return dict(sorted(found.items()))


async def _volumes_of(name: str, proxy: StorageProxy) -> dict[str, Volume]:
    try:
        answer = await proxy.volumes()
    except CaravanError as err:
        log.warning("storage.silent", proxy=name, error=str(err))
        return {}
    return {str(Host(name, volume.name)): volume for volume in answer.volumes}


async def _find(tx: Transaction, principal: Principal, text: str, *, administrating: bool) -> VFolder:
    wanted = folder_id(text)
    if wanted is None:
        return choose(await repository.list_by_name(tx, repository.visible_to(principal), text), text)
    scope = repository.administrated_by(principal) if administrating else repository.visible_to(principal)
    return await repository.get_by_id(tx, scope, wanted)


async def _rights(tx: Transaction, principal: Principal, folder: VFolder) -> dict[str, frozenset[str]]:
    return await repository.host_rights(tx, principal, folder.project_id)


async def _project(tx: Transaction, principal: Principal, text: str) -> Project:
    wanted = folder_id(text)
    found = await list_projects(
        tx,
        domain=None if principal.is_superadmin and wanted is not None else principal.domain_name,
        member=None if principal.is_admin else principal.user_id,
        name=text if wanted is None else None,
        project=wanted,
        is_active=True,
    )
    if not found:
        raise ProjectNotFoundError(data=text)
    return found[0]


def _default_host(rights: Mapping[str, frozenset[str]]) -> Host:
    hosts = sorted(host for host, allowed in rights.items() if HostRight.CREATE in allowed)
    if not hosts:
        raise InvalidParametersError("You must specify the vfolder host because no host is allowed to you.")
    return Host.parse(hosts[0])


async def _must_have_room(tx: Transaction, principal: Principal, folder: VFolder) -> None:
    limit = await repository.lock_owner(tx, folder)
    if limit > 0 and await repository.count_kept(tx, folder.quota_scope_id) >= limit:
        raise InvalidParametersError("You cannot create more vfolders.")
    if await repository.name_is_live(tx, principal, folder.name):
        raise _already_exists(folder.name)


async def _must_not_be_mounted(tx: Transaction, folder: VFolder) -> None:
    sessions = await repository.list_sessions_with(tx, folder.id)
    if sessions:
        raise VFolderInUseError(
            f"folder {folder.name} is mounted in live sessions", sessions=[str(session) for session in sessions]
        )


async def _record(tx: Transaction, principal: Principal, action: str, folder: VFolder) -> None:
    facts: dict[str, object] = {"name": folder.name, "host": str(folder.host)}
    await audit.record(tx, principal, action, "vfolder", str(folder.id), facts)


def _already_exists(name: str) -> VFolderAlreadyExistsError:
    return VFolderAlreadyExistsError(f"VFolder with the given name already exists. ({name})")
