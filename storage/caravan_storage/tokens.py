"""The signed tokens that carry a user's right to one transfer from the manager's request to the client's."""

import time
from collections.abc import Callable
from typing import Literal
from uuid import UUID

import jwt
from jwt.types import Options
from pydantic import BaseModel, ConfigDict, ValidationError

from caravan_common.errors import AuthorizationFailedError, ForbiddenError, InvalidAuthParametersError
from caravan_common.wire.storage import FolderRef

Operation = Literal["upload", "download"]

_ALGORITHM = "HS256"


class Claims(BaseModel):
    """What a token says; the names are Backend.AI's (`api.md` 4.1)."""

    model_config = ConfigDict(frozen=True)

    op: Operation
    volume: str
    vfid: str
    """``user:<uuid>/<hex>``: the folder's quota scope and its ID."""
    relpath: str
    size: int = 0
    session: str = ""
    archive: bool = False
    exp: int

    def folder(self) -> FolderRef:
        """Return the folder that the transfer is for."""
        scope, _, folder = self.vfid.partition("/")
        return FolderRef(volume=self.volume, quota_scope=scope, folder=UUID(folder))


def vfid(ref: FolderRef) -> str:
    """Return how tokens name a folder."""
    return f"{ref.quota_scope}/{ref.folder.hex}"


class Tokens:
    """Signs and reads tokens with one key. ``now`` tells epoch seconds."""

    def __init__(self, key: str, upload_seconds: int, download_seconds: int, now: Callable[[], float] = time.time):
        self._key = key
        self._seconds: dict[Operation, int] = {"upload": upload_seconds, "download": download_seconds}
        self._now = now

    def for_upload(self, ref: FolderRef, path: str, size: int, session: str) -> str:
        """Return the right to send one file of ``size`` bytes."""
        return self._sign({"op": "upload", **_place(ref, path), "size": size, "session": session}, "upload")

    def for_download(self, ref: FolderRef, path: str, *, archive: bool) -> str:
        """Return the right to fetch one file, or a directory as an archive."""
        return self._sign({"op": "download", **_place(ref, path), "archive": archive}, "download")

    def _sign(self, claims: dict[str, object], operation: Operation) -> str:
        expiry = int(self._now()) + self._seconds[operation]
        return jwt.encode(claims | {"exp": expiry}, self._key, algorithm=_ALGORITHM)  # pyright: ignore[reportUnknownMemberType]

    def read(self, token: str, operation: Operation) -> Claims:
        """Return what a token says.

        Raises InvalidAuthParametersError without a token, AuthorizationFailedError for one that is forged or expired,
        ForbiddenError for one that is good for something else.
        """
        if not token:
            raise InvalidAuthParametersError("the query parameter 'token' is missing")
        claims = self._verified(token)
        if claims.exp <= self._now():
            raise AuthorizationFailedError("the token has expired; ask for a new one")
        if claims.op != operation:
            raise ForbiddenError(f"the token is good for {claims.op}, not for {operation}")
        return claims

    def _verified(self, token: str) -> Claims:
        try:
            claims = Claims.model_validate(self._decoded(token))
            claims.folder()
        except (jwt.InvalidTokenError, ValidationError, ValueError) as err:
            raise AuthorizationFailedError("the token is not one of this storage proxy") from err
        return claims

    def _decoded(self, token: str) -> object:
        checks: Options = {"verify_exp": False}  # by our own clock, and with an answer of its own
        return jwt.decode(token, self._key, [_ALGORITHM], checks)  # pyright: ignore[reportUnknownMemberType]


def _place(ref: FolderRef, path: str) -> dict[str, object]:
    return {"volume": ref.volume, "vfid": vfid(ref), "relpath": path}
