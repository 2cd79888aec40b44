"""The secrets that platform jobs find in Vault: made once at random, never changed by a later run."""

import secrets

from caravan_deploy.api import Api

FIELDS = {
    "postgres": ("password",),
    "redis": ("password",),
    "storage": ("manager_token",),
    "storage-signing": ("signing_key",),
    "agent": ("token",),
}


def make_platform_secrets(vault: Api) -> None:
    """Write `caravan/platform/*`; what is there stays, a field that is missing is added."""
    for name, wanted in FIELDS.items():
        found = vault.find(f"/v1/caravan/data/platform/{name}")
        held: dict[str, str] = found["data"]["data"] if found else {}
        missing = {field: secrets.token_hex(24) for field in wanted if field not in held}
        if missing:
            vault.call("POST", f"/v1/caravan/data/platform/{name}", {"data": held | missing})
