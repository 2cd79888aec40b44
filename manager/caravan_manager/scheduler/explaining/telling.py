"""An explanation as its reader may see it. Pure."""

from collections.abc import Sequence
from datetime import datetime

from caravan_manager.scheduler.explaining.answer import Told, ToldReason
from caravan_manager.scheduler.explaining.model import (
    Basis,
    Estimate,
    Explanation,
    Queue,
)
from caravan_manager.scheduler.explaining.words import Reader, Words, seats
from caravan_manager.scheduler.snapshot import EndReason

_BASES = {
    Basis.STARTS: "it starts in the next pass",
    Basis.RESERVED: "room is kept for it from when the sessions there must have ended at the latest",
    Basis.RESERVED_UNKNOWN: "room is kept for it, after sessions of which nobody knows when they end",
    Basis.MADE: "others are ended for it, and it starts when they are gone",
    Basis.LIMITS: "if each session before it runs for as long as it may, and nothing more important comes",
    Basis.UNKNOWN: "no end is known that makes it start",
    Basis.NEVER: "it can't start as things are",
}


def tell(found: Explanation, reader: Reader, name: str, kernels: int) -> Told:
    """Return an explanation as its reader may see it."""
    words = Words(reader, kernels)
    reasons = tuple(words.reason(o, found) for o in found.obstructions)
    verdict, summary = _verdict(found, reasons)
    return Told(
        session={"id": str(found.session), "name": name, "status": "PENDING"},
        verdict=verdict,
        summary=summary,
        asked_at=found.taken_at.isoformat(),
        queue=None if found.queue is None else _queue(found.queue, reader),
        seats=[] if found.placement is None else seats(found.placement),
        reasons=reasons,
        would_help=tuple(words.help(helping) for helping in found.counterfactuals),
        possible_if=tuple(words.help(helping) for helping in found.possible),
        estimate=_estimate(found.estimate, reader),
        planner_runs=found.runs,
        complete=found.complete,
    )


def _verdict(found: Explanation, reasons: Sequence[ToldReason]) -> tuple[str, str]:
    if found.placement is not None:
        nodes = ", ".join(dict.fromkeys(seat.node for _, seat in found.placement.seats))
        return "starts", f"starts in the next pass on {nodes}"
    if found.cancellation is not None:
        because = {
            EndReason.PENDING_TIMEOUT: "it waited for longer than its scaling group allows",
            EndReason.DEPENDENCY_FAILED: f"it depends on what failed: {', '.join(found.cancellation.about)}",
        }
        return "is-cancelled", f"is cancelled in the next pass: {because[found.cancellation.reason]}"
    return "waits", f"waits: {reasons[0].text}" if reasons else "waits"


def _queue(queue: Queue, reader: Reader) -> dict[str, object]:
    return {
        "scaling_group": queue.scaling_group,
        "scheduler": queue.sequencer,
        "position": queue.position,
        "length": queue.length,
        "ahead": [
            {"session": reader.session(a.session), "label": reader.label(a.session), "waits_for": a.obstacle.value}
            | {"room_is_kept": a.keeps_room}
            for a in queue.ahead
        ],
    }


def _estimate(estimate: Estimate, reader: Reader) -> dict[str, object]:
    return {
        "earliest": _moment(estimate.earliest),
        "latest": _moment(estimate.latest),
        "basis": estimate.basis.value,
        "text": _BASES[estimate.basis],
        "waits_for": [reader.session(session) for session in estimate.waits_for],
        "there_now": reader.labels(estimate.waits_for),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
