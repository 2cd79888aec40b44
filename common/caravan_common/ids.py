"""The names that several rooms must spell alike: Nomad job IDs, node names, paths of folders in a volume."""

from pathlib import PurePosixPath
from uuid import UUID

JOB_PREFIX = "s-"


def job_id(session: UUID) -> str:
    """Return the ID of a session's Nomad job: ``s-<uuid>``, always 38 characters."""
    return f"{JOB_PREFIX}{session}"


def session_of(job: str) -> UUID | None:
    """Return the session of a Nomad job ID, or None when the job is not a session's."""
    if not job.startswith(JOB_PREFIX):
        return None
    try:
        return UUID(job.removeprefix(JOB_PREFIX))
    except ValueError:
        return None


def network_name(session: UUID) -> str:
    """Return the name of the Docker network that a session's kernels on one node share."""
    return f"caravan-{session}"


def folder_path(quota_scope: str, folder: UUID) -> PurePosixPath:
    """Return where a virtual folder lies below its volume's root.

    ``quota_scope`` is ``user:<uuid>`` or ``project:<uuid>``. The layout is Backend.AI's: the scope's hex, then the
    folder's hex in three parts, so that existing data can be taken over.
    """
    _, _, owner = quota_scope.partition(":")
    name = folder.hex
    return PurePosixPath(UUID(owner).hex, name[:2], name[2:4], name[4:])
