"""What the vendors' programs print is read where /sys says nothing; one that hangs, lies or is not there is no error.

The programs are scripts that a test puts on PATH: they print what the real ones do, in its recorded or documented form.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest

from caravan_agent_driver.devices import graphcore, sysfs, tools
from caravan_agent_driver.devices.furiosa import RngdDevices, WarboyDevices, told_by_furiosa_smi
from caravan_agent_driver.devices.gaudi import Gaudi2Devices, told_by_hl_smi
from caravan_agent_driver.devices.graphcore import IpuDevices
from caravan_agent_driver.devices.hyperaccel import LpuDevices
from caravan_agent_driver.devices.kind import Statistics
from caravan_agent_driver.devices.rebellions import AtomMaxDevices, AtomPlusDevices, told_by_rbln_stat
from caravan_agent_driver.devices.rocm import RocmDevices, told_by_rocm_smi
from caravan_agent_driver.devices.sysfs import Entry, SysfsDevices, Told
from caravan_agent_driver.devices.tools import ask, number, watts, whole
from caravan_agent_driver.devices.tpu import TpuDevices

ROCM_SMI = """\
WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status

{"card1": {"PCI Bus": "0000:2F:00.0", "GPU use (%)": "10", "VRAM Total Memory (B)": "206141652992",
 "VRAM Total Used Memory (B)": "283766784", "Average Graphics Package Power (W)": "89.0",
 "Temperature (Sensor edge) (C)": "N/A", "Temperature (Sensor junction) (C)": "43.0"},
 "system": {"Driver version": "6.10.5"}}
"""
HL_SMI = """\
0000:b3:00.0, 87, 32768, 412, 61
0000:b4:00.0, N/A, 768, N/A, 30
a line that nobody asked for
"""
RBLN_STAT = """{"KMD_version": "3.0.0", "devices": [
 {"npu": 0, "name": "RBLN-CA22", "sid": "0000000022513415", "device": "rbln5", "status": "normal", "temperature": "45C",
  "card_power": "37257088uW", "memory": {"used": "1545601024", "total": "16877879296"}, "util": "4.4"},
 {"npu": 1, "name": "RBLN-CA25", "sid": "0000000022513416", "device": "rbln6", "status": "normal", "temperature": "33C",
  "card_power": "41200000uW", "memory": {"used": "0", "total": "16877879296"}, "util": "0.0"},
 {"npu": 2, "name": "RBLN-CA25", "sid": "0000000022513416", "device": "rbln7", "status": "normal", "temperature": "34C",
  "card_power": "41200000uW", "memory": {"used": "0", "total": "16877879296"}, "util": "0.0"}], "contexts": []}
"""
FURIOSA_INFO = (
    """[{"arch": "RNGD", "dev_name": "npu1", "device_uuid": "01", "temperature": "41.33\u00b0C", "power": "38.40 W"}]"""
)
FURIOSA_STATUS = """[{"arch": "RNGD", "device": "npu1", "memory": {"dram": {"used_size": 1073741824,
 "total_size": 51539607552}}, "pe_utilizations": [{"pe_core": 0, "pe_utilization": 50.0},
 {"pe_core": 1, "pe_utilization": 0.0}]}]"""
WARBOY_STATUS = """[{"device": "npu1", "pe_utilizations": [{"pe_core": 0, "utilization": 12.5}]}]"""
GC_INFO = """\
Device Info:
  id: 0
  target: PCIe
  average board temp: 17.8 C
  average die temp: 20.0 C
  board serial number: 0063.0063.822391
  ipu error state: {state}
  ipu power: N/A
  ipu utilisation: 99.96%
  pci id: 0000:35:00.0
  total board power: 12.6 W
"""
Program = Callable[[str, str], None]
Tree = Callable[[dict[str, str]], dict[str, object]]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a shell script on PATH, which has nothing but what the test puts there and the system's own programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(tools, "ELSEWHERE", ())

    def put(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Make files below sys/; a content that begins with ``->`` is a link to a device of that bus address."""

    def make(files: dict[str, str]) -> dict[str, object]:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("->"):
                target = tmp_path / "sys/devices" / content[2:]
                target.mkdir(parents=True, exist_ok=True)
                path.symlink_to(target)
            else:
                path.write_text(f"{content}\n")
        return {"sys": str(tmp_path / "sys"), "dev": str(tmp_path / "dev")}

    return make


def _prints(text: str) -> str:
    return f"cat <<'END'\n{text}\nEND"


def _only(kind: SysfsDevices) -> Statistics:
    """Return how the kind's only device does."""
    (device,) = kind.list_devices()
    return kind.statistics()[device.id]


def _soon() -> float:
    return time.monotonic() + 5


# --- how they are asked ---------------------------------------------------------------------------------------------


def test_a_program_is_asked_without_a_shell_and_says_what_it_prints(program: Program) -> None:
    program("vendor-smi", 'printf "%s|" "$@"')
    assert ask(("vendor-smi", "--of", "$(id) `id`; *"), _soon()) == "--of|$(id) `id`; *|"


@pytest.mark.parametrize("script", ["exit 3", "echo half; exit 1", "kill -9 $$"])
def test_one_that_fails_has_said_nothing(program: Program, script: str) -> None:
    program("vendor-smi", script)
    assert ask(("vendor-smi",), _soon()) == ""


def test_one_that_is_not_there_or_is_no_program_has_said_nothing(program: Program, tmp_path: Path) -> None:
    assert ask(("vendor-smi",), _soon()) == ""
    (tmp_path / "bin/vendor-smi").write_bytes(b"\x7fELF and nothing more")
    (tmp_path / "bin/vendor-smi").chmod(0o755)
    assert ask(("vendor-smi",), _soon()) == ""


def test_one_that_hangs_is_ended_with_all_that_it_started(program: Program, tmp_path: Path) -> None:
    program("vendor-smi", f"sleep 60 & echo $! > {tmp_path}/child\necho begun; wait")
    began = time.monotonic()
    assert ask(("vendor-smi",), began + 0.5) == ""
    assert time.monotonic() - began < 3
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not _lives(child):
            break
        time.sleep(0.02)
    assert not _lives(child)


def _lives(process: int) -> bool:
    """Say whether a process does anything: a dead one may wait for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_that_leaves_somebody_behind_does_not_keep_who_asks(program: Program) -> None:
    program("vendor-smi", "sleep 60 >/dev/null & echo done")
    assert ask(("vendor-smi",), _soon()) == "done\n"
    program("vendor-smi", "sleep 60 & echo done")
    began = time.monotonic()
    assert ask(("vendor-smi",), began + 0.5) == ""
    assert time.monotonic() - began < 3


def test_one_that_prints_without_end_is_cut_off(program: Program) -> None:
    program("vendor-smi", "cat /dev/zero")
    assert ask(("vendor-smi",), _soon()) == ""


def test_nobody_is_asked_when_the_time_is_over(program: Program, tmp_path: Path) -> None:
    program("vendor-smi", f"touch {tmp_path}/asked")
    assert ask(("vendor-smi",), time.monotonic() - 1) == ""
    assert not (tmp_path / "asked").exists()


def test_signals_of_who_asks_do_not_reach_it(program: Program) -> None:
    program("vendor-smi", "ps -o pgid= -p $$")
    assert int(ask(("vendor-smi",), _soon())) != os.getpgid(0)


def test_it_gets_no_more_of_the_environment_than_it_needs(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program("vendor-smi", r"tr '\0' '\n' < /proc/$$/environ")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")
    monkeypatch.setenv("HOME", "/home/agent")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    path = os.environ["PATH"]
    assert set(ask(("vendor-smi",), _soon()).split()) == {f"PATH={path}", "HOME=/home/agent", "LC_ALL=C"}
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/vendor/lib")
    assert "LD_LIBRARY_PATH=/opt/vendor/lib" in ask(("vendor-smi",), _soon()).split()


def test_one_that_cannot_be_ended_is_not_started_again_until_it_went(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program("vendor-smi", f"[ $# = 0 ] || exec echo $1; echo $$ >> {tmp_path}/asked; exec sleep 60")
    program("other-smi", "echo other")
    monkeypatch.setattr(tools, "END_SECONDS", 0.05)
    with monkeypatch.context() as driver:
        driver.setattr(os, "killpg", lambda *_: None)  # as if a driver held it
        for _ in range(3):
            assert ask(("vendor-smi",), time.monotonic() + 0.5) == ""
    (process,) = (tmp_path / "asked").read_text().split()
    assert _lives(int(process))
    assert ask(("other-smi",), _soon()) == "other\n"
    assert ask(("vendor-smi", "of-another-device"), _soon()) == "of-another-device\n"

    os.kill(int(process), signal.SIGKILL)
    program("vendor-smi", "echo back")
    for _ in range(100):
        if said := ask(("vendor-smi",), _soon()):
            break
        time.sleep(0.02)
    assert said == "back\n"


@pytest.mark.parametrize(
    ("text", "opening", "found"),
    [
        ('[4182] warning: slow\n[{"name": "npu0"}] done', "[", [{"name": "npu0"}]),
        ('{} note\n{"card0": {"power": 1}}', "{", {"card0": {"power": 1}}),
        ("[1, 2]", "[", None),
        ("{", "{", None),
    ],
)
def test_json_is_found_whatever_stands_around_it(text: str, opening: Literal["{", "["], found: object) -> None:
    assert tools.json_in(text, opening) == found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("37", 37.0),
        (" 41.33°C", 41.33),
        ("45C", 45.0),
        ("0.00%", 0.0),
        ("-5 C", -5.0),
        ("N/A", None),
        (None, None),
        (7, 7.0),
        (1e22, 1e22),
        (5e-05, 5e-05),
        ("9" * 400, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_numbers_are_read_with_their_units(text: object, value: float | None) -> None:
    assert number(text) == value


def test_powers_are_in_watts_and_counts_are_whole() -> None:
    assert [watts(text) for text in ("38.40 W", "38 W", "1500mW", "37257088uW", "1.5kW", "412", "W")] == [
        38.4, 38.0, 1.5, pytest.approx(37.257088), 1500.0, 412.0, None,
    ]  # fmt: skip
    assert (whole("1545601024"), whole("x")) == (1545601024, None)
    assert (whole("9" * 400), whole("9" * 308, 1024), watts("9" * 308 + "kW")) == (None, None, None)


# --- what each says -------------------------------------------------------------------------------------------------


def _amd(tree: Tree, **more: str) -> RocmDevices:
    gpu = "sys/class/drm/renderD128"
    options = tree({"dev/kfd": "", f"{gpu}/device": "->0000:2f:00.0"})
    tree({f"{gpu}/device/vendor": "0x1002"} | {f"{gpu}/device/{name}": text for name, text in more.items()})
    return RocmDevices(options)


def test_rocm_smi_says_what_amdgpu_does_not(program: Program, tree: Tree) -> None:
    program("rocm-smi", _prints(ROCM_SMI))
    assert _only(_amd(tree, gpu_busy_percent="37")) == Statistics(37.0, 283766784, 89.0, 43.0)


def test_rocm_smi_is_not_asked_when_the_driver_says_all(program: Program, tree: Tree, tmp_path: Path) -> None:
    program("rocm-smi", f"touch {tmp_path}/asked")
    kind = _amd(tree, gpu_busy_percent="37", mem_info_vram_used="1")
    tree({f"sys/devices/0000:2f:00.0/hwmon/hwmon4/{name}": "1000000" for name in ("power1_average", "temp1_input")})
    assert _only(kind) == Statistics(37.0, 1, 1.0, 1000.0)
    assert not (tmp_path / "asked").exists()


def test_hl_smi_says_how_a_gaudi_does(program: Program, tree: Tree) -> None:
    program("hl-smi", f'[ "$1$3$4" = "-Q-fcsv,noheader,nounits" ] || exit 1\n{_prints(HL_SMI)}')
    card = "sys/class/accel/accel{}/device"
    for number_, bus in ((0, "0000:B3:00.0"), (1, "0000:B4:00.0")):
        told = {"device_type": "GAUDI2", "status": "Operational", "pci_addr": bus}
        options = tree({f"{card.format(number_)}/{name}": text for name, text in told.items()})
    kind = Gaudi2Devices(options)
    first, second = kind.list_devices()
    now = kind.statistics()
    assert now[first.id] == Statistics(87.0, 32 * 1024**3, 412.0, 61.0)
    assert now[second.id] == Statistics(None, 768 * 1024**2, None, 30.0)


@pytest.mark.parametrize("name", ["rbln-stat", "rbln-smi"])
def test_rbln_stat_says_how_an_atom_does_under_either_name(program: Program, tree: Tree, name: str) -> None:
    program(name, _prints(RBLN_STAT))
    kind = AtomPlusDevices(tree({"sys/class/rebellions/rbln5/card_name": "RBLN-CA22"}))
    assert _only(kind) == Statistics(4.4, 1545601024, pytest.approx(37.257088), 45.0)


def test_the_power_of_a_card_is_not_that_of_each_of_its_npus(program: Program, tree: Tree) -> None:
    program("rbln-stat", _prints(RBLN_STAT))
    for npu, bus in ((6, "->0000:e3:00.0"), (7, "->0000:e4:00.0")):
        folder = f"sys/class/rebellions/rbln{npu}"
        options = tree({f"{folder}/card_name": "RBLN-CA25", f"{folder}/device": bus})
    kind = AtomMaxDevices(options)
    kind.list_devices()
    assert [(now.power, now.temperature) for now in kind.statistics().values()] == [(None, 33.0), (None, 34.0)]


def test_furiosa_smi_says_how_an_rngd_does(program: Program, tree: Tree) -> None:
    program("furiosa-smi", f'[ "$2 $3" = "--format json" ] || exit 2\n'
            f'if [ "$1" = info ]; then {_prints(FURIOSA_INFO)}\nelse {_prints(FURIOSA_STATUS)}\nfi')  # fmt: skip
    kind = RngdDevices(tree({"sys/class/rngd_mgmt/rngd!npu1mgmt/device_uuid": "01"}))
    assert _only(kind) == Statistics(25.0, 1024**3, 38.4, 41.33)


def test_furiosa_smi_says_how_a_warboy_does_as_far_as_it_answers(program: Program, tree: Tree) -> None:
    program("furiosa-smi", f'[ "$1 $2 $3" = "status --output json" ] || exit 2\n{_prints(WARBOY_STATUS)}')
    kind = WarboyDevices(tree({"sys/class/npu_mgmt/npu1_mgmt/device_sn": "S1"}))
    assert _only(kind) == Statistics(utilization=12.5)


def _ipu(tree: Tree) -> IpuDevices:
    return IpuDevices(tree({"sys/class/ipu/ipu0/device": "->0000:35:00.0", "dev/ipu0": ""}))


def test_gc_info_says_how_an_ipu_does_and_whether_it_is_well(program: Program, tree: Tree) -> None:
    program("gc-info", f'[ "$*" = "--device-info -d 0" ] || exit 2\n{_prints(GC_INFO.format(state="no errors"))}')
    kind = _ipu(tree)
    assert _only(kind) == Statistics(99.96, None, 12.6, 20.0)
    assert [device.problem for device in kind.list_devices()] == [""]

    program("gc-info", _prints(GC_INFO.format(state="parity error")))
    assert [device.problem for device in _ipu_again(kind)] == ["gc-info says: parity error"]


def _ipu_again(before: IpuDevices):  # type: ignore[no-untyped-def]
    return IpuDevices({"sys": str(before.options.sys), "dev": str(before.options.dev)}).list_devices()


def test_what_gc_info_says_of_another_ipu_is_not_said_of_this_one(program: Program, tree: Tree) -> None:
    program("gc-info", _prints(GC_INFO.format(state="parity error").replace("0000:35", "0000:36")))
    kind = _ipu(tree)
    assert _only(kind) == Statistics()
    assert kind.list_devices()[0].healthy


def _ipus(tree: Tree, count: int) -> IpuDevices:
    for number_ in range(count):
        options = tree({f"sys/class/ipu/ipu{number_}/device": f"->0000:3{number_}:00.0", f"dev/ipu{number_}": ""})
    return IpuDevices(options)


def _gc_info(case: str = "", *, board: str = "$3", state: str = "no errors") -> str:
    """Return a gc-info that knows any IPU, each on a board of its own; ``case`` goes before."""
    said = GC_INFO.format(state=state).replace("0000:35", "0000:3$3").replace("0063.0063.822391", board)
    return f"{case}\ncat <<END\n{said}\nEND"


def _problems(kind: IpuDevices) -> list[str]:
    return [device.problem for device in kind.list_devices()]


def _one_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "ASKED_SECONDS", 0.0)
    monkeypatch.setattr(graphcore, "LEAST_SECONDS", 60.0)


def test_a_gc_info_that_hangs_for_one_ipu_speaks_of_the_others(
    program: Program, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysfs, "LONGEST_SECONDS", 3.0)
    program("gc-info", _gc_info('[ "$3" = 0 ] && sleep 60', board="$3", state="parity error"))
    assert _problems(_ipus(tree, 3)) == ["", "gc-info says: parity error", "gc-info says: parity error"]


@pytest.mark.parametrize("silent", ["exit 1", "true", "echo '  pci id: 0000:30:00.0'"])
def test_an_ipu_stays_ill_until_gc_info_says_something_else_of_it(
    program: Program, tree: Tree, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    monkeypatch.setattr(sysfs, "ASKED_SECONDS", 0.0)
    kind = _ipus(tree, 1)
    program("gc-info", _prints(GC_INFO.format(state="parity error").replace("0000:35", "0000:30")))
    assert _problems(kind) == ["gc-info says: parity error"]
    program("gc-info", silent)
    assert _problems(kind) == ["gc-info says: parity error"]
    assert _only(kind) == Statistics()
    program("gc-info", _prints(GC_INFO.format(state="no errors").replace("0000:35", "0000:30")))
    assert _problems(kind) == [""]


def test_an_ipu_stays_ill_when_what_gc_info_prints_cannot_be_read_at_all(
    program: Program, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = _ipu(tree)
    program("gc-info", _prints(GC_INFO.format(state="parity error")))
    assert _problems(kind) == ["gc-info says: parity error"]
    monkeypatch.setattr(sysfs, "ASKED_SECONDS", 0.0)
    monkeypatch.setattr(IpuDevices, "ask_vendor", _UnreadableDevices.ask_vendor)
    assert _problems(kind) == ["gc-info says: parity error"]
    assert _only(kind) == Statistics()


def test_ipus_for_which_no_time_was_left_are_asked_next(
    program: Program, tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind = _ipus(tree, 4)
    kind.list_devices()
    _one_a_round(monkeypatch)
    program("gc-info", _gc_info(f"echo $3 >> {tmp_path}/asked"))
    known = [sum(now != Statistics() for now in _round(kind).values()) for _ in range(6)]
    assert (tmp_path / "asked").read_text().split() == ["0", "1", "2", "3", "0", "1"]
    assert known == [1, 2, 3, 4, 4, 4], "what was said of one is not forgotten while the others are asked"


def _round(kind: IpuDevices) -> dict[str, Statistics]:
    """Return what is known after gc-info was asked once more."""
    entries = [entry for entry, _ in kind._known.values()]
    told = kind.ask_vendor(entries, time.monotonic() + 5)
    return {name: one.statistics for name, one in told.items()}


@pytest.mark.parametrize(("board", "power"), [("one", [None, None]), ("$3", [12.6, 12.6])])
def test_a_board_s_power_is_an_ipu_s_only_when_all_are_known_to_be_on_others(
    program: Program, tree: Tree, monkeypatch: pytest.MonkeyPatch, board: str, power: list[float | None]
) -> None:
    kind = _ipus(tree, 2)
    kind.list_devices()
    _one_a_round(monkeypatch)
    program("gc-info", _gc_info(board=board))
    assert [now.power for now in _round(kind).values()] == [None, None]
    assert [now.power for now in _round(kind).values()] == power


# --- what is wrong costs its own row only ---------------------------------------------------------------------------


def test_one_wrong_line_of_hl_smi_costs_no_other() -> None:
    others = ("9" * 200_000, f"0000:b5:00.0, 1, {'9' * 400}, 1, 1", "0000:b6:00.0, 1, 2")
    told = told_by_hl_smi("\n".join([*others, HL_SMI, *others]))
    assert told["0000:b3:00.0"].statistics == Statistics(87.0, 32 * 1024**3, 412.0, 61.0)
    assert told["0000:b5:00.0"].statistics == Statistics(1.0, None, 1.0, 1.0)


@pytest.mark.parametrize("other", ["null", "7", "{}", '{"device": null}', '{"device": "rbln6", "memory": 7}'])
def test_one_wrong_npu_of_rbln_stat_costs_no_other(other: str) -> None:
    text = RBLN_STAT.replace('"devices": [', f'"devices": [{other},')
    assert told_by_rbln_stat(f"WARNING\n{text}\nbye")["rbln5"].statistics.memory_used == 1545601024


def test_what_rbln_stat_does_not_know_costs_nothing_else() -> None:
    text = '{"devices": [{"device": "rbln5", "util": "4.4", "memory": null}]}'
    assert told_by_rbln_stat(text)["rbln5"].statistics == Statistics(utilization=4.4)


@pytest.mark.parametrize("other", ["null", "7", "{}", '{"device": null, "dev_name": null}'])
def test_one_wrong_npu_of_furiosa_smi_costs_no_other(other: str) -> None:
    info, status = (f"[WARN] slow\n[{other},{text[1:]}\nbye" for text in (FURIOSA_INFO, FURIOSA_STATUS))
    assert told_by_furiosa_smi(info, status)["npu1"].statistics == Statistics(25.0, 1024**3, 38.4, 41.33)


def test_what_furiosa_smi_does_not_know_costs_nothing_else() -> None:
    status = '[{"device": "npu1", "memory": null, "pe_utilizations": [{"pe_utilization": 50.0}]}, {"device": "npu2"}]'
    assert told_by_furiosa_smi("", status)["npu1"].statistics == Statistics(utilization=50.0)
    status = '[{"device": "npu1", "memory": {"dram": null}, "pe_utilizations": null}]'
    assert told_by_furiosa_smi(FURIOSA_INFO, status)["npu1"].statistics == Statistics(power=38.4, temperature=41.33)


@pytest.mark.parametrize(
    ("before", "after"), [("", "\nWARNING: {done}"), ("WARNING: {low power}\n{\n", ""), ("{" * 9, "}}"), ("", "9" * 9)]
)
def test_text_around_the_json_of_rocm_smi_costs_nothing(before: str, after: str) -> None:
    told = told_by_rocm_smi(before + ROCM_SMI + after)
    assert told["0000:2f:00.0"].statistics == Statistics(10.0, 283766784, 89.0, 43.0)


@pytest.mark.parametrize("other", ["null", "7", '{"PCI Bus": null}', '{"GPU use (%)": ' + "9" * 5000 + "}"])
def test_one_wrong_card_of_rocm_smi_costs_no_other(other: str) -> None:
    told = told_by_rocm_smi(ROCM_SMI.replace('{"card1"', f'{{"card0": {other}, "card1"'))
    assert told["0000:2f:00.0"].statistics == Statistics(10.0, 283766784, 89.0, 43.0)


class _UnreadableDevices(IpuDevices):
    def ask_vendor(self, entries: Sequence[Entry], until: float) -> Mapping[str, Told]:
        raise OverflowError("too much")


def test_a_program_that_cannot_be_read_at_all_makes_no_device_ill(tree: Tree) -> None:
    assert _only(_UnreadableDevices(_ipu(tree).options.model_dump())) == Statistics()


# --- where they say nothing -----------------------------------------------------------------------------------------

PROGRAMS = ("rocm-smi", "hl-smi", "rbln-stat", "rbln-smi", "furiosa-smi", "gc-info")
RUBBISH = (
    "exit 1",
    "head -c 300000 /dev/zero | tr '\\0' '['",
    "head -c 300000 /dev/zero | tr '\\0' '{'",
    "echo '{'",
    "echo '[]'",
    "echo '{\"devices\": 7}'",
    "echo '[7]'",
    "head -c 100000 /dev/urandom",
    "true",
)


def _some_of_each(tree: Tree) -> list[SysfsDevices]:
    options = tree(
        {
            "sys/class/accel/accel0/device/device_type": "GAUDI2",
            "sys/class/accel/accel0/device/status": "Operational",
            "sys/class/accel/accel0/device/pci_addr": "0000:b3:00.0",
            "sys/class/rebellions/rbln5/card_name": "RBLN-CA22",
            "sys/class/rngd_mgmt/rngd!npu1mgmt/device_uuid": "01",
            "sys/class/npu_mgmt/npu1_mgmt/device_sn": "S1",
        }
    )
    kinds = (AtomPlusDevices, Gaudi2Devices, RngdDevices, WarboyDevices)
    return [_amd(tree), _ipu(tree), *(kind(options) for kind in kinds)]


@pytest.mark.parametrize("script", [None, *RUBBISH])
def test_without_a_program_or_with_one_that_prints_rubbish_devices_are_well_and_nothing_is_known_of_them(
    program: Program, tree: Tree, script: str | None
) -> None:
    if script is not None:
        for name in PROGRAMS:
            program(name, script)
    for kind in _some_of_each(tree):
        (device,) = kind.list_devices()
        assert (device.healthy, kind.statistics()) == (True, {device.id: Statistics()})


def test_a_program_that_hangs_is_waited_for_once_and_not_each_time(
    program: Program, tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sysfs, "LONGEST_SECONDS", 0.3)
    program("rocm-smi", f"echo x >> {tmp_path}/asked; sleep 60")
    kind = _amd(tree)
    began = time.monotonic()
    for _ in range(5):
        assert _only(kind) == Statistics()
    assert time.monotonic() - began < 3
    assert (tmp_path / "asked").read_text() == "x\n"


def test_a_chip_without_device_files_is_ill(tree: Tree) -> None:
    chip = "sys/bus/pci/devices/0000:00:04.0"
    tpu = TpuDevices(tree({f"{chip}/vendor": "0x1ae0", f"{chip}/device": "0x0063"}))
    assert [device.problem for device in tpu.list_devices()] == ["it has no device file: its driver is not there"]
    tree({"dev/accel0": ""})
    assert [device.problem for device in tpu.list_devices()] == [""]

    card = "sys/class/xdma/xdma0_user/device"
    lpu = LpuDevices(tree({f"{card}/vendor": "0x10ee", f"{card}/device": "0x903f"}) | {"pci_ids": ["10ee:903f"]})
    assert [device.problem for device in lpu.list_devices()] == ["it has no device file"]
    tree({"dev/xdma0_user": ""})
    assert [device.problem for device in lpu.list_devices()] == [""]
