"""The first admin: credentials made at random once, brought to the manager by a job, kept in a file to `source`."""

import hashlib
import json
import os
import secrets
import string
from dataclasses import asdict, dataclass

from caravan_deploy.api import Api
from caravan_deploy.layout import Layout, client_folder
from caravan_deploy.platform.image import KernelImage
from caravan_deploy.platform.jobs import BOOTSTRAP, Platform
from caravan_deploy.servers.tokens import write_secret

SEED = "/v1/caravan/data/bootstrap"
FORGET_SEED = "/v1/caravan/metadata/bootstrap"
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Admin:
    """The first admin and its keypair."""

    email: str
    username: str
    password: str
    access_key: str
    secret_key: str


def load_admin(layout: Layout) -> Admin:
    """Return the stack's first admin; its credentials are made the first time."""
    path = layout.secrets / "admin.json"
    if not path.exists():
        write_secret(path, json.dumps(asdict(_new_admin()), indent=2) + "\n")
    return Admin(**json.loads(path.read_text(encoding="utf-8")))


def write_admin_file(layout: Layout, admin: Admin) -> None:
    """Write `admin.env`, which sets up the official client in a shell that sources it; only its owner may read it."""
    values = {
        "BACKEND_ENDPOINT": layout.endpoint,
        "BACKEND_ENDPOINT_TYPE": "api",
        "BACKEND_ACCESS_KEY": admin.access_key,
        "BACKEND_SECRET_KEY": admin.secret_key,
    }
    lines = [f"# The first admin: {admin.email}, password {admin.password}", f'export PATH="$PATH:{client_folder()}"']
    lines += [f"export {name}={value}" for name, value in values.items()]
    write_secret(layout.admin_file, "\n".join(lines) + "\n")
    if os.geteuid() == 0 and "SUDO_UID" in os.environ:
        os.chown(layout.admin_file, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def bootstrap(layout: Layout, platform: Platform, vault: Api, admin: Admin, image: KernelImage) -> None:
    """Run the job that makes the admin and registers the image, unless it ran with the same seed before."""
    seed = seed_text(admin, image)
    done = layout.secrets / "bootstrap.sha256"
    fingerprint = hashlib.sha256(seed.encode()).hexdigest()
    if done.exists() and done.read_text(encoding="ascii").strip() == fingerprint:
        return
    vault.call("POST", SEED, {"data": {"seed": seed}})
    try:
        platform.forget(BOOTSTRAP)
        platform.submit(BOOTSTRAP)
        platform.wait_until_complete(BOOTSTRAP)
    finally:
        vault.call("DELETE", FORGET_SEED)
    write_secret(done, fingerprint + "\n")


def seed_text(admin: Admin, image: KernelImage) -> str:
    """Return the seed as TOML: strings as in JSON, which TOML's basic strings contain."""
    described = {name: value for name, value in asdict(image).items() if name != "labels"}
    lines = ["[admin]", *_assignments(asdict(admin))]
    lines += ["[[images]]", *_assignments(described), "[images.labels]", *_assignments(image.labels)]
    lines += ["[defaults]", 'scaling_group = "default"', 'volume_host = "local:volume1"']
    return "\n".join(lines) + "\n"


def _new_admin() -> Admin:
    capitals = string.ascii_uppercase + string.digits
    return Admin(
        email="admin@caravan.local",
        username="admin",
        password=_random(_LETTERS, 20),
        access_key="AKIA" + _random(capitals, 16),
        secret_key=_random(_LETTERS, 40),
    )


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _assignments(values: dict[str, object] | dict[str, str]) -> list[str]:
    return [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in values.items()]
