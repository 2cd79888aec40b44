"""Programs: the order of the places, and what is told when all fail."""

import hashlib
import io
import urllib.error
import zipfile
from pathlib import Path

import pytest

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import REPOSITORY
from caravan_deploy.programs import build, release, search
from caravan_deploy.programs.pins import NOMAD, PINS, Pin

TOY = Pin("toy", "1.2.3", "example.org/toy")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(release.platform, "machine", lambda: "x86_64")
    return tmp_path / "cache" / "caravan" / "bin"


def _on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> Path:
    folder.mkdir()
    program = folder / "toy"
    program.write_text(f"#!/bin/sh\necho 'Toy v{version}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return program


def _release(monkeypatch: pytest.MonkeyPatch, *, honest: bool) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("toy", "#!/bin/sh\n")
    digest = hashlib.sha256(packed.getvalue() if honest else b"other").hexdigest()
    sums = f"{digest}  toy_1.2.3_linux_amd64.zip\n".encode()
    monkeypatch.setattr(release, "_get", lambda url: sums if url.endswith("SHA256SUMS") else packed.getvalue())


def _no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_url: str) -> bytes:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(release, "_get", refuse)


def test_a_program_on_path_at_the_right_version_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = _on_path(tmp_path / "bin", monkeypatch, "1.2.3")
    assert search.find_program(TOY) == program


def test_a_program_on_path_at_another_version_does_not_count(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_path(tmp_path / "bin", monkeypatch, "1.2.4")
    _release(monkeypatch, honest=True)
    assert search.find_program(TOY) == cache / "toy-1.2.3"


def test_a_release_archive_is_taken_when_its_checksum_is_right(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _release(monkeypatch, honest=True)
    found = search.find_program(TOY)
    assert found == cache / "toy-1.2.3"
    assert found.stat().st_mode & 0o111


def test_a_release_archive_with_a_wrong_checksum_is_thrown_away(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _release(monkeypatch, honest=False)
    with pytest.raises(SetupError, match=r"checksum of toy_1\.2\.3_linux_amd64\.zip is not the published one"):
        search.find_program(TOY)
    assert not list(cache.glob("toy*"))


def test_without_release_and_without_go_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    _no_release(monkeypatch)
    monkeypatch.setattr(build.shutil, "which", lambda _name: None)
    monkeypatch.setattr(build, "USUAL_PLACES", ())
    with pytest.raises(SetupError, match=r"building it needs Go 1\.25"):
        search.find_program(TOY)


def test_an_old_go_is_no_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    go.chmod(0o755)
    monkeypatch.setattr(build.shutil, "which", lambda _name: str(go))
    monkeypatch.setattr(build, "USUAL_PLACES", ())
    with pytest.raises(SetupError, match=r"needs Go 1\.25"):
        build.build(NOMAD, tmp_path / "nomad", REPOSITORY)


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: pin.name)
def test_the_module_pins_the_version_that_the_stack_wants(pin: Pin) -> None:
    module = (REPOSITORY / "tools" / pin.name / "go.mod").read_text()
    assert f"{pin.module} v{pin.version}" in module
    assert f"tool {pin.module}" in module
