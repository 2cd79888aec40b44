"""The official client's program, faster: its interpreter and its modules are started once for all commands."""

import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from caravan_deploy.processes import clean_environment

SERVER, ASK = (Path(__file__).with_name(name) for name in ("server.py", "ask.py"))
LAST_WORDS_SECONDS = 10


@contextmanager
def started(program: Path, folder: Path) -> Generator[Path]:
    """Give a program in ``folder`` that does what the client's ``program`` does, without its second of start."""
    words = [program.with_name("python"), SERVER, folder / "socket"]
    environment = clean_environment() | {"HOME": str(folder)}
    with (folder / "errors").open("wb") as errors:
        server = subprocess.Popen(
            words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=folder
        )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        assert server.stdout.readline() == b"ready\n", (folder / "errors").read_text()
        faster = folder / program.name
        faster.write_text(f"#!{sys.executable} -IS\n{ASK.read_text()}")
        shutil.copymode(program, faster)
        yield faster
    finally:
        server.stdin.close()
        server.stdout.close()
        try:
            server.wait(LAST_WORDS_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
