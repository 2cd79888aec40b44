"""Virtual folders as values: names, moves, rights, and which folder a name means."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from caravan_common.errors import ForbiddenError, InvalidParametersError
from caravan_common.states import FolderPermission, FolderStatus
from caravan_manager.people.model import Principal, UserRole
from caravan_manager.vfolders.model import (
    Host,
    HostRight,
    TooManyVFoldersError,
    UsageMode,
    VFolder,
    VFolderNotFoundError,
    WrongVFolderStatusError,
    check_name,
    choose,
    folder_id,
    includes,
    merge_rights,
    must_have_right,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OWNER = UUID("00000000-0000-0000-0000-000000000001")
STRANGER = UUID("00000000-0000-0000-0000-000000000002")


def principal(user: UUID = OWNER, role: UserRole = UserRole.USER, domain: str = "default") -> Principal:
    return Principal(user, "a@example.com", "a", role, domain, "AKIA", "default", "default", 1)


def folder(name: str = "data", status: FolderStatus = FolderStatus.READY, **changes: object) -> VFolder:
    made = VFolder(
        id=uuid4(),
        host=Host("local", "volume1"),
        quota_scope_id=f"user:{OWNER}",
        name=name,
        domain_name="default",
        user_id=OWNER,
        project_id=None,
        creator="a@example.com",
        usage_mode=UsageMode.GENERAL,
        permission=FolderPermission.READ_WRITE,
        cloneable=False,
        status=status,
        max_files=0,
        max_size=None,
        created_at=NOW,
        last_used=NOW,
        status_changed=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["data", "a", "0", "data-set_2.1", "A" * 64])
def test_plain_names_are_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A" * 65,
        ".ssh",
        ".bashrc",
        "..",
        ".",
        "-rf",
        "_",
        "a/b",
        "/etc",
        "a b",
        "a:b",
        "a,b",
        "a\nb",
        "data\n",
        "a\0",
        "${NOMAD_TOKEN}",
        "$(id)",
        "데이터",
        "ünlaut",
    ],
)
def test_names_that_could_not_be_a_mount_point_are_refused(name: str) -> None:
    with pytest.raises(InvalidParametersError):
        check_name(name)


@pytest.mark.parametrize("name", [uuid4().hex, str(uuid4()), uuid4().hex.upper()])
def test_names_that_look_like_ids_are_refused(name: str) -> None:
    with pytest.raises(InvalidParametersError, match="ID"):
        check_name(name)


def test_ids_are_read_with_and_without_dashes() -> None:
    made = uuid4()
    assert folder_id(made.hex) == folder_id(str(made)) == made
    assert folder_id("data") is None
    assert folder_id("{" + str(made) + "}") is None


@pytest.mark.parametrize(
    "text", ["", "local", "local:", ":volume1", "a:b:c", "local:../x", "local:vol ume", "local:v\n"]
)
def test_hosts_that_are_no_proxy_and_volume_are_refused(text: str) -> None:
    with pytest.raises(InvalidParametersError):
        Host.parse(text)


def test_hosts_are_written_as_they_are_read() -> None:
    assert str(Host.parse("local:volume1")) == "local:volume1"


def test_a_folder_goes_into_the_trash_and_comes_back() -> None:
    trashed = folder().trashed(NOW)
    assert trashed.status is FolderStatus.DELETE_PENDING
    assert trashed.restored(NOW).status is FolderStatus.READY


def test_a_folder_in_the_trash_is_deleted_in_two_steps() -> None:
    ongoing = folder().trashed(NOW).being_deleted(NOW)
    assert ongoing.status is FolderStatus.DELETE_ONGOING
    assert ongoing.deleted(NOW).status is FolderStatus.DELETE_COMPLETE


@pytest.mark.parametrize("status", [FolderStatus.DELETE_ONGOING, FolderStatus.DELETE_ERROR])
def test_a_deletion_that_was_cut_short_can_begin_again(status: FolderStatus) -> None:
    assert folder(status=status).being_deleted(NOW).status is FolderStatus.DELETE_ONGOING


def test_only_what_lies_in_the_trash_is_deleted() -> None:
    with pytest.raises(WrongVFolderStatusError):
        folder().being_deleted(NOW)


def test_only_what_lies_in_the_trash_is_restored() -> None:
    with pytest.raises(WrongVFolderStatusError):
        folder().restored(NOW)


def test_what_lies_in_the_trash_cannot_be_trashed_again() -> None:
    with pytest.raises(WrongVFolderStatusError):
        folder().trashed(NOW).trashed(NOW)


def test_what_lies_in_the_trash_cannot_be_renamed_or_used() -> None:
    with pytest.raises(WrongVFolderStatusError):
        folder().trashed(NOW).renamed("other")
    with pytest.raises(WrongVFolderStatusError):
        folder().trashed(NOW).must_be_usable()


def test_only_what_is_deleted_can_be_purged() -> None:
    with pytest.raises(WrongVFolderStatusError):
        folder().trashed(NOW).must_be_purgeable()
    folder(status=FolderStatus.DELETE_COMPLETE).must_be_purgeable()


def test_a_bad_new_name_is_refused() -> None:
    with pytest.raises(InvalidParametersError):
        folder().renamed("../etc")


def test_users_own_their_folders_and_nobody_else_does() -> None:
    assert folder().is_owned_by(principal())
    assert not folder().is_owned_by(principal(STRANGER))
    assert not folder().is_owned_by(principal(STRANGER, UserRole.SUPERADMIN))


def test_the_folders_of_a_project_are_owned_by_its_administrators() -> None:
    shared = folder(user_id=None, project_id=uuid4())
    assert not shared.is_owned_by(principal())
    assert shared.is_owned_by(principal(STRANGER, UserRole.ADMIN))
    assert not shared.is_owned_by(principal(STRANGER, UserRole.ADMIN, "elsewhere"))


def test_administrators_may_look_after_the_folders_of_their_domain_only() -> None:
    folder().must_be_owned_by(principal(STRANGER, UserRole.ADMIN))
    folder().must_be_owned_by(principal(STRANGER, UserRole.SUPERADMIN, "elsewhere"))
    with pytest.raises(ForbiddenError):
        folder().must_be_owned_by(principal(STRANGER, UserRole.ADMIN, "elsewhere"))
    with pytest.raises(ForbiddenError):
        folder().must_be_owned_by(principal(STRANGER))


def test_a_greater_permission_includes_the_lesser() -> None:
    assert includes(FolderPermission.OWNER, FolderPermission.READ_WRITE)
    assert includes(FolderPermission.READ_ONLY, FolderPermission.READ_ONLY)
    assert not includes(FolderPermission.READ_ONLY, FolderPermission.READ_WRITE)


def test_writing_to_a_read_only_folder_is_forbidden() -> None:
    with pytest.raises(ForbiddenError):
        folder(permission=FolderPermission.READ_ONLY).must_allow(FolderPermission.READ_WRITE)


def test_a_name_means_the_live_folder_before_those_in_the_trash() -> None:
    live, trashed = folder(), folder(status=FolderStatus.DELETE_PENDING)
    assert choose([trashed, live], "data") is live


def test_a_name_in_the_trash_means_the_one_trashed_last() -> None:
    early = folder(status=FolderStatus.DELETE_PENDING)
    late = replace(early, id=uuid4(), status_changed=NOW + timedelta(seconds=1))
    assert choose([early, late], "data") is late


def test_a_name_of_several_live_folders_is_ambiguous() -> None:
    with pytest.raises(TooManyVFoldersError) as caught:
        choose([folder(), folder()], "data")
    assert caught.value.problem()["type"] == "https://api.backend.ai/probs/too-many-vfolders"


def test_a_name_of_nothing_or_of_what_is_deleted_is_not_found() -> None:
    for found in ([], [folder(status=FolderStatus.DELETE_COMPLETE)]):
        with pytest.raises(VFolderNotFoundError) as caught:
            choose(found, "data")
        assert caught.value.problem()["title"] == "No such virtual folder."
        assert caught.value.problem()["data"] == "data"


def test_several_policies_allow_together_what_each_allows() -> None:
    rights = merge_rights([{"local:volume1": ["create-vfolder"]}, {"local:volume1": ["upload-file"], "x:y": []}])
    must_have_right(rights, Host("local", "volume1"), HostRight.CREATE)
    must_have_right(rights, Host("local", "volume1"), HostRight.UPLOAD)


def test_what_no_policy_allows_on_a_host_is_refused() -> None:
    rights = merge_rights([{"local:volume1": ["create-vfolder"]}])
    with pytest.raises(InvalidParametersError, match="`delete-vfolder` Not allowed in vfolder host"):
        must_have_right(rights, Host("local", "volume1"), HostRight.DELETE)
    with pytest.raises(InvalidParametersError):
        must_have_right(rights, Host("local", "volume2"), HostRight.CREATE)
