"""The program starts from a file, answers, and stops; what is wrong is one sentence."""

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-c", "from caravan_storage.cli import main; main()", "serve", "--config"]
CONFIG = """
name = "local"
secret = "a signing key that is long enough for HS256"
[client_api]
port = 0
public_url = "http://127.0.0.1:6021"
[manager_api]
port = 0
token = "the-manager's-token"
[metrics]
port = 0
[volumes.volume1]
path = "{path}"
"""


def run(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, str(file)], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("name = ", "TOML"),
        (CONFIG.replace("{path}", "relative"), "volumes.volume1.path"),
        (CONFIG.replace("{path}", "/does/not/exist"), "/does/not/exist is not a directory"),
        (CONFIG.replace("a signing key that is long enough for HS256", "short"), "secret"),
        (CONFIG.replace("[metrics]", "[metricks]"), "metricks"),
    ],
)
def test_a_wrong_file_is_one_sentence_and_exit_1(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "storage.toml"
    file.write_text(text)
    ended = run(file)
    assert ended.returncode == 1
    assert word in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr


def test_a_missing_file_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    ended = run(tmp_path / "nothing.toml")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)


def test_the_proxy_serves_until_it_is_asked_to_stop(tmp_path: Path) -> None:
    file = tmp_path / "storage.toml"
    file.write_text(CONFIG.replace("{path}", str(tmp_path)))
    with subprocess.Popen([*PROGRAM, str(file)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        started = next(line for line in process.stderr if "storage.started" in line)
        for address in re.findall(r"127\.0\.0\.1:\d+", started):
            with urllib.request.urlopen(f"http://{address}/health", timeout=10) as answer:
                assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
        assert "storage.stopped" in process.stderr.read()


def test_a_port_that_is_taken_is_one_sentence_and_exit_1(tmp_path: Path, unused_tcp_port_factory) -> None:
    file = tmp_path / "storage.toml"
    port = unused_tcp_port_factory()
    file.write_text(CONFIG.replace("{path}", str(tmp_path)).replace("port = 0", f"port = {port}"))
    ended = run(file)
    assert ended.returncode == 1
    assert str(port) in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
