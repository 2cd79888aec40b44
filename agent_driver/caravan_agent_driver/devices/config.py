"""The node's device file, `devices.toml`: which kinds of accelerators to look for, and how to share them.

The device plugin and the agent read the same file, and read it again when it changes. Without it every kind that is
installed is looked for, with its own defaults::

    enabled = ["cuda"]           # by default every kind that is installed

    [kinds.cuda]                 # one table a kind, which says what may stand in it
    shares = 20
"""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

import structlog
from pydantic import ValidationError

from caravan_agent_driver.devices.kind import GROUP, DeviceKind, MakeKind
from caravan_common.config import Section, load_config
from caravan_common.errors import ConfigurationError

log = structlog.get_logger()


class DevicesConfig(Section):
    """`devices.toml`."""

    enabled: list[str] | None = None
    kinds: dict[str, dict[str, object]] = {}


def load_devices(path: Path | None) -> dict[str, DeviceKind]:
    """Read the file, or take the defaults where there is none, and make the kinds, by name. Blocks.

    Raises ConfigurationError for a wrong file and for a kind that is not installed. A kind that cannot be made, though
    nobody asked for it by name, is left out.
    """
    config = DevicesConfig() if path is None or not path.exists() else load_config(DevicesConfig, path)
    installed = {point.name: point for point in entry_points(group=GROUP)}
    asked = set(config.enabled or ()) | set(config.kinds)
    if unknown := asked - set(installed):
        raise ConfigurationError(f"no such kind of accelerator is installed: {', '.join(sorted(unknown))}")
    names = sorted(installed) if config.enabled is None else config.enabled
    made: dict[str, DeviceKind] = {}
    for name in names:
        try:
            made[name] = _make(installed[name], config.kinds.get(name, {}))
        except ConfigurationError:
            if name in asked:
                raise
            log.warning("device_kind.left_out", kind=name, exc_info=True)
    return made


def _make(point: EntryPoint, options: dict[str, object]) -> DeviceKind:
    try:
        return cast(MakeKind, point.load())(options)
    except ValidationError as err:
        wrong = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in err.errors(include_input=False))
        raise ConfigurationError(f"[kinds.{point.name}] of the device file: {wrong}") from err
    except Exception as err:  # whatever somebody else's code may raise
        raise ConfigurationError(f"the kind of accelerator {point.name} cannot be used: {err}") from err
