"""A machine's accelerators: the device file, and the plugin that tells Nomad of them."""

from pathlib import Path

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import Layout
from caravan_deploy.servers.nomad import DEVICE_PLUGIN

DEFAULT = """\
# This machine's accelerators. Nomad's device plugin and Caravan's agent read this file again whenever it changes.
# With nothing in it every kind that is installed is looked for. docs/guides/accelerators.md says what can stand here.
"""


def install_device_plugin(layout: Layout) -> None:
    """Put the plugin where Nomad looks for it, and a device file where there is none. Nomad finds both as it starts."""
    layout.plugins.mkdir(mode=0o700, exist_ok=True)
    program, link = layout.programs / DEVICE_PLUGIN, layout.plugins / DEVICE_PLUGIN
    if not program.exists():
        raise SetupError(f"{program} is missing: `make venv` installs it.")
    if not link.is_symlink() or link.readlink() != program:
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    if not layout.devices.exists():
        _write(layout, DEFAULT.encode())


def choose_devices(layout: Layout, file: Path) -> None:
    """Take a copy of the file as this machine's device file; its path is the same on every machine of a stack."""
    layout.etc.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(layout, file.read_bytes())


def _write(layout: Layout, content: bytes) -> None:
    layout.devices.touch(mode=0o600)
    layout.devices.write_bytes(content)
