"""The tree of errors: each class carries its HTTP status, problem type and error code; the facts are keywords.

The types and codes are those of Backend.AI's problem documents, which its clients read.
"""

from typing import ClassVar

PROBLEM_BASE = "https://api.backend.ai/probs/"


class CaravanError(Exception):
    """Anything that a caller can be told about.

    ``message`` is a sentence for people; ``facts`` are JSON values that become the ``data`` of the problem document.
    Where the protocol wants ``data`` that is no object, pass it as ``data``.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-server-error"
    title: ClassVar[str] = "Internal server error"
    code: ClassVar[str] = "backendai_generic_internal-error"

    def __init__(self, message: str | None = None, *, data: object = None, **facts: object) -> None:
        super().__init__(message or self.title)
        self.message = message
        self.data = facts if data is None else data

    def problem(self) -> dict[str, object]:
        """Return the problem document (RFC 9457 with Backend.AI's additional members)."""
        document: dict[str, object] = {
            "type": PROBLEM_BASE + self.slug,
            "title": self.title,
            "error_code": self.code,
        }
        if self.message is not None:
            document["msg"] = self.message
        if self.data:
            document["data"] = self.data
        return document


class InvalidParametersError(CaravanError):
    """A parameter is missing, of the wrong type, or out of range."""

    status = 400
    slug = "invalid-api-params"
    title = "Missing or invalid API parameters."
    code = "api_parsing_invalid-parameters"


class InvalidAuthParametersError(CaravanError):
    """The authorization headers are missing, malformed or stale."""

    status = 400
    slug = "invalid-auth-params"
    title = "Missing or invalid authorization parameters."
    code = "auth_access_invalid-parameters"


class UnsignedRequestError(InvalidAuthParametersError):
    """A request without a usable date, as one that was not signed at all."""


class BadRequestError(CaravanError):
    """The request makes no sense, though each of its parameters may."""

    status = 400
    slug = "generic-bad-request"
    title = "Bad request."
    code = "api_generic_bad-request"


class UnsupportedVersionError(BadRequestError):
    """The client speaks a version of the protocol that is unknown or too old."""


class AuthorizationFailedError(CaravanError):
    """Wrong signature, unknown key, or wrong password."""

    status = 401
    slug = "auth-failed"
    title = "Credential/signature mismatch."
    code = "user_auth_unauthorized"


class ForbiddenError(CaravanError):
    """The caller is known and may not do this."""

    status = 403
    slug = "generic-forbidden"
    title = "Forbidden operation."
    code = "api_access_forbidden"


class InsufficientPrivilegeError(ForbiddenError):
    """The caller lacks a right that an operator gives."""

    slug = "insufficient-privilege"
    title = "Insufficient privilege."


class NotFoundError(CaravanError):
    """The thing named in the request does not exist, or the caller may not know that it does."""

    status = 404
    slug = "object-not-found"
    code = "backendai_read_not-found"
    title = "No such object."
    object_name: ClassVar[str] = "object"

    def problem(self) -> dict[str, object]:
        return super().problem() | {"title": f"No such {self.object_name}."}


class UnknownPathError(CaravanError):
    """No route has this path."""

    status = 404
    slug = "url-not-found"
    title = "Unknown URL path."
    code = "api_read_not-found"


class MethodNotAllowedError(CaravanError):
    """The path exists, but not with this method."""

    status = 405
    slug = "method-not-allowed"
    title = "HTTP Method Not Allowed."
    code = "api_access_method-not-allowed"


class ConflictError(CaravanError):
    """The request contradicts what exists."""

    status = 409
    slug = "generic-conflict"
    title = "Conflict."
    code = "backendai_generic_conflict"


class QuotaExceededError(CaravanError):
    """A policy or a limit of resources forbids the request."""

    status = 412
    slug = "quota-exceeded"
    title = "You have reached your resource limit."
    code = "backendai_check_limit-exceeded"


class TooManyRequestsError(CaravanError):
    """The caller went over its rate."""

    status = 429
    slug = "rate-limit-exceeded"
    title = "You have reached your API query rate limit."
    code = "api_access_rate-limit-exceeded"


class UnavailableError(CaravanError):
    """A service that this one needs does not answer; trying again later makes sense."""

    status = 503
    slug = "service-unavailable"
    title = "Service unavailable."
    code = "backendai_generic_unavailable"


class ConfigurationError(CaravanError):
    """A configuration file is missing, unreadable or wrong; the process cannot start."""

    slug = "misconfiguration"
    title = "Misconfiguration."
    code = "backendai_setup_invalid-parameters"
