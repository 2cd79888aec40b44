"""The planner's reasons in the words and the form of Backend.AI, as sessions show them. Pure."""

from caravan_manager.scheduler.snapshot import CHECKS, Cancellation, EndReason, Obstacle, Reason, Wait
from caravan_manager.sessions.model import Checks

_SENTENCES = {
    Obstacle.NOT_YET: "Before start time ({about})",
    Obstacle.DEPENDENCIES: "Waiting dependency sessions to finish as success. ({about})",
    Obstacle.CONCURRENCY: "You cannot run more than {limit} concurrent sessions",
    Obstacle.KEYPAIR_QUOTA: "Your keypair resource quota is exceeded. ({limit})",
    Obstacle.USER_QUOTA: "Your main-keypair resource quota is exceeded. ({limit})",
    Obstacle.PROJECT_QUOTA: "Your group resource quota is exceeded. ({limit})",
    Obstacle.DOMAIN_QUOTA: "Your domain resource quota is exceeded. ({limit})",
}
_ENDS = {
    EndReason.PENDING_TIMEOUT: "The session waited for longer than its scaling group allows. ({about})",
    EndReason.DEPENDENCY_FAILED: "Dependency sessions did not finish as success. ({about})",
}
CHECKS_FAILED = "predicate-checks-failed"


def sentence(reason: Reason) -> str:
    """Return what the user is told: a sentence for a check, else the names that the obstacle is about."""
    words = _SENTENCES.get(
        reason.obstacle, "{about} (accelerators are given in {limit})" if reason.limit else "{about}"
    )
    return words.format(about=", ".join(reason.about), limit=reason.limit)


def status_info(wait: Wait) -> str:
    """Return the short reason: one word for all checks, and one for each obstacle among the nodes."""
    return CHECKS_FAILED if wait.obstacle in CHECKS else wait.obstacle.value


def checks_of(wait: Wait) -> Checks:
    """Return which checks failed and which passed; an obstacle among the nodes is told in the same place."""
    failed = tuple((reason.obstacle.value, sentence(reason)) for reason in wait.reasons)
    names = {name for name, _ in failed}
    return Checks(failed, tuple(check.value for check in CHECKS if check.value not in names))


def checks_of_end(end: Cancellation) -> Checks:
    """Return why a session was cancelled, in the same form."""
    name = Obstacle.DEPENDENCIES.value if end.reason is EndReason.DEPENDENCY_FAILED else end.reason.value
    return Checks(((name, _ENDS[end.reason].format(about=", ".join(end.about))),))
