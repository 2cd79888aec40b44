"""The programs of the stack and the versions that Caravan is tested with; `tools/<name>/go.mod` pins the same."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pin:
    """One program at one version; ``module`` is its Go module, ``tags`` are build tags."""

    name: str
    version: str
    module: str
    tags: str = ""
    minutes: int = 5
    """About how long a build takes on two cores, for people who wait."""

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}"


CONSUL = Pin("consul", "1.22.5", "github.com/hashicorp/consul")
VAULT = Pin("vault", "1.21.1", "github.com/hashicorp/vault", tags="minimal", minutes=6)
NOMAD = Pin("nomad", "1.10.5", "github.com/hashicorp/nomad")
CONSUL_TEMPLATE = Pin("consul-template", "0.41.1", "github.com/hashicorp/consul-template", minutes=1)
PINS = (CONSUL, VAULT, NOMAD, CONSUL_TEMPLATE)
