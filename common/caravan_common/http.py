"""What every HTTP service shares: errors become problem documents, requests are counted, JSON is orjson's."""

import time
from collections.abc import Callable

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from caravan_common.errors import (
    CaravanError,
    InvalidParametersError,
    MethodNotAllowedError,
    UnknownPathError,
)
from caravan_common.metrics import DURATIONS, REQUESTS

log = structlog.get_logger()

__all__ = [
    "PROBLEM",
    "Handler",
    "Middleware",
    "counted",
    "invalid_parameters",
    "json_response",
    "problem_response",
    "problems",
]


def json_response(data: object, *, status: int = 200, content_type: str = "application/json") -> web.Response:
    """Answer with ``data`` as JSON; UUIDs and datetimes become strings."""
    return web.Response(body=orjson.dumps(data, default=str), status=status, content_type=content_type, charset="utf-8")


def problem_response(error: CaravanError) -> web.Response:
    """Answer with the error's problem document."""
    return json_response(error.problem(), status=error.status, content_type="application/problem+json")


Problem = Callable[[web.Request, CaravanError | ValidationError], web.Response]

PROBLEM: web.AppKey[Problem] = web.AppKey("problem")
"""What an application answers to an error, where it is something else than the error's problem document."""


def _answer(request: web.Request, error: CaravanError | ValidationError) -> web.Response:
    own = request.app.get(PROBLEM)
    if own is not None:
        return own(request, error)
    return problem_response(invalid_parameters(error) if isinstance(error, ValidationError) else error)


def invalid_parameters(error: ValidationError) -> InvalidParametersError:
    """Say in Caravan's own error which fields of a message are wrong, without repeating their values."""
    wrong = {
        ".".join(str(part) for part in e["loc"]) or "body": "is required" if e["type"] == "missing" else e["msg"]
        for e in error.errors(include_input=False)
    }
    return InvalidParametersError("Input validation error", data=wrong)


def _translate(request: web.Request, error: web.HTTPException) -> web.Response:
    if error.status == 404:
        return _answer(request, UnknownPathError(data=request.path))
    if isinstance(error, web.HTTPMethodNotAllowed):
        response = _answer(request, MethodNotAllowedError())
        response.headers["Allow"] = ",".join(sorted({*error.allowed_methods, "OPTIONS"}))
        return response
    problem = {"type": "about:blank", "title": error.reason}
    return json_response(problem, status=error.status, content_type="application/problem+json")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem document. The one place where errors become answers."""
    try:
        return await handler(request)
    except CaravanError as error:
        if error.status >= 500:
            log.exception("request.failed", method=request.method, path=request.path)
        return _answer(request, error)
    except ValidationError as error:
        return _answer(request, error)
    except web.HTTPException as error:
        return error if error.status < 400 else _translate(request, error)
    except Exception:
        log.exception("request.crashed", method=request.method, path=request.path)
        return _answer(request, CaravanError())


def counted(service: str) -> Middleware:
    """Return a middleware that counts and times the requests of ``service`` by route, method and status."""

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        response = await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        REQUESTS.labels(service, request.method, route, response.status).inc()
        if response.content_type != "text/event-stream":  # a stream lasts as long as its reader stays
            DURATIONS.labels(service, route).observe(time.perf_counter() - began)
        return response

    return count
