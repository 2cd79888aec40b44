"""The skeleton of session jobs: the operator's HCL file, parsed once by Nomad itself.

Nomad's parser does not know workload identities (1.10), so an installation with ACLs parses the file as it is deployed,
as `nomad job run -output` does, and gives the manager the JSON.
"""

import asyncio
import json
from pathlib import Path
from typing import Protocol

from caravan_common.nomad.client import Job


class Parser(Protocol):
    """What turns HCL into a job: Nomad."""

    async def parse(self, hcl: str) -> Job:
        """Return the job in JSON form."""
        ...


class Skeleton:
    """The parsed skeleton; parsed when it is first asked for, and kept."""

    def __init__(self, path: Path, parser: Parser) -> None:
        self._path = path
        self._parser = parser
        self._job: Job | None = None

    async def get(self) -> Job:
        """Return the skeleton's job. Raises UnavailableError while Nomad does not answer."""
        if self._job is None:
            text = await asyncio.to_thread(self._path.read_text, encoding="utf-8")
            self._job = _from_json(text) if self._path.suffix == ".json" else await self._parser.parse(text)
        return self._job


def _from_json(text: str) -> Job:
    """Return the job of a file that `nomad job run -output` wrote."""
    job: Job = json.loads(text)["Job"]
    return job
