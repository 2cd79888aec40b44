"""What a client is told of an error inside a document: a sentence, where, and the error's code; never an internal."""

from typing import Any

import structlog
from graphql import GraphQLError

from caravan_common.errors import CaravanError

log = structlog.get_logger()


class GraphQLFailedError(CaravanError):
    """The old door's answer to a document with errors; the data lists their messages."""

    status = 400
    slug = "graphql-error"
    title = "GraphQL-generated error."
    code = "api_generic_bad-request"


def formatted(error: GraphQLError) -> dict[str, Any]:
    """Return the error as the GraphQL specification writes it. What nobody foresaw is logged and masked."""
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        return dict(error.formatted)
    if not isinstance(cause, CaravanError):
        log.error("graphql.crashed", path=error.path, exc_info=cause)
        cause = CaravanError()
    elif cause.status >= 500:
        log.error("graphql.failed", path=error.path, exc_info=cause)
    answer: dict[str, Any] = {"message": _sentence(cause)}
    if error.locations is not None:
        answer["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        answer["path"] = error.path
    return answer | {"extensions": _extensions(cause)}


def _sentence(error: CaravanError) -> str:
    title = str(error.problem()["title"])
    return title if error.message is None else f"{title} ({error.message})"


def _extensions(error: CaravanError) -> dict[str, Any]:
    known: dict[str, Any] = {"code": error.code, "type": error.problem()["type"]}
    return known | ({"data": error.data} if error.data else {})
