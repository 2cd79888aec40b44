"""What answers look like to clients of the manager version that is reported: problem documents and headers. Pure.

Inside there is one vocabulary of errors; where 25.x and 26.x write them in different ways, it is said here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from caravan_common.errors import (
    PROBLEM_BASE,
    AuthorizationFailedError,
    BadRequestError,
    CaravanError,
    InvalidParametersError,
    QuotaExceededError,
    UnsignedRequestError,
)
from caravan_common.http import invalid_parameters, json_response

_LISTING = frozenset(
    {
        ("POST", "/folders"),
        ("DELETE", "/folders"),
        ("POST", "/folders/delete-from-trash-bin"),
        ("POST", "/folders/restore-from-trash-bin"),
        ("POST", "/folders/purge"),
        ("POST", "/folders/{folder}/rename"),
        ("GET", "/session/{session}/logs"),
    }
)
"""The routes at which 25.x lists what is wrong with the parameters, where it gives an object by name at all others."""

_IN_26: Mapping[type[CaravanError], tuple[int, type[CaravanError]]] = {
    UnsignedRequestError: (401, AuthorizationFailedError),
    InvalidParametersError: (400, BadRequestError),
    QuotaExceededError: (400, QuotaExceededError),
}
"""What 26.x answers in place of some errors: the status, and the error whose type, title and code it has."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the manager of one version answers."""

    is_26: bool

    @classmethod
    def of(cls, manager_version: str) -> "Dialect":
        """Return how a manager of this version answers."""
        major = manager_version.partition(".")[0]
        return cls(is_26=major.isdecimal() and int(major) >= 26)

    def answer(self, request: web.Request, error: CaravanError | ValidationError) -> web.Response:
        """Return the problem document of an error."""
        if isinstance(error, ValidationError):
            error = self._invalid(request, error)
        status, document = self.problem(error)
        return json_response(document, status=status, content_type="application/problem+json")

    def problem(self, error: CaravanError) -> tuple[int, dict[str, object]]:
        """Return the status and the members of an error's problem document."""
        document = error.problem()
        if not self.is_26:
            del document["error_code"]
            return error.status, document
        status, like = _IN_26.get(type(error), (error.status, None))
        if like is not None:
            document |= {"type": PROBLEM_BASE + like.slug, "title": like.title, "error_code": like.code}
        return status, document

    def _invalid(self, request: web.Request, error: ValidationError) -> InvalidParametersError:
        resource = request.match_info.route.resource
        route = (request.method, "" if resource is None else resource.canonical)
        if self.is_26 or route not in _LISTING:
            return invalid_parameters(error)
        listed: list[dict[str, Any]] = orjson.loads(error.json())
        first = listed[0]
        facts = [f"type={first['type']}", f"input={first['input']!r}", *(f"loc={part!r}" for part in first["loc"][:1])]
        return InvalidParametersError(f"{first['msg']} [{', '.join(facts)}]", data=listed)
