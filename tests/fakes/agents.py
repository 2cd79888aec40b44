"""Agents in memory: keep specifications by URL, have logs, refuse or are silent as they are told."""

from dataclasses import dataclass, field
from uuid import UUID

from caravan_common.errors import UnavailableError
from caravan_common.wire.agent import KernelList, KernelSpec, KernelState, Release
from caravan_manager.nodes.agents import LogNotFoundError, SpecRefusedError


@dataclass
class FakeAgents:
    """Implements the protocol `caravan_manager.nodes.agents.Agents`."""

    specs: dict[tuple[str, UUID], KernelSpec] = field(default_factory=dict)
    running: dict[UUID, str] = field(default_factory=dict)
    """Which container of a kernel runs; a kernel that is not here is prepared."""
    released: list[tuple[str, UUID]] = field(default_factory=list)
    told: dict[UUID, Release] = field(default_factory=dict)
    """What kernels learned as they began."""
    saved_logs: dict[UUID, bytes] = field(default_factory=dict)
    silent: bool = False
    refusal: str | None = None

    async def prepare(self, url: str, spec: KernelSpec) -> None:
        self._answer()
        if self.refusal is not None:
            raise SpecRefusedError(self.refusal, "conflict")
        self.specs[url, spec.kernel] = spec

    async def release(self, url: str, kernel: UUID, told: Release) -> None:
        self._answer()
        self.told[kernel] = told
        self.released.append((url, kernel))

    async def forget(self, url: str, kernel: UUID) -> None:
        self._answer()
        self.specs.pop((url, kernel), None)

    async def logs(self, url: str, kernel: UUID) -> bytes:
        self._answer()
        if kernel not in self.saved_logs:
            raise LogNotFoundError(f"no log of kernel {kernel}")
        return self.saved_logs[kernel]

    async def kernels(self, url: str) -> KernelList:
        self._answer()
        mine = [spec for (where, _), spec in self.specs.items() if where == url]
        return KernelList(
            kernels=[
                KernelState(
                    session=spec.session,
                    kernel=spec.kernel,
                    state="running" if spec.kernel in self.running else "prepared",
                    container=self.running.get(spec.kernel),
                )
                for spec in mine
            ]
        )

    def _answer(self) -> None:
        if self.silent:
            raise UnavailableError("the agent does not answer")
