"""How a process gets its configuration: one TOML file, checked against a pydantic model before anything starts."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from caravan_common.errors import ConfigurationError


class Section(BaseModel):
    """A table of a configuration file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSection(Section):
    """How a process logs: ``json`` for machines, ``console`` for people."""

    level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    format: str = Field(default="json", pattern="^(json|console)$")


class RedisSection(Section):
    """Where Redis is. ``stream`` is the key of the event streams that the agents write (`wire/events.py`).

    With ``ca_file`` the connection is TLS, and Redis must show a certificate of that CA for ``host``.
    """

    host: str
    port: int = Field(ge=1, le=65535)
    password: SecretStr
    ca_file: Path | None = None
    stream: str = "caravan:events"


Model = TypeVar("Model", bound=BaseModel)


def load_config(model: type[Model], path: Path) -> Model:
    """Read and check the TOML file at ``path``. Raises ConfigurationError that names the file and each bad key."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigurationError(f"cannot read {path}: {err.strerror}") from err
    except tomllib.TOMLDecodeError as err:
        raise ConfigurationError(f"{path} is not TOML: {err}") from err
    try:
        return model.model_validate(raw)
    except ValidationError as err:
        wrong = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in err.errors(include_input=False))
        raise ConfigurationError(f"{path}: {wrong}") from err
