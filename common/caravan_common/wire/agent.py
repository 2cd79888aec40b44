"""What the manager says to an agent (HTTP, `Authorization: Bearer`), and what the node's hooks say on its socket.

| call | meaning |
|-|-|
| PUT /kernels/{kernel} (KernelSpec) → 202 | prepare the kernel; the same specification twice is harmless |
| … ?wait=seconds → 204, 409, 503 | and answer when it is prepared, never can be, cannot be yet (ask again) |
| POST /kernels/{kernel}/release (Release or nothing) → 204 | let a kernel of several begin; repeating it is harmless |
| DELETE /kernels/{kernel} → 204 | forget and clean the kernel; an unknown one is harmless |
| GET /kernels/{kernel}/logs → text/plain | live, or saved after the end; 404 when there are none |
| GET /kernels → KernelList | everything the agent holds, for the sweep |
| GET /health → 200 | the agent's loops run |

The poststop task of a session's Nomad job uses the Unix socket: ``POST /hooks/cleanup/{kernel}`` answers 204 when
nothing is left of the kernel.
"""

from pathlib import PurePosixPath
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from caravan_common.wire.devices import DeviceShare


class Mount(BaseModel):
    """A virtual folder in a kernel. ``target`` is absolute, inside the container."""

    model_config = ConfigDict(frozen=True)

    name: str
    volume: str
    quota_scope: str
    folder: UUID
    subpath: PurePosixPath = PurePosixPath(".")
    target: PurePosixPath
    permission: Literal["ro", "rw", "wd"]


class KernelSpec(BaseModel):
    """Everything an agent needs to prepare one kernel. Holds users' secrets: never logged, never in a Nomad job."""

    model_config = ConfigDict(frozen=True)

    session: UUID
    kernel: UUID
    image: str
    architecture: str
    cluster_role: str
    cluster_idx: int
    cluster_hostname: str
    environ: dict[str, str] = Field(repr=False)
    """The container's whole environment of `api.md` 7 (BACKENDAI_* and the user's own), names checked."""
    startup_command: str | None = Field(default=None, repr=False)
    """The batch command, a shell script; None for an interactive kernel, which runs until it is destroyed."""
    bootstrap_script: str | None = Field(default=None, repr=False)
    barrier_seconds: int = 0
    """How long the container waits for its release before it begins and gives up; 0 is not at all."""
    slots: dict[str, str]
    devices: list[DeviceShare] = []
    """Which accelerators are the kernel's, and how much of each."""
    mounts: list[Mount] = []
    resource_opts: dict[str, str] = {}


class Endpoint(BaseModel):
    """Where something is reached, as seen from inside one container."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int


class Release(BaseModel):
    """What a kernel of several learns as it begins: that which nobody knew before all were up."""

    model_config = ConfigDict(frozen=True)

    environ: dict[str, str] = {}
    """Variables that take the place of those in the specification."""
    ssh: dict[str, Endpoint] = {}
    """Where the SSH server of each kernel of the session is reached, by host name; empty when all are on one node."""


class KernelState(BaseModel):
    """One kernel as its agent sees it."""

    session: UUID
    kernel: UUID
    state: Literal["preparing", "prepared", "running", "terminated"]
    container: str | None = None
    exit_code: int | None = None


class KernelList(BaseModel):
    """All kernels that an agent holds something of."""

    kernels: list[KernelState]
