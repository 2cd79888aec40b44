"""Find the pinned programs: on PATH, in the user's cache, as a release archive, or built from `tools/`."""

from caravan_deploy.programs.pins import CONSUL, CONSUL_TEMPLATE, NOMAD, PINS, VAULT, Pin
from caravan_deploy.programs.search import find_program, find_programs

__all__ = ["CONSUL", "CONSUL_TEMPLATE", "NOMAD", "PINS", "VAULT", "Pin", "find_program", "find_programs"]
