"""The executable schema: all subjects' `.graphql` files with their resolvers."""

from functools import cache
from pathlib import Path

from ariadne import make_executable_schema
from graphql import GraphQLSchema

from caravan_manager.api.graphql import base, explanations, images, nodes, openings, people, quotas, sessions, vfolders


@cache
def make_schema() -> GraphQLSchema:
    """Make the schema, once in a process: it takes some tens of milliseconds."""
    return make_executable_schema(
        [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.graphql"))],
        *base.SCALARS,
        *people.BINDABLES,
        *sessions.BINDABLES,
        *explanations.BINDABLES,
        *vfolders.BINDABLES,
        *images.BINDABLES,
        *nodes.BINDABLES,
        *openings.BINDABLES,
        *quotas.BINDABLES,
    )
