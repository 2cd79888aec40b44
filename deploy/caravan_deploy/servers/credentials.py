"""What a joined machine got from its invitation: the rights of one node, kept in files that only root reads."""

import json
from dataclasses import asdict, dataclass

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import Layout
from caravan_deploy.servers.tokens import write_secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """One machine's own: ``role_id`` and ``secret_id`` log in to Vault, ``consul`` is its token, ``gossip`` a key."""

    role_id: str
    secret_id: str
    consul: str
    gossip: str


def save_credentials(layout: Layout, credentials: Credentials) -> None:
    """Keep them in the machine's secrets."""
    write_secret(layout.secrets / "node.json", json.dumps(asdict(credentials), indent=2) + "\n")


def load_credentials(layout: Layout) -> Credentials:
    """Return what the machine got when it joined."""
    path = layout.secrets / "node.json"
    if not path.exists():
        raise SetupError(f"this machine has no credentials ({path}): join it with a token of `make invite`.")
    return Credentials(**json.loads(path.read_text(encoding="utf-8")))
