"""How an answer names the file that it carries. Pure."""

import mimetypes
import re
from urllib.parse import quote

_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]")


def content_disposition(name: str) -> str:
    """Return a header that saves under ``name``, whatever characters it has (RFC 6266).

    Old clients read the first form, in which strange characters are underscores; the others read the second.
    """
    return f"attachment; filename=\"{_UNSAFE.sub('_', name)}\"; filename*=UTF-8''{quote(name, safe='')}"


def content_type(name: str) -> str:
    """Return the media type that a name suggests."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
