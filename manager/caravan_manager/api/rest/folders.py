"""The REST door of virtual folders: `/folders` and below, with the spellings of Backend.AI 25.5."""

import stat
from typing import Annotated, Any
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import AliasChoices, BaseModel, BeforeValidator, Field

from caravan_common.errors import InvalidParametersError
from caravan_common.http import json_response
from caravan_common.states import FolderPermission
from caravan_common.wire.storage import FileEntry, Volume
from caravan_manager.api.context import NODES, PRINCIPAL, VFOLDERS, read_parameters
from caravan_manager.people.model import Principal
from caravan_manager.sessions.model import volume_of
from caravan_manager.vfolders.model import (
    ALLOWED_TYPES,
    Host,
    NewFolder,
    UsageMode,
    VFolder,
    VFolderNotFoundError,
    folder_id,
)

routes = web.RouteTableDef()

_FILE_TYPES = {"FILE": stat.S_IFREG, "DIRECTORY": stat.S_IFDIR, "SYMLINK": stat.S_IFLNK}


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _null_is_default(value: object) -> object:
    return False if value is None else value


Flag = Annotated[bool, BeforeValidator(_null_is_default)]


class CreateFolder(BaseModel):
    """What POST /folders takes."""

    name: str
    host: str | None = Field(default=None, validation_alias=AliasChoices("host", "folder_host"))
    usage_mode: UsageMode = UsageMode.GENERAL
    permission: FolderPermission = FolderPermission.READ_WRITE
    unmanaged_path: str | None = None
    group: str | None = Field(default=None, validation_alias=AliasChoices("group", "group_id", "groupId"))
    cloneable: Flag = False

    def request(self) -> NewFolder:
        """Return what the service takes."""
        if self.unmanaged_path:
            raise InvalidParametersError("folders outside the storage volumes (unmanaged_path) are not supported")
        return NewFolder(
            name=self.name,
            host=Host.parse(self.host) if self.host else None,
            project=self.group or None,
            usage_mode=self.usage_mode,
            permission=self.permission,
            cloneable=self.cloneable,
        )


class FolderName(BaseModel):
    """A folder by its name."""

    name: str = Field(validation_alias=AliasChoices("vfolder_name", "vfolderName", "name"))


class FolderById(BaseModel):
    """A folder by its ID."""

    id: UUID = Field(validation_alias=AliasChoices("vfolder_id", "vfolderId", "id"))


class ListFolders(BaseModel):
    """What GET /folders takes."""

    all: Flag = False
    group: str | None = Field(default=None, validation_alias=AliasChoices("group_id", "groupId", "group"))


class OfGroup(BaseModel):
    """A project, by name or ID, that may be left out."""

    group: str | None = Field(default=None, validation_alias=AliasChoices("group_id", "groupId", "group"))


class InFolder(BaseModel):
    """A path in a folder."""

    path: str = Field(default=".", max_length=4096)


class MakeDirectory(BaseModel):
    """What POST /folders/{folder}/mkdir takes."""

    path: Annotated[list[str], BeforeValidator(_one_or_many)] = Field(min_length=1, max_length=50)
    parents: bool = True
    exist_ok: Flag = False


class Upload(BaseModel):
    """What POST /folders/{folder}/request-upload takes."""

    path: str = Field(max_length=4096)
    size: int = Field(ge=0)


class Download(BaseModel):
    """What POST /folders/{folder}/request-download takes; browsers say ``file``."""

    path: str = Field(validation_alias=AliasChoices("path", "file"), max_length=4096)
    archive: Flag = False


class Rename(BaseModel):
    """What POST /folders/{folder}/rename takes."""

    new_name: str = Field(validation_alias=AliasChoices("new_name", "newName"))


@routes.post("/folders")
async def create_folder(request: web.Request) -> web.Response:
    """Make a folder."""
    parameters = CreateFolder.model_validate(await read_parameters(request))
    folder = await request.app[VFOLDERS].create(request[PRINCIPAL], parameters.request())
    return json_response(_created(folder), status=201)


@routes.get("/folders")
async def list_folders(request: web.Request) -> web.Response:
    """List the folders that the caller can use; with ``all`` a superadmin gets everybody's."""
    parameters = ListFolders.model_validate(await read_parameters(request))
    principal = request[PRINCIPAL]
    if parameters.all and principal.is_superadmin:
        found, _ = await request.app[VFOLDERS].list_page(
            principal, ownership="all", project=None, limit=10_000, offset=0
        )
    else:
        found = await request.app[VFOLDERS].usable(principal, parameters.group)
    return json_response([_listed(folder, principal) for folder in found])


@routes.delete("/folders")
async def trash_folder_by_id(request: web.Request) -> web.Response:
    """Put a folder into the trash."""
    parameters = FolderById.model_validate(await read_parameters(request))
    await request.app[VFOLDERS].trash(request[PRINCIPAL], str(parameters.id))
    return web.Response(status=204)


@routes.get("/folders/_/id")
async def get_folder_id(request: web.Request) -> web.Response:
    """Say which ID a name has."""
    parameters = FolderName.model_validate(await read_parameters(request))
    if folder_id(parameters.name) is not None:
        raise VFolderNotFoundError(data=parameters.name)
    folder = await request.app[VFOLDERS].find(request[PRINCIPAL], parameters.name)
    return json_response({"id": str(folder.id), "name": folder.name})


@routes.get("/folders/_/hosts")
async def list_hosts(request: web.Request) -> web.Response:
    """List the storage hosts that the caller may use."""
    parameters = OfGroup.model_validate(await read_parameters(request))
    wanted = parameters.group or None
    hosts = await request.app[VFOLDERS].hosts(request[PRINCIPAL], wanted)
    project = None if wanted is None else folder_id(wanted) or wanted
    groups = await request.app[NODES].groups_for_uploads(request[PRINCIPAL], project)
    details = {host: _volume(volume, groups.get(volume_of(host), [])) for host, volume in hosts.volumes.items()}
    return json_response({"default": hosts.default, "allowed": list(hosts.volumes), "volume_info": details})


@routes.get("/folders/_/all_hosts")
@routes.get("/folders/_/all-hosts")
async def list_all_hosts(request: web.Request) -> web.Response:
    """List all storage hosts."""
    hosts = await request.app[VFOLDERS].all_hosts(request[PRINCIPAL])
    return json_response({"default": hosts.default, "allowed": list(hosts.volumes)})


@routes.get("/folders/_/allowed_types")
@routes.get("/folders/_/allowed-types")
async def list_allowed_types(_request: web.Request) -> web.Response:
    """Say whom folders may belong to."""
    return json_response(ALLOWED_TYPES)


@routes.post("/folders/delete-from-trash-bin")
async def delete_from_trash(request: web.Request) -> web.Response:
    """Delete a folder in the trash with its files."""
    parameters = FolderById.model_validate(await read_parameters(request))
    await request.app[VFOLDERS].delete(request[PRINCIPAL], str(parameters.id))
    return web.Response(status=204)


@routes.post("/folders/restore-from-trash-bin")
async def restore_from_trash(request: web.Request) -> web.Response:
    """Take a folder out of the trash."""
    parameters = FolderById.model_validate(await read_parameters(request))
    await request.app[VFOLDERS].restore(request[PRINCIPAL], str(parameters.id))
    return web.Response(status=204)


@routes.post("/folders/purge")
async def purge_folder(request: web.Request) -> web.Response:
    """Forget a folder whose files are gone."""
    parameters = FolderById.model_validate(await read_parameters(request))
    await request.app[VFOLDERS].purge(request[PRINCIPAL], parameters.id)
    return web.Response(status=204)


@routes.get("/folders/{folder}")
async def get_folder(request: web.Request) -> web.Response:
    """Describe a folder, with its files counted."""
    folder = await request.app[VFOLDERS].find(request[PRINCIPAL], request.match_info["folder"])
    usage = await request.app[VFOLDERS].usage(folder)
    counted = {"numFiles": usage.files, "num_files": usage.files, "used_bytes": usage.bytes}
    return json_response(_described(folder, request[PRINCIPAL], counted))


@routes.delete("/folders/{folder}")
async def trash_folder(request: web.Request) -> web.Response:
    """Put a folder into the trash."""
    await request.app[VFOLDERS].trash(request[PRINCIPAL], request.match_info["folder"])
    return web.Response(status=204)


@routes.get("/folders/{folder}/files")
async def list_files(request: web.Request) -> web.Response:
    """List one directory of a folder."""
    parameters = InFolder.model_validate(await read_parameters(request))
    listing = await request.app[VFOLDERS].files(request[PRINCIPAL], request.match_info["folder"], parameters.path)
    older = orjson.dumps([_older_entry(entry) for entry in listing.entries]).decode()
    return json_response({"items": [_entry(entry) for entry in listing.entries], "files": older})


@routes.post("/folders/{folder}/mkdir")
async def make_directories(request: web.Request) -> web.Response:
    """Make directories in a folder: 200 when all were made, 207 when some were, 422 when none was."""
    parameters = MakeDirectory.model_validate(await read_parameters(request))
    made = await request.app[VFOLDERS].make_directories(
        request[PRINCIPAL],
        request.match_info["folder"],
        parameters.path,
        parents=parameters.parents,
        exist_ok=parameters.exist_ok,
    )
    success = [{"msg": None, "item": outcome.path} for outcome in made.outcomes if outcome.error is None]
    failed = [{"msg": outcome.error, "item": outcome.path} for outcome in made.outcomes if outcome.error is not None]
    status = 200 if not failed else 207 if success else 422
    return json_response({"results": {"success": success, "failed": failed}}, status=status)


@routes.post("/folders/{folder}/request-upload")
async def request_upload(request: web.Request) -> web.Response:
    """Say where and with what token to upload one file."""
    parameters = Upload.model_validate(await read_parameters(request))
    ticket = await request.app[VFOLDERS].request_upload(
        request[PRINCIPAL], request.match_info["folder"], parameters.path, parameters.size
    )
    return json_response({"token": ticket.token, "url": ticket.url})


@routes.post("/folders/{folder}/request-download")
async def request_download(request: web.Request) -> web.Response:
    """Say where and with what token to download."""
    parameters = Download.model_validate(await read_parameters(request))
    ticket = await request.app[VFOLDERS].request_download(
        request[PRINCIPAL], request.match_info["folder"], parameters.path, archive=parameters.archive
    )
    return json_response({"token": ticket.token, "url": ticket.url})


@routes.post("/folders/{folder}/rename")
async def rename_folder(request: web.Request) -> web.Response:
    """Give a folder another name."""
    parameters = Rename.model_validate(await read_parameters(request))
    await request.app[VFOLDERS].rename(request[PRINCIPAL], request.match_info["folder"], parameters.new_name)
    return web.Response(status=201)


def _common(folder: VFolder) -> dict[str, Any]:
    return {
        "name": folder.name,
        "id": folder.id.hex,
        "quota_scope_id": folder.quota_scope_id,
        "host": str(folder.host),
        "status": folder.status,
        "usage_mode": folder.usage_mode,
        "permission": folder.permission,
        "user": folder.user_id,
        "group": folder.project_id,
        "cloneable": folder.cloneable,
    }


def _created(folder: VFolder) -> dict[str, Any]:
    return _common(folder) | {
        "max_size": folder.max_size or 0,
        "creator": folder.creator,
        "ownership_type": folder.ownership_type,
    }


def _listed(folder: VFolder, principal: Principal) -> dict[str, Any]:
    return _common(folder) | {
        "created_at": str(folder.created_at),
        "is_owner": folder.is_owned_by(principal),
        "creator": folder.creator,
        "user_email": folder.user_email,
        "group_name": folder.project_name,
        "ownership_type": folder.ownership_type,
        "type": folder.ownership_type,
        "max_files": folder.max_files,
        "max_size": folder.max_size,
        "cur_size": 0,
    }


def _described(folder: VFolder, principal: Principal, counted: dict[str, int]) -> dict[str, Any]:
    return (
        _common(folder)
        | counted
        | {
            "created": str(folder.created_at),
            "created_at": str(folder.created_at),
            "last_used": None if folder.last_used is None else str(folder.last_used),
            "type": folder.ownership_type,
            "is_owner": folder.is_owned_by(principal),
            "max_size": folder.max_size,
            "cur_size": 0,
        }
    )


def _volume(volume: Volume, sftp_groups: list[str]) -> dict[str, Any]:
    return {
        "backend": volume.backend,
        "capabilities": volume.capabilities,
        "usage": {"percentage": volume.usage_percent},
        "sftp_scaling_groups": sftp_groups,
    }


def _entry(entry: FileEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "type": entry.type,
        "size": entry.size,
        "mode": format(entry.mode & 0o7777, "o"),
        "created": entry.created.isoformat(),
        "modified": entry.modified.isoformat(),
    }


def _older_entry(entry: FileEntry) -> dict[str, Any]:
    """Return the entry as clients before 2022 read it, inside a JSON text; ``vfolder ls`` of 25.5 still does."""
    return {
        "filename": entry.name,
        "size": entry.size,
        "mode": stat.filemode(_FILE_TYPES[entry.type] | entry.mode & 0o7777),
        "ctime": entry.created.timestamp(),
        "atime": 0,
        "mtime": entry.modified.timestamp(),
    }
