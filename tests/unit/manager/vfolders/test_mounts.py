"""Where virtual folders go in a session: what users write as mount points, and what is refused."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from uuid import UUID

import pytest

from caravan_common.errors import ForbiddenError, InvalidParametersError
from caravan_common.states import FolderPermission, FolderStatus
from caravan_manager.vfolders.model import Host, MountRequest, UsageMode, VFolder, VFolderNotFoundError
from caravan_manager.vfolders.mounts import check_count, check_together, mount, subpath, target

OWNER = UUID("00000000-0000-0000-0000-000000000001")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
FOLDER = VFolder(
    id=UUID("00000000-0000-0000-0000-00000000000f"),
    host=Host("local", "volume1"),
    quota_scope_id=f"user:{OWNER}",
    name="data",
    domain_name="default",
    user_id=OWNER,
    project_id=None,
    creator="a@example.com",
    usage_mode=UsageMode.GENERAL,
    permission=FolderPermission.READ_WRITE,
    cloneable=False,
    status=FolderStatus.READY,
    max_files=0,
    max_size=None,
    created_at=NOW,
    last_used=None,
    status_changed=NOW,
)


def test_a_folder_is_mounted_under_its_name_with_its_own_permission() -> None:
    made = mount(FOLDER, MountRequest("data"))
    assert made.target == PurePosixPath("/home/work/data")
    assert (made.host, made.quota_scope, made.folder) == ("local:volume1", f"user:{OWNER}", FOLDER.id)
    assert (made.permission, made.subpath) == ("rw", PurePosixPath("."))


def test_a_folder_asked_for_by_id_is_mounted_under_its_name() -> None:
    assert mount(FOLDER, MountRequest(FOLDER.id.hex)).target == PurePosixPath("/home/work/data")


@pytest.mark.parametrize("text", ["/home/work/sets/a", "sets/a"])
def test_a_target_is_taken_absolute_or_below_home(text: str) -> None:
    assert mount(FOLDER, MountRequest("data", target=text)).target == PurePosixPath("/home/work/sets/a")


@pytest.mark.parametrize(
    "text",
    ["/data", "/mnt/sets/a", "/opt/models", "/home/linuxbrew/.linuxbrew", "/home/workshop", "/usr/local/share/x"],
)
def test_a_target_may_be_elsewhere_in_the_container(text: str) -> None:
    assert target(text) == PurePosixPath(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "/bin",
            "/boot",
            "/dev",
            "/etc",
            "/lib",
            "/lib64",
            "/media",
            "/mnt",
            "/opt",
            "/proc",
            "/root",
            "/run",
            "/sbin",
        ),
        *("/srv", "/sys", "/tmp", "/usr", "/var", "/home", "/home/work", "/home/config", "/opt/kernel"),
        *("/etc/passwd", "/dev/shm", "/proc/1", "/home/config/ssh", "/opt/kernel/x", "/var/run/docker.sock", "/lib/x"),
    ],
)
def test_targets_where_the_system_or_caravan_lies_are_refused(text: str) -> None:
    with pytest.raises(InvalidParametersError, match="reserved for internal path"):
        target(text)


@pytest.mark.parametrize(
    "text",
    [
        "/",
        "//etc",
        "/../etc",
        "/data/../etc",
        "/data/",
        "/data/./x",
        "/da ta",
        "/${NOMAD_TOKEN}",
        "/{{x}}",
        "",
        "/home/work/",
        "/home/work//a",
        "/home/work/a/",
        "/home/work/a//b",
        "/home/work/./a",
        "/home/work/a/../../../etc",
        "/home/work/..",
        "a/../b",
        "./a",
        "a b",
        "a:ro",
        "a,b",
        "a\0",
        "a\n",
        "${x}",
        "a" * 65,
        "/home/work" + "/abcdefgh" * 40,
    ],
)
def test_targets_that_are_not_plain_paths_are_refused(text: str) -> None:
    with pytest.raises(InvalidParametersError, match="cannot be a mount point"):
        target(text)


@pytest.mark.parametrize("text", [".ssh", "/home/work/.ssh/x", ".bashrc", ".bash_profile", ".tmux.conf", ".JUPYTER"])
def test_reserved_targets_are_refused(text: str) -> None:
    with pytest.raises(InvalidParametersError, match="reserved"):
        target(text)


@pytest.mark.parametrize("text", ["/etc", "..", "a/../../b", "a\nb", "a\0b", "a" * 1025])
def test_parts_of_a_folder_that_leave_it_are_refused(text: str) -> None:
    with pytest.raises(InvalidParametersError):
        subpath(text)


def test_a_part_of_a_folder_is_mounted() -> None:
    assert mount(FOLDER, MountRequest("data", subpath="train/2024")).subpath == PurePosixPath("train/2024")


def test_less_than_the_folder_allows_may_be_asked_for() -> None:
    assert mount(FOLDER, MountRequest("data", permission="ro")).permission == "ro"


def test_more_than_the_folder_allows_is_forbidden() -> None:
    with pytest.raises(ForbiddenError):
        mount(replace(FOLDER, permission=FolderPermission.READ_ONLY), MountRequest("data", permission="rw"))


def test_an_unknown_permission_is_refused() -> None:
    with pytest.raises(InvalidParametersError, match="ro, rw or wd"):
        mount(FOLDER, MountRequest("data", permission="rwx"))


@pytest.mark.parametrize("status", [FolderStatus.DELETE_PENDING, FolderStatus.DELETE_ONGOING, FolderStatus.ERROR])
def test_a_folder_in_the_trash_is_not_found(status: FolderStatus) -> None:
    with pytest.raises(VFolderNotFoundError):
        mount(replace(FOLDER, status=status), MountRequest("data"))


def test_folders_side_by_side_go_together() -> None:
    mounts = [mount(FOLDER, MountRequest("data", target=path)) for path in ["a", "a-b", "a.b", "b/c", "b/d"]]
    assert len(check_together(mounts)) == 5


@pytest.mark.parametrize("paths", [["a", "/home/work/a"], ["a", "a-b", "a/b"], ["x/y/z", "b", "x"]])
def test_two_folders_in_one_place_are_refused(paths: list[str]) -> None:
    mounts = [mount(FOLDER, MountRequest("data", target=path)) for path in paths]
    with pytest.raises(InvalidParametersError, match="one inside the other"):
        check_together(mounts)


def test_more_folders_than_a_session_can_have_are_refused() -> None:
    with pytest.raises(InvalidParametersError):
        check_count([MountRequest("data")] * 51)
