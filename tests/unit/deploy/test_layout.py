"""Where a stack lies and listens."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import Layout, Ports, load_layout


def test_a_block_gives_every_program_a_port_of_its_own_and_the_rest_to_tasks() -> None:
    ports = Ports.block(27000, 100)
    fixed = list(ports.fixed().values())
    assert sorted(fixed) == list(range(27000, 27000 + len(fixed)))
    assert (ports.dynamic_min, ports.dynamic_max) == (27000 + len(fixed), 27099)


def test_the_usual_ports_do_not_collide() -> None:
    fixed = list(Ports().fixed().values())
    assert len(set(fixed)) == len(fixed)
    assert not [port for port in fixed if Ports().dynamic_min <= port <= Ports().dynamic_max]


def test_a_saved_stack_is_found_again_without_options(tmp_path: Path) -> None:
    made = replace(Layout(root=tmp_path, name="lab", cpus=3, memory_mb=4096), ports=Ports.block(27000, 100))
    made.make_folders()
    made.save()
    assert load_layout(tmp_path, {}) == made


def test_a_port_that_is_given_wins_over_the_saved_one(tmp_path: Path) -> None:
    made = Layout(root=tmp_path)
    made.make_folders()
    made.save()
    found = load_layout(tmp_path, {"vault": 18200})
    assert asdict(found.ports) == asdict(made.ports) | {"vault": 18200}


def test_folders_with_secrets_are_closed_to_others(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path / "stack")
    layout.make_folders()
    closed = (layout.etc, layout.secrets, layout.run, layout.logs, layout.data)
    assert [folder.stat().st_mode & 0o777 for folder in closed] == [0o700] * len(closed)


def test_a_path_too_long_for_a_socket_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="too long a path"):
        Layout(root=tmp_path / ("x" * 120)).make_folders()
