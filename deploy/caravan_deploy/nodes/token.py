"""The one line that a machine joins with: where the server's Vault is, whom to believe there, and what to show once."""

import base64
import binascii
import json
from dataclasses import asdict, dataclass, field

from caravan_deploy.errors import SetupError

LONGEST = 4096


@dataclass(frozen=True, slots=True)
class JoinToken:
    """``fingerprint`` is the SHA-256 of the authority's certificate, ``wrapped`` a wrapping token of Vault."""

    server: str
    port: int
    fingerprint: str
    wrapped: str = field(repr=False)

    def text(self) -> str:
        """Return the token as one line without spaces."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()


def read_token(text: str) -> JoinToken:
    """Return the token that ``text`` writes. Raises SetupError for any other text."""
    try:
        raw = json.loads(base64.b64decode(text.strip()[:LONGEST], altchars=b"-_", validate=True))
        token = JoinToken(str(raw["server"]), int(raw["port"]), str(raw["fingerprint"]), str(raw["wrapped"]))
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise SetupError("that is no join token: `make invite NODE=<name>` on the server prints one.") from error
    return token
