"""Passwords: hashed and checked by argon2id in a thread, because that takes a twentieth of a second by design."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody has this password")
_AT_ONCE = asyncio.Semaphore(2)


async def hash_password(password: str) -> str:
    """Return the argon2id hash of a password."""
    async with _AT_ONCE:
        return await asyncio.to_thread(_HASHER.hash, password)


async def password_matches(password: str, password_hash: str | None) -> bool:
    """Say whether the password has this hash. Takes as long for an unknown user (None) as for a known one."""
    async with _AT_ONCE:
        return await asyncio.to_thread(_verify, password, password_hash)


def _verify(password: str, password_hash: str | None) -> bool:
    try:
        _HASHER.verify(password_hash or _NOBODY, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return password_hash is not None
