"""Secret keys in the clear, for as short as signing needs: Vault decrypts, a bounded cache remembers."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from caravan_common.failpoints import FailpointPair

LIFETIME_SECONDS = 300.0
CAPACITY = 10_000
DECRYPT = FailpointPair("manager.secrets.vault-decrypt")


class Cipher(Protocol):
    """What encrypts and decrypts: Vault's Transit, or a fake."""

    async def encrypt(self, plaintext: str) -> str:
        """Return the ciphertext."""
        ...

    async def decrypt_all(self, ciphertexts: Sequence[str]) -> list[str]:
        """Return the plaintexts, in order."""
        ...


class SecretKeys:
    """Decrypted secret keys by ciphertext: at most ``CAPACITY``, each for at most ``LIFETIME_SECONDS``.

    A revoked keypair is refused by its row before its secret is asked for, so the cache delays no revocation.
    """

    def __init__(self, cipher: Cipher, clock: Callable[[], float]) -> None:
        self._cipher = cipher
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def encrypt(self, secret_key: str) -> str:
        """Return what the database may hold of a secret key."""
        return await self._cipher.encrypt(secret_key)

    async def reveal(self, ciphertext: str) -> str:
        """Return one secret key."""
        known = self._known.get(ciphertext)
        if known is not None and known[0] > self._clock():
            return known[1]
        return (await self.reveal_all([ciphertext]))[0]

    async def reveal_all(self, ciphertexts: Sequence[str]) -> list[str]:
        """Return secret keys, in order; what the cache does not know costs one call of Vault together."""
        now = self._clock()
        missing = list(dict.fromkeys(c for c in ciphertexts if not self._is_fresh(c, now)))
        if missing:
            with DECRYPT:
                plaintexts = await self._cipher.decrypt_all(missing)
            for ciphertext, plaintext in zip(missing, plaintexts, strict=True):
                self._known[ciphertext] = (now + LIFETIME_SECONDS, plaintext)
        revealed = [self._known[ciphertext][1] for ciphertext in ciphertexts]
        while len(self._known) > CAPACITY:
            self._known.popitem(last=False)
        return revealed

    def _is_fresh(self, ciphertext: str, now: float) -> bool:
        entry = self._known.get(ciphertext)
        return entry is not None and entry[0] > now
