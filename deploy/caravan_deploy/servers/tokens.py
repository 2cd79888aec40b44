"""The tokens that a stack makes for itself, once: written before they are used, so that every step can be repeated."""

import base64
import json
import secrets
import uuid
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path

from caravan_deploy.layout import Layout

_NAMESPACE = uuid.UUID("6d1f5a7e-6f0f-4d57-9a0c-0f5f3a1d1c11")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Secret IDs, and the keys of Consul's and Nomad's gossip between machines.

    The two management tokens are for the deploy room and its operator; no service holds one.
    """

    consul_management: str
    consul_agent: str
    consul_nomad: str
    consul_vault: str
    nomad_management: str
    consul_gossip: str = field(metadata={"bytes": 32})
    nomad_gossip: str = field(metadata={"bytes": 32})


def accessor_of(secret: str) -> str:
    """Return the accessor that belongs to a token of ours: the same one each time, not to be turned back."""
    return str(uuid.uuid5(_NAMESPACE, secret))


def write_secret(path: Path, content: str) -> bool:
    """Write a file that only its owner may read, in one move. Says whether it held anything else before."""
    changed = not path.exists() or path.read_text(encoding="utf-8") != content
    partial = path.with_suffix(path.suffix + ".partial")
    partial.touch(mode=0o600)
    partial.chmod(0o600)
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)
    return changed


def load_tokens(layout: Layout) -> Tokens:
    """Return the stack's tokens; what an older version of this room did not make is made now."""
    path = layout.secrets / "tokens.json"
    held: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    tokens = Tokens(*(held.get(token.name) or _made(token) for token in fields(Tokens)))
    if asdict(tokens) != held:
        write_secret(path, json.dumps(asdict(tokens), indent=2) + "\n")
    return tokens


def _made(token: "Field[str]") -> str:
    if "bytes" in token.metadata:
        return base64.b64encode(secrets.token_bytes(token.metadata["bytes"])).decode()
    return str(uuid.uuid4())
