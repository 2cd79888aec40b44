"""What clients are shown of a node's accelerators: which they are, whether they are well, and how they do. Pure.

The forms are Backend.AI's: `live_stat`, `compute_plugins` and `hardware_metadata` of an agent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from caravan_common.wire.devices import kind_of
from caravan_manager.nodes.model import Device, Node, Statistics

INTRINSIC_PLUGINS = ("cpu", "mem")
MOST_PROBLEMS = 200
"""How many characters of what is wrong are shown."""
_THOUSANDTHS, _HUNDREDTHS = Decimal("0.001"), Decimal("0.01")
_DIGITS = 18
"""Numbers with more before the point are no readings; sums of them would be more than a Decimal has."""


@dataclass(frozen=True, slots=True)
class _Metric:
    """A metric of each kind, and how Backend.AI calls it and its unit."""

    suffix: str
    measure: str
    unit: str


_METRICS = (
    _Metric("mem", "memory_used", "bytes"),
    _Metric("util", "utilization", "percent"),
    _Metric("power", "power", "Watts"),
    _Metric("temperature", "temperature", "Celsius"),
)
Value = dict[str, str | None]


def live_stat(devices: Sequence[Device], statistics: Statistics) -> dict[str, object]:
    """Return how a node's accelerators do: ``{"node": {metric: …}, "devices": {metric: {device: …}}}``.

    Metrics are ``cuda_mem``, ``cuda_util``, ``cuda_power`` and ``cuda_temperature``, of each kind what is known. A
    node's is the sum of its devices', of temperatures the mean. Nothing is remembered, so there are no ``stats.*``.
    """
    of_node: dict[str, Value] = {}
    of_devices: dict[str, dict[str, Value]] = {}
    for kind in _kinds(devices):
        for metric in _METRICS:
            measured = list(_measured(metric, (d for d in devices if kind_of(d.slot) == kind), statistics))
            if measured:
                key = f"{kind}_{metric.suffix}"
                of_devices[key] = {name: _value(metric, now, capacity) for name, now, capacity in measured}
                of_node[key] = _together(metric, measured)
    return {"node": of_node, "devices": of_devices}


def compute_plugins(node: Node) -> dict[str, object]:
    """Return what a node can compute with, by kind; of accelerators also how many of which models there are."""
    plugins: dict[str, object] = {name: {"version": node.version} for name in INTRINSIC_PLUGINS}
    for kind in _kinds(node.devices):
        models = [device.model for device in node.devices if kind_of(device.slot) == kind]
        counted = {model: models.count(model) for model in dict.fromkeys(models)}
        plugins[kind] = {"version": node.version, f"{kind}_support": True, "models": counted}
    return plugins


def hardware_metadata(node: Node) -> dict[str, object]:
    """Return whether a node's accelerators are well, by kind: ``healthy``, ``degraded``, or ``offline`` if none is."""
    return {kind: _hardware([d for d in node.devices if kind_of(d.slot) == kind]) for kind in _kinds(node.devices)}


def _hardware(devices: Sequence[Device]) -> dict[str, object]:
    ill = [device for device in devices if not device.healthy]
    status = "healthy" if not ill else "offline" if len(ill) == len(devices) else "degraded"
    problems = "; ".join(f"{device.id}: {device.problem}" for device in ill)
    return {
        "status": status,
        "status_info": problems[:MOST_PROBLEMS] or None,
        "metadata": {device.id: device.model for device in devices},
    }


def _kinds(devices: Iterable[Device]) -> list[str]:
    return list(dict.fromkeys(kind_of(device.slot) for device in devices))


Measured = tuple[str, Decimal, Decimal | None]
"""A device, what it has of a metric, and of how much."""


def _measured(metric: _Metric, devices: Iterable[Device], statistics: Statistics) -> Iterable[Measured]:
    for device in devices:
        told: Mapping[str, float] = statistics.get(device.id, {})
        now = told.get(metric.measure)
        if now is None or (metric.unit == "bytes" and not device.memory):
            continue  # clients divide bytes by the capacity
        measured, capacity = Decimal(str(now)), _capacity(metric, device)
        if all(number.is_finite() and number.adjusted() < _DIGITS for number in (measured, capacity or Decimal(0))):
            yield device.id, measured, capacity


def _capacity(metric: _Metric, device: Device) -> Decimal | None:
    return {"bytes": Decimal(device.memory), "percent": Decimal(100)}.get(metric.unit)


def _together(metric: _Metric, measured: Sequence[Measured]) -> Value:
    total = sum((now for _, now, _ in measured), Decimal(0))
    if metric.unit == "Celsius":
        return _value(metric, total / len(measured), None)
    capacities = [capacity for _, _, capacity in measured if capacity is not None]
    return _value(metric, total, sum(capacities, Decimal(0)) if capacities else None)


def _value(metric: _Metric, now: Decimal, capacity: Decimal | None) -> Value:
    return {
        "current": _text(now, _THOUSANDTHS),
        "capacity": None if capacity is None else _text(capacity, _THOUSANDTHS),
        "pct": _text(now / capacity * 100, _HUNDREDTHS) if capacity else "0.00",
        "unit_hint": metric.unit,
    }


def _text(value: Decimal, digits: Decimal) -> str:
    """Return a number without zeros behind the point, nor an exponent."""
    text = format(value.quantize(digits), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
