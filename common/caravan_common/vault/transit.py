"""Encrypt and decrypt small secrets with Vault's Transit engine; the key never leaves Vault."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
# hvac carries no types; what it answers is given a type here.

import asyncio
import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hvac
from hvac.exceptions import VaultError
from requests import RequestException

from caravan_common.errors import UnavailableError

TIMEOUT_SECONDS = 5
WAIT_SECONDS = 10
"""How long one call may take, waiting for a thread included."""
THREADS = 4


class Transit:
    """One Transit key in one Vault. The token file is read at each use: Nomad renews and replaces it."""

    def __init__(self, address: str, token_file: Path, key: str) -> None:
        self._address = address
        self._token_file = token_file
        self._key = key
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="vault")  # a silent Vault holds up nothing else

    async def encrypt(self, plaintext: str) -> str:
        """Return Vault's ciphertext of the text (``vault:v1:…``). Raises UnavailableError."""
        encoded = base64.b64encode(plaintext.encode()).decode()
        answer = await self._ask(lambda t: t.encrypt_data(name=self._key, plaintext=encoded))
        return str(answer["data"]["ciphertext"])

    async def decrypt_all(self, ciphertexts: Sequence[str]) -> list[str]:
        """Return the plaintexts, in order, with one call. Raises UnavailableError."""
        batch = [{"ciphertext": ciphertext} for ciphertext in ciphertexts]
        answer = await self._ask(lambda t: t.decrypt_data(name=self._key, batch_input=batch, ciphertext=""))
        results = answer["data"]["batch_results"]
        return [base64.b64decode(result["plaintext"]).decode() for result in results]

    async def _ask(self, call: Any) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            token = self._token_file.read_text(encoding="utf-8").strip()
            client = hvac.Client(url=self._address, token=token, timeout=TIMEOUT_SECONDS)
            answer: dict[str, Any] = call(client.secrets.transit)
            return answer

        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except (VaultError, RequestException, OSError) as err:
            raise UnavailableError("Vault does not answer; secrets of keypairs cannot be read now") from err
