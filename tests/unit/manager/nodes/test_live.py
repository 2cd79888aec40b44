"""What clients are shown of a node's accelerators has Backend.AI's form, with what is known and nothing else."""

from dataclasses import replace
from uuid import UUID

import pytest
from tests.unit.manager.sessions_made import node_made

from caravan_manager.nodes.live import compute_plugins, hardware_metadata, live_stat
from caravan_manager.nodes.model import Device

GIBIBYTE = 1024**3
GPUS = (
    Device("GPU-1", "cuda.shares", "NVIDIA H100 80GB HBM3", shares=10, memory=80 * GIBIBYTE),
    Device("GPU-2", "cuda.device:1g.10gb-mig", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", memory=10 * GIBIBYTE),
)
NPU = Device("npu-1", "rngd.device", "Furiosa RNGD")
NODE = replace(node_made("n1", UUID(int=1)), devices=(*GPUS, NPU), version="0.1.0")


def test_a_metric_has_what_is_used_of_how_much() -> None:
    known = {
        "GPU-1": {"utilization": 37.5, "memory_used": 20 * GIBIBYTE, "power": 250.1234, "temperature": 61.0},
        "GPU-2": {"memory_used": GIBIBYTE, "temperature": 50.0},
        "npu-1": {"power": 40.0, "memory_used": 7},
        "GPU-9": {"power": 1.0},
    }
    stat = live_stat(NODE.devices, known)
    assert stat["devices"] == {
        "cuda_mem": {
            "GPU-1": {"current": "21474836480", "capacity": "85899345920", "pct": "25", "unit_hint": "bytes"},
            "GPU-2": {"current": "1073741824", "capacity": "10737418240", "pct": "10", "unit_hint": "bytes"},
        },
        "cuda_util": {"GPU-1": {"current": "37.5", "capacity": "100", "pct": "37.5", "unit_hint": "percent"}},
        "cuda_power": {"GPU-1": {"current": "250.123", "capacity": None, "pct": "0.00", "unit_hint": "Watts"}},
        "cuda_temperature": {
            "GPU-1": {"current": "61", "capacity": None, "pct": "0.00", "unit_hint": "Celsius"},
            "GPU-2": {"current": "50", "capacity": None, "pct": "0.00", "unit_hint": "Celsius"},
        },
        "rngd_power": {"npu-1": {"current": "40", "capacity": None, "pct": "0.00", "unit_hint": "Watts"}},
    }
    assert stat["node"] == {
        "cuda_mem": {"current": "22548578304", "capacity": "96636764160", "pct": "23.33", "unit_hint": "bytes"},
        "cuda_util": {"current": "37.5", "capacity": "100", "pct": "37.5", "unit_hint": "percent"},
        "cuda_power": {"current": "250.123", "capacity": None, "pct": "0.00", "unit_hint": "Watts"},
        "cuda_temperature": {"current": "55.5", "capacity": None, "pct": "0.00", "unit_hint": "Celsius"},
        "rngd_power": {"current": "40", "capacity": None, "pct": "0.00", "unit_hint": "Watts"},
    }


@pytest.mark.parametrize("odd", [10**27, 10**400, 1e300, -1e300, float("inf"), float("nan")])
def test_a_reading_that_cannot_be_is_not_shown_and_hides_no_other(odd: float) -> None:
    known = {"GPU-1": {"utilization": odd, "memory_used": odd, "power": odd, "temperature": odd}, "GPU-2": {"power": 7}}
    stat = live_stat(NODE.devices, known)
    value = {"current": "7", "capacity": None, "pct": "0.00", "unit_hint": "Watts"}
    assert stat == {"node": {"cuda_power": value}, "devices": {"cuda_power": {"GPU-2": value}}}


def test_a_memory_that_cannot_be_is_not_shown() -> None:
    devices = (replace(GPUS[0], memory=10**27), GPUS[1])
    stat = live_stat(devices, {"GPU-1": {"memory_used": 7}, "GPU-2": {"memory_used": GIBIBYTE}})
    assert list(stat["devices"]["cuda_mem"]) == ["GPU-2"]  # type: ignore[index]


def test_where_nothing_is_known_nothing_is_shown() -> None:
    assert live_stat(NODE.devices, {}) == {"node": {}, "devices": {}}
    assert live_stat((), {"GPU-1": {"power": 1.0}}) == {"node": {}, "devices": {}}


def test_zero_is_a_measure_and_shown_as_one() -> None:
    (value,) = live_stat((NPU,), {"npu-1": {"utilization": 0.0}})["devices"]["rngd_util"].values()  # type: ignore[index]
    assert value == {"current": "0", "capacity": "100", "pct": "0", "unit_hint": "percent"}


def test_plugins_say_which_models_there_are() -> None:
    node = replace(NODE, devices=(GPUS[0], replace(GPUS[0], id="GPU-3"), NPU))
    assert compute_plugins(node) == {
        "cpu": {"version": "0.1.0"},
        "mem": {"version": "0.1.0"},
        "cuda": {"version": "0.1.0", "cuda_support": True, "models": {"NVIDIA H100 80GB HBM3": 2}},
        "rngd": {"version": "0.1.0", "rngd_support": True, "models": {"Furiosa RNGD": 1}},
    }
    assert set(compute_plugins(replace(NODE, devices=()))) == {"cpu", "mem"}


def test_hardware_is_as_well_as_its_devices() -> None:
    ill = replace(GPUS[0], healthy=False, problem="critical error (XID 79)")
    shown = hardware_metadata(replace(NODE, devices=(ill, GPUS[1], NPU)))
    assert shown["cuda"] == {
        "status": "degraded",
        "status_info": "GPU-1: critical error (XID 79)",
        "metadata": {"GPU-1": "NVIDIA H100 80GB HBM3", "GPU-2": "NVIDIA H100 80GB HBM3 MIG 1g.10gb"},
    }
    assert shown["rngd"] == {"status": "healthy", "status_info": None, "metadata": {"npu-1": "Furiosa RNGD"}}
    assert hardware_metadata(replace(NODE, devices=(ill,)))["cuda"]["status"] == "offline"  # type: ignore[index]
    assert hardware_metadata(replace(NODE, devices=())) == {}
