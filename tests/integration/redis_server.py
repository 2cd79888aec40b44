"""A Redis of a test's own, which can be stopped and started."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError


@dataclass
class RedisServer:
    """One server on a port of its own; it keeps nothing on the disk."""

    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "these tests need redis-server (Debian: redis-server)"
        self.process = await asyncio.create_subprocess_exec(
            program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        client = Redis(host="127.0.0.1", port=self.port)
        async with asyncio.timeout(10):
            while True:
                try:
                    await client.ping()
                    break
                except (RedisError, OSError):
                    await asyncio.sleep(0.02)
        await client.aclose()

    async def stop(self) -> None:
        if self.process is not None:
            self.process.kill()  # it keeps nothing, so it need not be asked
            await self.process.wait()
            self.process = None
