"""The images that this node's Docker holds."""

from caravan_agent_driver.docker.engine import Engine, Json


async def list_references(engine: Engine) -> list[str]:
    """Return the references (``name:tag``) of the images, sorted; images without a tag are left out."""
    rows = await engine.call("GET", "/images/json")
    return sorted({tag for row in rows for tag in _tags(row) if tag != "<none>:<none>"})


def _tags(row: Json) -> list[str]:
    return row.get("RepoTags") or []
