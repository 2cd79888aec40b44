"""The processes of a stack's services."""

import re
from pathlib import Path

from caravan_deploy.second import Stack


def process_of(stack: Stack, service: str) -> int:
    """Return the process ID of a service of this stack, 0 when it does not run."""
    wanted = re.compile(rf"\S*/{service}\0serve\0--config\0{re.escape(str(stack.layout.root))}/".encode())
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted.search((folder / "cmdline").read_bytes()):
                return int(folder.name)
        except OSError:
            continue
    return 0
