"""Which failures may be over by themselves, so that the same is worth trying again."""

import errno

from caravan_agent_driver.docker.engine import DockerError
from caravan_common.errors import UnavailableError

PASSING = frozenset(
    {
        # A full disk: kernels that end give their room back. A quota (EDQUOT) is not here: its owner has to act.
        errno.ENOSPC,
        # A machine that is short of something for a moment.
        errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EINTR, errno.EBUSY,
        # A volume whose file server does not answer, or whose FUSE process is being started again.
        errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET,
        errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH,
    }
)  # fmt: skip
"""A folder that is missing, is none or may not be entered stays so until a person changes it: no error of that kind."""


def may_pass(problem: BaseException) -> bool:
    """Say whether a failure may be over soon, whatever anybody does."""
    if isinstance(problem, DockerError):
        return problem.is_outage
    if isinstance(problem, OSError):
        return problem.errno in PASSING
    return isinstance(problem, UnavailableError)
