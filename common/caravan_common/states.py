"""The states, types and results of sessions and kernels, spelled as on the wire."""

from enum import StrEnum


class SessionStatus(StrEnum):
    """Where a session is on its way (the states that 25.5 clients know)."""

    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    PREPARING = "PREPARING"
    PULLING = "PULLING"
    PREPARED = "PREPARED"
    CREATING = "CREATING"
    RUNNING = "RUNNING"
    RUNNING_DEGRADED = "RUNNING_DEGRADED"
    RESTARTING = "RESTARTING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"


class SessionType(StrEnum):
    """What a session is for."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    INFERENCE = "inference"
    SYSTEM = "system"


class SessionResult(StrEnum):
    """How a batch session ended."""

    UNDEFINED = "undefined"
    SUCCESS = "success"
    FAILURE = "failure"


class ClusterMode(StrEnum):
    """Whether the kernels of a session share one node."""

    SINGLE_NODE = "single-node"
    MULTI_NODE = "multi-node"


class NodeStatus(StrEnum):
    """Whether a node's agent is heard of."""

    ALIVE = "ALIVE"
    LOST = "LOST"
    TERMINATED = "TERMINATED"


class FolderStatus(StrEnum):
    """Where a virtual folder is in its life."""

    READY = "ready"
    PERFORMING = "performing"
    CLONING = "cloning"
    MOUNTED = "mounted"
    ERROR = "error"
    DELETE_PENDING = "delete-pending"
    DELETE_ONGOING = "delete-ongoing"
    DELETE_COMPLETE = "delete-complete"
    DELETE_ERROR = "delete-error"


class FolderPermission(StrEnum):
    """What a holder may do with a virtual folder."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"
    OWNER = "wd"
