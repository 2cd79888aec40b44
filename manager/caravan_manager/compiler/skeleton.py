"""The skeleton of session jobs: the operator's `jobs/session/session.nomad.hcl`, in the JSON that Nomad makes of it.

Only Nomad reads HCL, and its parser knows no workload identities (1.10): whoever deploys the manager has it parsed,
as `nomad job run -output` does, and gives the manager the JSON.
"""

import asyncio
import json
from pathlib import Path

from caravan_common.errors import ConfigurationError
from caravan_common.nomad.client import Job


class Skeleton:
    """The skeleton; read when it is first asked for, and kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._job: Job | None = None

    async def get(self) -> Job:
        """Return the skeleton's job. Raises ConfigurationError when the file is missing or is no job."""
        if self._job is None:
            self._job = await asyncio.to_thread(_read, self._path)
        return self._job


def _read(path: Path) -> Job:
    try:
        job: Job = json.loads(path.read_text(encoding="utf-8"))["Job"]
    except (OSError, ValueError, KeyError) as err:
        raise ConfigurationError(f"{path} is not what `nomad job run -output` writes") from err
    return job
