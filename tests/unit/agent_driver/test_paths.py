"""Nothing leaves the folder that it began in, and nothing that is mounted is ever removed. Needs root."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from caravan_agent_driver.kernels.log_files import BoundedLog, read_log, sweep_logs
from caravan_agent_driver.kernels.scratch import Scratch
from caravan_agent_driver.mounts.paths import made_below, opened_below, opened_root
from caravan_agent_driver.mounts.table import (
    StillMountedError,
    mounts_below,
    parse_mount_points,
    remove_tree,
    unmount_below,
)
from caravan_common.errors import InvalidParametersError

OWNER = (1000, 1000)


@pytest.mark.parametrize("path", ["../outside", "link", "link/x", "/etc", "sub/../../outside", "missing", "file"])
def test_a_path_out_of_the_folder_is_not_opened(tmp_path, path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside" / "x").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "file").touch()

    with opened_root(folder) as root, pytest.raises(InvalidParametersError), opened_below(root, PurePosixPath(path)):
        pass


def test_missing_directories_are_made_for_their_owner(tmp_path) -> None:
    with opened_root(tmp_path) as root, made_below(root, PurePosixPath("a/b"), OWNER):
        pass

    assert [((tmp_path / p).stat().st_uid, (tmp_path / p).stat().st_gid) for p in ("a", "a/b")] == [OWNER, OWNER]


def test_no_directory_is_made_through_a_link(tmp_path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "target")

    with (
        opened_root(tmp_path / "folder") as root,
        pytest.raises(InvalidParametersError),
        made_below(root, PurePosixPath("link/x"), OWNER),
    ):
        pass

    assert list((tmp_path / "target").iterdir()) == []


def test_a_tree_is_removed_and_what_its_links_name_stays(tmp_path) -> None:
    (tmp_path / "stays").mkdir()
    (tmp_path / "stays" / "file").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").touch()
    (tree / "link").symlink_to(tmp_path / "stays")
    os.mkfifo(tree / "fifo")

    remove_tree(tree)
    remove_tree(tree)

    assert [path.name for path in tmp_path.iterdir()] == ["stays"]
    assert (tmp_path / "stays" / "file").exists()


def test_a_link_in_place_of_a_tree_is_all_that_is_removed(tmp_path) -> None:
    (tmp_path / "stays").mkdir()
    (tmp_path / "tree").symlink_to(tmp_path / "stays")

    remove_tree(tmp_path / "tree")

    assert [path.name for path in tmp_path.iterdir()] == ["stays"]


def test_no_tree_is_too_deep(tmp_path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tree)
        for _ in range(3000):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.fchdir(before)
        os.close(before)

    remove_tree(tree)

    assert not tree.exists()


@pytest.fixture
def mounted(tmp_path):
    """A tree with a bind mount of a folder that holds a file."""
    source, target = tmp_path / "source", tmp_path / "tree" / "deep" / "mount"
    source.mkdir()
    (source / "precious").touch()
    target.mkdir(parents=True)
    subprocess.run(["mount", "--bind", source, target], check=True)
    yield tmp_path / "tree", source
    unmount_below(tmp_path)


def test_a_tree_with_a_mount_in_it_is_not_removed(mounted) -> None:
    tree, source = mounted

    with pytest.raises(StillMountedError):
        remove_tree(tree)

    assert (source / "precious").exists()


def test_even_unnoticed_a_mount_is_not_entered(mounted, monkeypatch) -> None:
    tree, source = mounted
    monkeypatch.setattr("caravan_agent_driver.mounts.table.mounts_below", lambda _: [])

    with pytest.raises(OSError, match=r"cross-device|busy"):
        remove_tree(tree)

    assert (source / "precious").exists()


def test_a_kernels_scratch_is_removed_and_what_was_mounted_there_stays(mounted) -> None:
    tree, source = mounted
    kernel = "22222222-2222-4222-8222-222222222222"
    scratch = Scratch(tree.parent / "scratches", *OWNER)
    (scratch.root / kernel / "work" / "data").mkdir(parents=True)
    subprocess.run(["mount", "--bind", source, scratch.root / kernel / "work" / "data"], check=True)

    scratch.remove(kernel)

    assert (source / "precious").exists()
    assert list(scratch.root.iterdir()) == []
    assert mounts_below(scratch.root) == []


def test_names_with_spaces_are_read_from_the_table() -> None:
    line = r"36 35 98:0 /root /mnt/a\040b\134c rw,noatime master:1 - ext3 /dev/root rw"

    assert parse_mount_points(line + "\n") == [Path("/mnt/a b\\c")]


def test_a_log_keeps_its_end_within_its_bound(tmp_path) -> None:
    log = BoundedLog(tmp_path / "log", 100)
    log.restart()
    for number in range(100):
        log.append(f"{number:09}\n".encode())

    kept = read_log(tmp_path / "log")

    assert kept is not None
    assert 50 <= len(kept) <= 100
    assert kept.endswith(b"000000098\n000000099\n")


def test_one_write_larger_than_the_bound_is_kept_at_its_end(tmp_path) -> None:
    log = BoundedLog(tmp_path / "log", 100)
    log.restart()
    log.append(b"x" * 1000 + b"end")

    kept = read_log(tmp_path / "log")

    assert kept is not None
    assert len(kept) <= 100
    assert kept.endswith(b"end")


def test_there_is_no_log_of_a_kernel_that_wrote_none(tmp_path) -> None:
    assert read_log(tmp_path / "log") is None


def test_old_logs_go_and_the_oldest_of_too_many_go(tmp_path) -> None:
    for number, name in enumerate(["ancient", "old", "new"]):
        BoundedLog(tmp_path / name, 100).restart()
        (tmp_path / name / "current").write_bytes(b"x" * 40)
        for path in (tmp_path / name / "current", tmp_path / name):
            os.utime(path, (1000 * number, 1000 * number))

    assert sweep_logs(tmp_path, datetime.fromtimestamp(500, UTC), 50) == 2

    assert [path.name for path in tmp_path.iterdir()] == ["new"]
