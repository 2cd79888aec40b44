"""Configuration files hold any environment so that it can be read back, and refuse what no process can have."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caravan_agent_driver.devices.grants import Grant
from caravan_agent_driver.kernels.environment import (
    LARGEST_VARIABLE,
    check_environment,
    complete_environment,
    configuration_files,
    environment_files,
    release_files,
)
from caravan_common.errors import InvalidParametersError
from caravan_common.wire.agent import Endpoint, Release

NAMES = st.from_regex(re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,20}", re.ASCII), fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def _read_back(files: dict[str, bytes]) -> dict[str, str]:
    """Read the files as the entrypoint does: lines of environ.txt, and each file of environ.d as it is."""
    lines = files["environ.txt"].decode().split("\n")[:-1]
    seen = dict(line.split("=", 1) for line in lines)
    return seen | {n.removeprefix("environ.d/"): c.decode() for n, c in files.items() if n.startswith("environ.d/")}


@given(st.dictionaries(NAMES, VALUES))
def test_every_environment_can_be_read_back(environ) -> None:
    check_environment(environ)

    assert _read_back(environment_files(environ)) == environ


@given(st.dictionaries(NAMES, VALUES))
def test_no_value_makes_a_variable_of_another_name(environ) -> None:
    lines = environment_files(environ)["environ.txt"].decode().split("\n")[:-1]

    assert {line.partition("=")[0] for line in lines} <= set(environ)


@given(st.text().filter(lambda name: not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII)))
def test_a_name_that_is_none_is_refused(name) -> None:
    with pytest.raises(InvalidParametersError):
        check_environment({name: "x"})


def test_what_linux_takes_in_one_string_is_the_limit() -> None:
    check_environment({"A": "x" * (LARGEST_VARIABLE - 2)})
    with pytest.raises(InvalidParametersError) as refused:
        check_environment({"A": "x" * (LARGEST_VARIABLE - 1)})
    assert "xxx" not in str(refused.value)


def test_a_zero_byte_is_refused() -> None:
    with pytest.raises(InvalidParametersError, match="zero byte"):
        check_environment({"A": "a\0b"})


def test_the_agent_decides_who_the_user_is() -> None:
    environ = complete_environment({"LOCAL_USER_ID": "0", "HOME": "/root", "LANG": "C"}, 1000, 1001)

    assert list(environ.items())[:2] == [("LOCAL_USER_ID", "1000"), ("LOCAL_GROUP_ID", "1001")]
    assert (environ["HOME"], environ["USER"], environ["LANG"]) == ("/home/work", "work", "C")


def test_an_interactive_kernel_has_no_startup_script(make_spec) -> None:
    assert "startup.sh" not in configuration_files(make_spec(), Grant(), 1000, 1000)


def test_scripts_and_resources_are_files(make_spec) -> None:
    files = configuration_files(make_spec(startup_command="é", bootstrap_script="b"), Grant(), 1000, 1000)

    assert (files["startup.sh"], files["bootstrap.sh"]) == ("é".encode(), b"b")
    assert b'SLOTS={"cpu": "1", "mem": "268435456"}\n' in files["resource.txt"]


def test_what_a_kernel_learns_as_it_begins_takes_the_place_of_what_it_had(make_spec) -> None:
    told = Release(environ={"MASTER_PORT": "20001"}, ssh={"sub1": Endpoint(host="10.0.0.2", port=20002)})
    files = configuration_files(make_spec(environ={"MASTER_PORT": "29500"}), Grant(), 1000, 1000)
    learned = release_files(told)

    assert _read_back(files | learned)["MASTER_PORT"] == "20001"
    assert learned["ssh/port-mapping.json"] == b'{"sub1": ["10.0.0.2", 20002]}'


def test_a_kernel_among_neighbours_learns_nothing() -> None:
    assert release_files(Release()) == {}
