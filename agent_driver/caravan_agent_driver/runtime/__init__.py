"""What lies in /opt/kernel of every kernel, and putting it into the state folder."""

from importlib import resources
from pathlib import Path

from caravan_agent_driver.kernels.store import write_atomically


def install(state_dir: Path) -> None:
    """Write /opt/kernel's files to ``runtime/`` and the hooks' client to ``hook.py`` in the state folder. Blocks."""
    package = resources.files("caravan_agent_driver")
    folder = state_dir / "runtime"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.chmod(0o755)
    write_atomically(folder / "entrypoint.sh", (package / "runtime" / "entrypoint.sh").read_bytes(), 0o755)
    write_atomically(state_dir / "hook.py", (package / "hook.py").read_bytes(), 0o644)
