"""When a session's network is made and removed: with its first kernel on this node, and after its last."""

import asyncio
from uuid import UUID

from caravan_agent_driver.docker.networks import SessionNetworks
from caravan_agent_driver.kernels.model import Phase
from caravan_agent_driver.kernels.store import KernelStore


class SessionNetwork:
    """Makes and removes the networks of the sessions whose kernels are in the store, one change at a time."""

    def __init__(self, networks: SessionNetworks, store: KernelStore) -> None:
        self._networks = networks
        self._store = store
        self._lock = asyncio.Lock()

    async def ensure(self, session: UUID) -> None:
        """Make the session's network if it is not there."""
        async with self._lock:
            await self._networks.ensure(session)

    async def release(self, session: UUID, kernel: UUID) -> bool:
        """Remove the session's network unless another kernel than ``kernel`` needs it; False if it is still in use."""
        async with self._lock:
            if any(other != kernel for other in self._users(session)):
                return True
            return await self._networks.remove(session)

    async def remove_unknown(self) -> list[UUID]:
        """Remove the networks of sessions that have no kernel here; gives the sessions."""
        async with self._lock:
            unknown = [session for session in await self._networks.sessions() if not self._users(session)]
            return [session for session in unknown if await self._networks.remove(session)]

    def _users(self, session: UUID) -> list[UUID]:
        return [k.kernel for k in self._store if k.session == session and k.phase is not Phase.CLEANED]
