"""What every door of the storage proxy has at hand."""

from importlib.metadata import version

from aiohttp import web

from caravan_common.http import json_response
from caravan_storage.wiring import Storage

STORAGE = web.AppKey("storage", Storage)
VERSION = version("caravan")


async def health(_request: web.Request) -> web.Response:
    """Say that the process answers."""
    return json_response({"status": "healthy", "version": VERSION})
