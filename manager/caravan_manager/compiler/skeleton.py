"""The skeleton of session jobs: the operator's HCL file, parsed once by Nomad itself."""

import asyncio
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
            hcl = await asyncio.to_thread(self._path.read_text, encoding="utf-8")
            self._job = await self._parser.parse(hcl)
        return self._job
