"""Why sessions wait, in GraphQL."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from ariadne import ObjectType

from caravan_manager.api.graphql.base import Info, bind
from caravan_manager.scheduler.explaining.answer import Told

queries = ObjectType("Queries")


@queries.field("session_explanation")
async def session_explanation(_: object, info: Info, id: UUID) -> object:  # noqa: A002
    """Answer why a session that the caller may see waits."""
    return await info.context.explanations.by_id(info.context.principal, id)


def _moment(told: Told, which: str) -> datetime | None:
    text = (told.estimate or {}).get(which)
    return datetime.fromisoformat(text) if isinstance(text, str) else None


EXPLANATION: dict[str, Callable[[Told], object]] = {
    "session_id": lambda told: told.session["id"],
    "verdict": lambda told: told.verdict,
    "summary": lambda told: told.summary,
    "position": lambda told: (told.queue or {}).get("position"),
    "queue_length": lambda told: (told.queue or {}).get("length"),
    "reasons": lambda told: [reason.text for reason in told.reasons],
    "would_help": lambda told: [helping.text for helping in told.would_help],
    "earliest": lambda told: _moment(told, "earliest"),
    "latest": lambda told: _moment(told, "latest"),
    "details": lambda told: told.to_json(),
}

BINDABLES = [queries, bind("SessionExplanation", EXPLANATION)]
