"""No path leaves its folder: not by its text, not by a link, not by a link that is swapped in at the same moment."""

import asyncio
import os
import shutil
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.storage.running_proxy import Proxy

from caravan_common.errors import CaravanError, InvalidParametersError
from caravan_storage.volumes.beneath import Ownership
from caravan_storage.volumes.folder import Folder
from caravan_storage.volumes.paths import DEEPEST, parse_directory, parse_file
from caravan_storage.volumes.removal import remove_tree

HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "/etc/passwd",
    "//etc",
    "a\0b",
    "\ud800",
    "x" * 256,
    "é" * 128,
    "/".join(["x" * 200] * 21),
    "/".join(["d"] * (DEEPEST + 1)),
    ".upload",
    ".upload/x",
    "./.upload/x",
    ".//.upload",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidParametersError):
        parse_file(text)


@pytest.mark.parametrize("text", [t for t in HOSTILE if t.isprintable() or t == "a\0b"])
@pytest.mark.parametrize("call", ["upload", "download", "files"])
async def test_every_call_refuses_a_hostile_path(proxy: Proxy, call: str, text: str) -> None:
    if (call, text) == ("files", "."):
        pytest.skip("the folder itself can be listed")
    answer = await proxy.manage(f"/folders/{call}", path=text, size=0)
    assert (answer.status, answer.content_type) == (400, "application/problem+json")


@given(st.text(st.characters(exclude_categories=[]), max_size=60) | st.lists(st.sampled_from(HOSTILE)).map("/".join))
def test_what_is_accepted_stays_below_the_folder(text: str) -> None:
    try:
        parts = parse_directory(text)
    except InvalidParametersError:
        return
    below = os.path.normpath("/".join(("/folder", *parts)))
    assert below == "/folder" or below.startswith("/folder/")
    assert not below.startswith("/folder/.upload/")
    assert below != "/folder/.upload"
    assert os.fsencode(below)


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Folder, None, None]:
    """A folder beside a directory with a secret."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "inside").mkdir()
    descriptor = os.open(tmp_path / "inside", os.O_RDONLY)
    yield Folder(descriptor, Ownership(os.geteuid(), os.getegid()))
    os.close(descriptor)


@pytest.mark.parametrize("target", ["../outside", "/etc", ".", "real"])
def test_a_link_to_a_directory_is_not_followed(folder: Folder, tmp_path: Path, target: str) -> None:
    (tmp_path / "inside" / "real").mkdir()
    (tmp_path / "inside" / "link").symlink_to(target)
    for act in (
        lambda: folder.open_file(("link", "secret")),
        lambda: folder.list_files(("link",), 10),
        lambda: folder.begin_upload(("link", "new"), 0),
        lambda: folder._make_directory(("link", "new"), parents=True, exist_ok=True),
    ):
        with pytest.raises(InvalidParametersError):
            act()
    assert list((tmp_path / "outside").iterdir()) == [tmp_path / "outside" / "secret"]


@pytest.mark.parametrize("target", ["../outside/secret", "/etc/passwd", "nothing", "link"])
def test_a_link_to_a_file_is_not_followed_but_may_be_replaced(folder: Folder, tmp_path: Path, target: str) -> None:
    (tmp_path / "inside" / "link").symlink_to(target)
    with pytest.raises(InvalidParametersError):
        folder.open_file(("link",))
    folder.begin_upload(("link",), 0)
    assert (tmp_path / "inside" / "link").read_bytes() == b""
    assert (tmp_path / "outside" / "secret").read_text() == "secret"


@pytest.mark.parametrize("name", ["fifo", "socket", "null"])
def test_what_is_no_regular_file_is_never_opened(folder: Folder, tmp_path: Path, name: str) -> None:
    try:
        os.mkfifo(tmp_path / "inside" / "fifo")
        os.mknod(tmp_path / "inside" / "socket", 0o140666)
        os.mknod(tmp_path / "inside" / "null", 0o020666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root can make device nodes")
    with pytest.raises(InvalidParametersError):
        folder.open_file((name,))


def test_an_upload_directory_that_is_a_link_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "inside" / ".upload").symlink_to("../outside")
    with pytest.raises(InvalidParametersError):
        folder.begin_upload(("f",), 3)
    assert len(list((tmp_path / "outside").iterdir())) == 1


def test_a_link_that_is_swapped_in_at_the_same_moment_cannot_win(folder: Folder, tmp_path: Path) -> None:
    stop = threading.Event()
    swapping = threading.Thread(target=_swap, args=(tmp_path / "inside", stop))
    swapping.start()
    try:
        read = [_try(lambda: _read(folder, ("d", "secret"))) for _ in range(3000)]
        made = [folder.make_directory(f"d/{n}", parents=False, exist_ok=False).error for n in range(1000)]
    finally:
        stop.set()
        swapping.join()
    assert set(read) <= {None, b"mine"}
    assert b"mine" in read
    assert None in made
    assert [p.name for p in (tmp_path / "outside").iterdir()] == ["secret"]


def _swap(inside: Path, stop: threading.Event) -> None:
    (inside / "dir").mkdir()
    (inside / "dir" / "secret").write_text("mine")
    (inside / "link").symlink_to("../outside")
    while not stop.is_set():
        for name in ("dir", "link"):
            (inside / name).rename(inside / "d")
            (inside / "d").rename(inside / name)


def _read(folder: Folder, parts: tuple[str, ...]) -> bytes:
    file = folder.open_file(parts)
    try:
        return os.read(file.descriptor, 100)
    finally:
        file.close()


def _try(act):
    try:
        return act()
    except CaravanError:
        return None


def test_a_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    descriptor = os.open(tmp_path / "top", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(os.open("leaf", os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    parent = os.open(tmp_path, os.O_RDONLY)
    for _ in remove_tree(parent, "top"):
        pass
    os.close(parent)
    assert not (tmp_path / "top").exists()


def test_removing_a_tree_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "top" / "a" / "b").mkdir(parents=True)
    (tmp_path / "top" / "link").symlink_to("../kept")
    (tmp_path / "top" / "a" / "link").symlink_to("../../kept")
    parent = os.open(tmp_path, os.O_RDONLY)
    for _ in remove_tree(parent, "top"):
        pass
    os.close(parent)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").read_text() == "x"


async def test_a_folder_that_is_a_link_is_not_followed(proxy: Proxy, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    await asyncio.to_thread(outside.mkdir)
    await asyncio.to_thread(shutil.rmtree, proxy.directory)
    await asyncio.to_thread(proxy.directory.symlink_to, outside)
    assert (await proxy.manage("/folders/files", path=".")).status == 400
