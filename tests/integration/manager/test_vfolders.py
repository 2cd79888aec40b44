"""Virtual folders on a real PostgreSQL: what the service does, and what it refuses."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from tests.integration.manager.conftest import Seed
from tests.integration.manager.fake_storage import FakeStorageProxy

from caravan_common.errors import CaravanError, ForbiddenError, InvalidParametersError, NotFoundError, UnavailableError
from caravan_common.states import FolderPermission, FolderStatus
from caravan_manager.db.engine import Begin, Transaction
from caravan_manager.db.tables import (
    audit_log,
    domains,
    keypair_resource_policies,
    project_members,
    project_resource_policies,
    projects,
    sessions,
    user_resource_policies,
)
from caravan_manager.db.tables import vfolders as folders_table
from caravan_manager.people.model import Principal, ProjectNotFoundError, UserRole
from caravan_manager.vfolders import repository
from caravan_manager.vfolders.model import (
    Host,
    MountRequest,
    NewFolder,
    TooManyVFoldersError,
    UsageMode,
    VFolder,
    VFolderAlreadyExistsError,
    VFolderInUseError,
    VFolderNotFoundError,
    WrongVFolderStatusError,
)
from caravan_manager.vfolders.service import VFoldersService

HOST = Host("local", "volume1")
ALL_BUT_CREATE = ["modify-vfolder", "delete-vfolder", "upload-file", "download-file", "mount-in-session"]


def wanted(name: str = "data", **changes: object) -> NewFolder:
    made = NewFolder(
        name=name,
        host=HOST,
        project=None,
        usage_mode=UsageMode.GENERAL,
        permission=FolderPermission.READ_WRITE,
        cloneable=False,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


async def status_of(begin: Begin, folder: VFolder) -> str | None:
    async with begin() as tx:
        status: str | None = await tx.scalar(select(folders_table.c.status).where(folders_table.c.id == folder.id))
    return status


async def set_status(begin: Begin, folder: VFolder, status: FolderStatus) -> None:
    async with begin() as tx:
        await tx.execute(folders_table.update().where(folders_table.c.id == folder.id).values(status=status.value))


async def set_rights(begin: Begin, rights: list[str]) -> None:
    """Let every policy allow just these on the host."""
    async with begin() as tx:
        for table in (domains, keypair_resource_policies, projects):
            await tx.execute(table.update().values(allowed_vfolder_hosts={str(HOST): rights}))


async def put_session(begin: Begin, seed: Seed, owner: Principal, folder: VFolder, status: str) -> None:
    async with begin() as tx:
        await tx.execute(
            sessions.insert().values(
                id=uuid4(),
                name="train",
                type="interactive",
                domain_name=seed.domain,
                project_id=seed.project,
                user_id=owner.user_id,
                access_key=owner.access_key,
                scaling_group=seed.scaling_group,
                image=seed.image_reference,
                registry="local",
                architecture="x86_64",
                cluster_mode="single-node",
                cluster_size=1,
                requested_slots={},
                mounts=[{"folder": str(folder.id), "name": folder.name}],
                status=status,
            )
        )


async def test_a_folder_is_made_at_the_proxy_and_in_the_database(
    vfolders: VFoldersService, storage: FakeStorageProxy, user: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    assert await vfolders.folder(user, made.id) == made
    assert made.quota_scope_id == f"user:{user.user_id}"
    assert (made.status, made.ownership_type, made.user_email) == (FolderStatus.READY, "user", user.email)
    assert list(storage.folders) == [("volume1", made.quota_scope_id, made.id)]


async def test_what_users_do_to_folders_is_in_the_audit_log(
    vfolders: VFoldersService, begin: Begin, user: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    await vfolders.rename(user, made.id.hex, "other")
    await vfolders.trash(user, "other")
    await vfolders.delete(user, made.id.hex)
    async with begin() as tx:
        lines = (await tx.execute(select(audit_log).order_by(audit_log.c.id))).all()
    assert [line.action for line in lines] == ["vfolder.create", "vfolder.rename", "vfolder.trash", "vfolder.delete"]
    assert {line.target for line in lines} == {str(made.id)}


async def test_a_name_is_taken_only_once(vfolders: VFoldersService, storage: FakeStorageProxy, user: Principal) -> None:
    await vfolders.create(user, wanted())
    with pytest.raises(VFolderAlreadyExistsError):
        await vfolders.create(user, wanted())
    assert len(storage.folders) == 1


async def test_of_two_folders_made_at_once_under_one_name_one_is_made(
    vfolders: VFoldersService, storage: FakeStorageProxy, user: Principal
) -> None:
    made = await asyncio.gather(*[vfolders.create(user, wanted()) for _ in range(4)], return_exceptions=True)
    assert sorted(type(one).__name__ for one in made) == ["VFolder", *["VFolderAlreadyExistsError"] * 3]
    assert len(storage.folders) == 1


async def test_the_database_itself_refuses_a_second_live_name(
    vfolders: VFoldersService, storage: FakeStorageProxy, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await vfolders.create(user, wanted())

    async def nobody_has_it(*_: object) -> bool:
        return False

    monkeypatch.setattr(repository, "name_is_live", nobody_has_it)
    with pytest.raises(VFolderAlreadyExistsError):
        await vfolders.create(user, wanted())
    assert len(storage.folders) == 1


async def test_two_users_may_have_folders_of_one_name(
    vfolders: VFoldersService, user: Principal, admin: Principal
) -> None:
    assert (await vfolders.create(user, wanted())).id != (await vfolders.create(admin, wanted())).id


async def test_a_project_s_folder_and_ones_own_cannot_share_a_name(
    vfolders: VFoldersService, user: Principal, admin: Principal
) -> None:
    await vfolders.create(admin, wanted(project="default"))
    with pytest.raises(VFolderAlreadyExistsError):
        await vfolders.create(user, wanted())


async def test_over_the_users_limit_no_folder_is_made(
    vfolders: VFoldersService, begin: Begin, storage: FakeStorageProxy, user: Principal
) -> None:
    async with begin() as tx:
        await tx.execute(user_resource_policies.update().values(max_vfolder_count=2))
    first = await vfolders.create(user, wanted("a"))
    await vfolders.create(user, wanted("b"))
    with pytest.raises(InvalidParametersError, match="You cannot create more vfolders"):
        await vfolders.create(user, wanted("c"))
    await vfolders.trash(user, "a")
    with pytest.raises(InvalidParametersError):
        await vfolders.create(user, wanted("c"))
    await vfolders.delete(user, first.id.hex)
    await vfolders.create(user, wanted("c"))
    assert len(storage.folders) == 2


async def test_many_at_once_do_not_go_over_the_limit(
    vfolders: VFoldersService, begin: Begin, storage: FakeStorageProxy, user: Principal
) -> None:
    async with begin() as tx:
        await tx.execute(user_resource_policies.update().values(max_vfolder_count=2))
    tried = [vfolders.create(user, wanted(f"f{n}")) for n in range(5)]
    made = [one for one in await asyncio.gather(*tried, return_exceptions=True) if isinstance(one, VFolder)]
    assert len(made) == len(storage.folders) == 2


async def test_a_limit_of_zero_is_none(vfolders: VFoldersService, begin: Begin, user: Principal) -> None:
    async with begin() as tx:
        await tx.execute(user_resource_policies.update().values(max_vfolder_count=0))
    for n in range(12):
        await vfolders.create(user, wanted(f"f{n}"))


async def test_a_project_has_a_limit_of_its_own(vfolders: VFoldersService, begin: Begin, admin: Principal) -> None:
    async with begin() as tx:
        await tx.execute(project_resource_policies.update().values(max_vfolder_count=1))
    await vfolders.create(admin, wanted("a", project="default"))
    with pytest.raises(InvalidParametersError, match="You cannot create more"):
        await vfolders.create(admin, wanted("b", project="default"))
    await vfolders.create(admin, wanted("b"))


async def test_when_the_proxy_is_silent_no_folder_is_made(
    vfolders: VFoldersService, storage: FakeStorageProxy, user: Principal
) -> None:
    storage.silent = True
    with pytest.raises(UnavailableError):
        await vfolders.create(user, wanted())
    storage.silent = False
    assert await vfolders.usable(user, None) == []
    await vfolders.create(user, wanted())


async def test_a_folder_without_a_host_goes_to_the_first_that_is_allowed(
    vfolders: VFoldersService, user: Principal
) -> None:
    assert (await vfolders.create(user, wanted(host=None))).host == HOST


async def test_without_any_allowed_host_one_must_be_named(
    vfolders: VFoldersService, begin: Begin, user: Principal
) -> None:
    await set_rights(begin, ALL_BUT_CREATE)
    with pytest.raises(InvalidParametersError, match="specify the vfolder host"):
        await vfolders.create(user, wanted(host=None))


async def test_a_host_that_no_policy_allows_is_refused(
    vfolders: VFoldersService, begin: Begin, user: Principal
) -> None:
    await set_rights(begin, ALL_BUT_CREATE)
    with pytest.raises(InvalidParametersError, match="create-vfolder"):
        await vfolders.create(user, wanted())


@pytest.mark.parametrize("host", [Host("local", "volume9"), Host("elsewhere", "volume1")])
async def test_an_unknown_host_is_refused(vfolders: VFoldersService, user: Principal, host: Host) -> None:
    with pytest.raises(InvalidParametersError):
        await vfolders.create(user, wanted(host=host))


async def test_only_administrators_make_folders_for_projects(vfolders: VFoldersService, user: Principal) -> None:
    with pytest.raises(ForbiddenError):
        await vfolders.create(user, wanted(project="default"))


async def test_an_unknown_project_is_not_found(vfolders: VFoldersService, user: Principal, admin: Principal) -> None:
    for caller in (user, admin):
        for project in ("nothing", str(uuid4())):
            with pytest.raises(ProjectNotFoundError):
                await vfolders.create(caller, wanted(project=project))


async def test_a_projects_folder_belongs_to_the_project(
    vfolders: VFoldersService, seed: Seed, user: Principal, admin: Principal
) -> None:
    made = await vfolders.create(admin, wanted("shared", project=seed.project.hex))
    assert made.quota_scope_id == f"project:{seed.project}"
    assert (made.user_id, made.project_id, made.project_name) == (None, seed.project, "default")
    assert (await vfolders.find(user, "shared")).id == made.id


async def test_members_may_not_change_their_projects_folders(
    vfolders: VFoldersService, user: Principal, admin: Principal
) -> None:
    await vfolders.create(admin, wanted("shared", project="default"))
    with pytest.raises(ForbiddenError):
        await vfolders.trash(user, "shared")
    with pytest.raises(ForbiddenError):
        await vfolders.rename(user, "shared", "mine")


async def test_who_left_the_project_does_not_see_its_folders(
    vfolders: VFoldersService, begin: Begin, user: Principal, admin: Principal
) -> None:
    await vfolders.create(admin, wanted("shared", project="default"))
    async with begin() as tx:
        await tx.execute(project_members.delete().where(project_members.c.user_id == user.user_id))
    with pytest.raises(VFolderNotFoundError):
        await vfolders.find(user, "shared")
    assert await vfolders.usable(user, None) == []


async def test_other_peoples_folders_are_not_found(
    vfolders: VFoldersService, user: Principal, admin: Principal
) -> None:
    made = await vfolders.create(admin, wanted())
    acts: list[Callable[[], Awaitable[object]]] = [
        lambda: vfolders.find(user, "data"),
        lambda: vfolders.find(user, made.id.hex),
        lambda: vfolders.folder(user, made.id),
        lambda: vfolders.files(user, made.id.hex, "."),
        lambda: vfolders.request_upload(user, made.id.hex, "a", 1),
        lambda: vfolders.request_download(user, made.id.hex, "a", archive=False),
        lambda: vfolders.make_directories(user, made.id.hex, ["a"], parents=True, exist_ok=True),
        lambda: vfolders.rename(user, made.id.hex, "b"),
        lambda: vfolders.trash(user, made.id.hex),
        lambda: vfolders.restore(user, made.id.hex),
        lambda: vfolders.delete(user, made.id.hex),
    ]
    for act in acts:
        with pytest.raises(VFolderNotFoundError):
            await act()


async def test_superadmins_look_after_other_peoples_folders_but_do_not_read_them(
    vfolders: VFoldersService, user: Principal, admin: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    assert (await vfolders.find(admin, made.id.hex)).id == made.id
    with pytest.raises(VFolderNotFoundError):
        await vfolders.files(admin, made.id.hex, ".")
    await vfolders.trash(admin, made.id.hex)
    await vfolders.restore(admin, made.id.hex)


async def test_administrators_of_a_domain_stay_in_it(
    vfolders: VFoldersService, begin: Begin, user: Principal, admin: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    assert (await vfolders.folder(replace(admin, role=UserRole.ADMIN), made.id)).id == made.id
    elsewhere = replace(admin, role=UserRole.ADMIN, domain_name="elsewhere")
    with pytest.raises(VFolderNotFoundError):
        await vfolders.folder(elsewhere, made.id)


async def test_pages_show_what_each_caller_may_see(
    vfolders: VFoldersService, seed: Seed, user: Principal, admin: Principal
) -> None:
    for name in ("a", "b", "c"):
        await vfolders.create(user, wanted(name))
    await vfolders.create(admin, wanted("secret"))
    await vfolders.create(admin, wanted("shared", project="default"))

    async def names(caller: Principal, ownership: str, limit: int = 10, offset: int = 0) -> tuple[list[str], int]:
        found, total = await vfolders.list_page(
            caller,
            ownership=ownership,  # type: ignore[arg-type]
            project=None,
            limit=limit,
            offset=offset,
        )
        return [folder.name for folder in found], total

    assert await names(user, "all") == (["shared", "c", "b", "a"], 4)
    assert await names(user, "own", limit=2, offset=1) == (["b", "a"], 3)
    assert await names(user, "project") == (["shared"], 1)
    assert await names(user, "invited") == ([], 0)
    assert (await names(admin, "all"))[1] == 5


async def test_a_page_of_one_project_leaves_other_projects_out(
    vfolders: VFoldersService, seed: Seed, admin: Principal
) -> None:
    await vfolders.create(admin, wanted("shared", project="default"))
    found, total = await vfolders.list_page(admin, ownership="project", project=uuid4(), limit=10, offset=0)
    assert (found, total) == ([], 0)


async def test_a_folder_is_renamed_once(vfolders: VFoldersService, user: Principal) -> None:
    await vfolders.create(user, wanted("a"))
    await vfolders.create(user, wanted("b"))
    with pytest.raises(InvalidParametersError, match="already has the name"):
        await vfolders.rename(user, "a", "b")
    await vfolders.rename(user, "a", "c")
    with pytest.raises(VFolderNotFoundError):
        await vfolders.find(user, "a")


async def test_the_database_itself_refuses_to_rename_into_a_live_name(
    vfolders: VFoldersService, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await vfolders.create(user, wanted("a"))
    await vfolders.create(user, wanted("b"))

    async def nobody_has_it(*_: object) -> bool:
        return False

    monkeypatch.setattr(repository, "name_is_live", nobody_has_it)
    with pytest.raises(InvalidParametersError, match="already has the name"):
        await vfolders.rename(user, "a", "b")


async def test_a_folder_in_the_trash_gives_up_its_name_and_gets_it_back(
    vfolders: VFoldersService, user: Principal
) -> None:
    first = await vfolders.create(user, wanted())
    await vfolders.trash(user, "data")
    second = await vfolders.create(user, wanted())
    assert (await vfolders.find(user, "data")).id == second.id
    with pytest.raises(VFolderAlreadyExistsError):
        await vfolders.restore(user, first.id.hex)
    await vfolders.rename(user, second.id.hex, "newer")
    assert (await vfolders.restore(user, first.id.hex)).status is FolderStatus.READY


async def test_the_database_itself_refuses_to_restore_a_live_name(
    vfolders: VFoldersService, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await vfolders.create(user, wanted())
    await vfolders.trash(user, "data")
    await vfolders.create(user, wanted())

    async def nobody_has_it(*_: object) -> bool:
        return False

    monkeypatch.setattr(repository, "name_is_live", nobody_has_it)
    with pytest.raises(VFolderAlreadyExistsError):
        await vfolders.restore(user, first.id.hex)


async def test_deleting_from_the_trash_takes_the_files_and_keeps_the_record(
    vfolders: VFoldersService, begin: Begin, storage: FakeStorageProxy, user: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    await vfolders.trash(user, "data")
    assert len(storage.folders) == 1
    await vfolders.delete(user, made.id.hex)
    assert storage.folders == {}
    assert await status_of(begin, made) == "delete-complete"
    with pytest.raises(VFolderNotFoundError):
        await vfolders.find(user, made.id.hex)


async def test_a_live_folder_is_not_deleted_with_its_files(
    vfolders: VFoldersService, storage: FakeStorageProxy, user: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    with pytest.raises(WrongVFolderStatusError):
        await vfolders.delete(user, made.id.hex)
    assert len(storage.folders) == 1


async def test_a_deletion_that_fails_can_be_tried_again(
    vfolders: VFoldersService, begin: Begin, storage: FakeStorageProxy, user: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    await vfolders.trash(user, "data")
    storage.silent = True
    with pytest.raises(UnavailableError):
        await vfolders.delete(user, made.id.hex)
    assert await status_of(begin, made) == "delete-error"
    storage.silent = False
    await vfolders.delete(user, made.id.hex)
    assert await status_of(begin, made) == "delete-complete"


async def test_a_deletion_that_a_crash_cut_short_can_be_tried_again(
    vfolders: VFoldersService, begin: Begin, user: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    await set_status(begin, made, FolderStatus.DELETE_ONGOING)
    await vfolders.delete(user, made.id.hex)
    assert await status_of(begin, made) == "delete-complete"


async def test_a_folder_that_live_sessions_have_is_not_trashed(
    vfolders: VFoldersService, begin: Begin, seed: Seed, user: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    await put_session(begin, seed, user, made, "TERMINATED")
    await put_session(begin, seed, user, made, "RUNNING")
    with pytest.raises(VFolderInUseError) as caught:
        await vfolders.trash(user, "data")
    assert caught.value.status == 400
    async with begin() as tx:
        await tx.execute(sessions.update().values(status="TERMINATED"))
    await vfolders.trash(user, "data")


async def test_purging_forgets_what_is_deleted(
    vfolders: VFoldersService, begin: Begin, user: Principal, admin: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    with pytest.raises(ForbiddenError):
        await vfolders.purge(user, made.id)
    with pytest.raises(WrongVFolderStatusError):
        await vfolders.purge(admin, made.id)
    await vfolders.trash(user, "data")
    await vfolders.delete(user, made.id.hex)
    await vfolders.purge(admin, made.id)
    assert await status_of(begin, made) is None
    with pytest.raises(VFolderNotFoundError):
        await vfolders.purge(admin, made.id)


async def test_a_read_only_folder_is_read_but_not_written(vfolders: VFoldersService, user: Principal) -> None:
    await vfolders.create(user, wanted(permission=FolderPermission.READ_ONLY))
    await vfolders.files(user, "data", ".")
    with pytest.raises(ForbiddenError):
        await vfolders.request_upload(user, "data", "a", 1)
    with pytest.raises(ForbiddenError):
        await vfolders.make_directories(user, "data", ["a"], parents=True, exist_ok=True)


async def test_files_in_the_trash_are_out_of_reach(vfolders: VFoldersService, user: Principal) -> None:
    await vfolders.create(user, wanted())
    await vfolders.trash(user, "data")
    for act in (
        lambda: vfolders.files(user, "data", "."),
        lambda: vfolders.request_upload(user, "data", "a", 1),
        lambda: vfolders.request_download(user, "data", "a", archive=False),
        lambda: vfolders.make_directories(user, "data", ["a"], parents=True, exist_ok=True),
        lambda: vfolders.rename(user, "data", "b"),
    ):
        with pytest.raises(WrongVFolderStatusError):
            await act()


async def test_each_right_on_a_host_is_needed(vfolders: VFoldersService, begin: Begin, user: Principal) -> None:
    await vfolders.create(user, wanted())
    await set_rights(begin, ["create-vfolder"])
    for right, act in {
        "upload-file": lambda: vfolders.request_upload(user, "data", "a", 1),
        "download-file": lambda: vfolders.request_download(user, "data", "a", archive=False),
        "modify-vfolder": lambda: vfolders.rename(user, "data", "b"),
        "delete-vfolder": lambda: vfolders.trash(user, "data"),
    }.items():
        with pytest.raises(InvalidParametersError, match=right):
            await act()


async def test_hosts_are_those_of_the_callers_policies(
    vfolders: VFoldersService, begin: Begin, storage: FakeStorageProxy, user: Principal, admin: Principal
) -> None:
    hosts = await vfolders.hosts(user, "default")
    assert (hosts.default, list(hosts.volumes)) == ("local:volume1", ["local:volume1"])
    await set_rights(begin, [])
    assert (await vfolders.hosts(user, None)).volumes == {}
    assert (await vfolders.hosts(user, None)).default is None
    assert list((await vfolders.all_hosts(admin)).volumes) == ["local:volume1"]
    with pytest.raises(ForbiddenError):
        await vfolders.all_hosts(user)
    with pytest.raises(ProjectNotFoundError):
        await vfolders.hosts(user, "nothing")
    storage.silent = True
    assert (await vfolders.all_hosts(admin)).volumes == {}


async def test_a_folder_on_a_proxy_that_was_taken_away_is_unavailable(
    vfolders: VFoldersService, begin: Begin, user: Principal
) -> None:
    await vfolders.create(user, wanted())
    without = VFoldersService(begin, {})
    with pytest.raises(UnavailableError):
        await without.files(user, "data", ".")


async def test_wanted_folders_become_mounts(
    vfolders: VFoldersService, begin: Begin, user: Principal, admin: Principal
) -> None:
    mine = await vfolders.create(user, wanted("mine"))
    shared = await vfolders.create(admin, wanted("shared", project="default"))
    async with begin() as tx:
        made = await vfolders.resolve_mounts(
            tx, user, [MountRequest(mine.id.hex, permission="ro"), MountRequest("shared", target="sets/shared")]
        )
    assert [(mount.folder, str(mount.target), mount.permission) for mount in made] == [
        (mine.id, "/home/work/mine", "ro"),
        (shared.id, "/home/work/sets/shared", "rw"),
    ]


async def test_no_folders_wanted_are_no_mounts(vfolders: VFoldersService, begin: Begin, user: Principal) -> None:
    async with begin() as tx:
        assert await vfolders.resolve_mounts(tx, user, []) == ()


@pytest.mark.parametrize(
    ("requests", "problem"),
    [
        ([MountRequest("nothing")], VFolderNotFoundError),
        ([MountRequest("theirs")], VFolderNotFoundError),
        ([MountRequest(uuid4().hex)], VFolderNotFoundError),
        ([MountRequest("trashed")], VFolderNotFoundError),
        ([MountRequest("mine"), MountRequest("mine")], InvalidParametersError),
        ([MountRequest("mine", target="/etc")], InvalidParametersError),
        ([MountRequest("mine", target=".ssh")], InvalidParametersError),
        ([MountRequest("mine", subpath="../x")], InvalidParametersError),
        ([MountRequest("fixed", permission="rw")], ForbiddenError),
    ],
)
async def test_mounts_that_cannot_be_are_refused(
    vfolders: VFoldersService,
    begin: Begin,
    user: Principal,
    admin: Principal,
    requests: list[MountRequest],
    problem: type[CaravanError],
) -> None:
    await vfolders.create(admin, wanted("theirs"))
    await vfolders.create(user, wanted("mine"))
    await vfolders.create(user, wanted("fixed", permission=FolderPermission.READ_ONLY))
    await vfolders.create(user, wanted("trashed"))
    await vfolders.trash(user, "trashed")
    with pytest.raises(problem):
        async with begin() as tx:
            await vfolders.resolve_mounts(tx, user, requests)


async def test_superadmins_do_not_mount_other_peoples_folders(
    vfolders: VFoldersService, begin: Begin, user: Principal, admin: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    with pytest.raises(VFolderNotFoundError):
        async with begin() as tx:
            await vfolders.resolve_mounts(tx, admin, [MountRequest(made.id.hex)])


async def test_mounting_needs_the_right_on_the_host(vfolders: VFoldersService, begin: Begin, user: Principal) -> None:
    await vfolders.create(user, wanted())
    await set_rights(begin, ["create-vfolder"])
    with pytest.raises(InvalidParametersError, match="mount-in-session"):
        async with begin() as tx:
            await vfolders.resolve_mounts(tx, user, [MountRequest("data")])


async def test_a_folder_is_not_trashed_while_a_session_is_being_made_with_it(
    vfolders: VFoldersService, begin: Begin, seed: Seed, user: Principal
) -> None:
    made = await vfolders.create(user, wanted())
    async with begin() as tx:
        await vfolders.resolve_mounts(tx, user, [MountRequest("data")])
        trashing = asyncio.create_task(vfolders.trash(user, "data"))
        done, _ = await asyncio.wait([trashing], timeout=0.3)
        assert not done
        await put_session(begin, seed, user, made, "PENDING")
    with pytest.raises(VFolderInUseError):
        await trashing


async def test_an_ambiguous_name_is_refused_and_the_id_is_not(
    vfolders: VFoldersService, begin: Begin, user: Principal, admin: Principal
) -> None:
    mine = await vfolders.create(user, wanted())
    shared = await vfolders.create(admin, wanted("shared", project="default"))
    async with begin() as tx:
        await rename_in_table(tx, shared.id, "data")
    with pytest.raises(TooManyVFoldersError):
        await vfolders.find(user, "data")
    assert (await vfolders.find(user, mine.id.hex)).id == mine.id


async def rename_in_table(tx: Transaction, folder: UUID, name: str) -> None:
    await tx.execute(folders_table.update().where(folders_table.c.id == folder).values(name=name))


async def test_no_transaction_is_open_while_a_proxy_works(
    begin: Begin, storage: FakeStorageProxy, user: Principal
) -> None:
    open_now = 0

    @asynccontextmanager
    async def counted() -> AsyncGenerator[Transaction, None]:
        nonlocal open_now
        async with begin() as tx:
            open_now += 1
            try:
                yield tx
            finally:
                open_now -= 1

    class Watchful(FakeStorageProxy):
        def _answer(self) -> None:
            assert open_now == 0
            super()._answer()

    def begin_counted() -> AbstractAsyncContextManager[Transaction]:
        return counted()

    service = VFoldersService(begin_counted, {"local": Watchful()})
    made = await service.create(user, wanted())
    await service.usage(made)
    await service.files(user, "data", ".")
    await service.request_upload(user, "data", "a", 1)
    await service.request_download(user, "data", "a", archive=False)
    await service.hosts(user, None)
    await service.trash(user, "data")
    await service.delete(user, made.id.hex)


async def test_an_unknown_folder_is_not_found(vfolders: VFoldersService, user: Principal) -> None:
    for text in ("nothing", uuid4().hex, str(uuid4())):
        with pytest.raises(NotFoundError):
            await vfolders.find(user, text)
