"""Passwords: hashed and checked by argon2id in threads, because that takes a twentieth of a second by design."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

_HASHER = PasswordHasher()
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="passwords")


async def hash_password(password: str) -> str:
    """Return the argon2id hash of a password."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _HASHER.hash, password)


async def password_matches(password: str, password_hash: str | None) -> bool:
    """Say whether the password has this hash. Takes as long for an unknown user (None) as for a known one."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _verify, password, password_hash)


@cache
def _nobodys() -> str:
    return _HASHER.hash("nobody has this password")


def _verify(password: str, password_hash: str | None) -> bool:
    nobodys = _nobodys()  # asked for by all: made once, it takes as long as a check
    try:
        _HASHER.verify(password_hash or nobodys, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return password_hash is not None
