"""The other official clients do what users do: the main job with each, and a whole day with the npm client."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.conftest import NPM, User

from caravan_deploy.client.environment import PYTHONS
from caravan_deploy.layout import REPOSITORY
from caravan_deploy.second import Stack

pytestmark = pytest.mark.stack

EXAMPLE = REPOSITORY / "examples" / "main-job"
SMALL = ("-r", "cpu=1", "-r", "mem=256m")
NEWEST = max(PYTHONS, key=lambda version: [int(part) for part in version.split(".")])


def test_the_main_job_with_the_newest(stack: Stack, tmp_path: Path, image: str, faster: Callable[[Path], Path]) -> None:
    """It has changed most. The journeys of the other files are made with all versions, in the long run."""
    client = stack.client(tmp_path, NEWEST)
    User(client, NEWEST).must("vfolder", "create", "newest", "local:volume1")  # by the program itself
    user = User(replace(client, program=faster(client.program)), NEWEST)
    user.must("vfolder", "upload", "newest", "-b", str(EXAMPLE), "train.py", "input.csv")
    command = "cd /home/work/newest && python3 train.py"
    wanted = ["session", "create", "--type", "batch", "--startup-command", command, "-v", "newest", *SMALL]
    user.must(*wanted, "--name", "train-newest", image)
    assert user.until("train-newest", "TERMINATED", "ERROR")["result"] == "SUCCESS"
    assert "mean" in user.must("session", "logs", "train-newest")
    user.must("vfolder", "download", "newest", "result.json", folder=tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["rows"] > 0


def test_the_npm_client(stack: Stack, image: str, npm_client: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "NODE_PATH": str(npm_client),
        "BACKEND_ENDPOINT": stack.endpoint,
        "BACKEND_ACCESS_KEY": stack.admin.access_key,
        "BACKEND_SECRET_KEY": stack.admin.secret_key,
    }
    journey = ["node", str(NPM / "journey.cjs"), image, "local:volume1"]
    ran = subprocess.run(journey, env=environment, capture_output=True, text=True, timeout=180, check=True)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    answers: dict[str, Any] = {line["step"]: line["answer"] for line in lines if "answer" in line}
    errors: dict[str, Any] = {line["step"]: line["error"] for line in lines if "error" in line}

    assert errors.keys() == {"bad query", "no session"}, errors
    assert "GraphQL-generated error" in errors["bad query"]["title"]
    assert errors["no session"]["statusCode"] == 404
    assert answers["query"]["keypair"]["access_key"] == stack.admin.access_key
    assert [group["name"] for group in answers["groups"]["groups"]] == ["default"]
    assert image.endswith(answers["images"]["images"][0]["tag"])
    assert "npm-folder" in [folder["name"] for folder in answers["folders"]]
    assert [item["name"] for item in answers["files"]["items"]] == ["a"]
    assert answers["create session"]["created"] is True
    again = answers["create again"]
    assert (again["sessionId"], again["created"]) == (answers["create session"]["sessionId"], False)
    assert answers["running"]["status"] == "RUNNING"
    assert answers["presets"].keys() >= {"presets", "keypair_remaining", "scaling_groups"}
    assert answers["destroy"] == {"stats": {"status": "terminated"}}
    assert "npm-session" not in [item["name"] for item in answers["ended"]["compute_session_list"]["items"]]
