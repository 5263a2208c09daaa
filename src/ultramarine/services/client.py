"""The client as one file: what the command line and the SDK are made of, and nothing of the server, for instances."""

import functools
from pathlib import Path

from ultramarine.packing import packed, sources

_ROOT = Path(__file__).parents[1]
#: `supervision`: the commands about this machine are made with it.
_PARTS = ("__init__.py", "cli", "domain", "sdk", "supervision")


@functools.cache
def client_zip() -> bytes:
    """A package `ultramarine` of these parts alone: the same bytes for the same sources."""
    return packed(sources(_ROOT, parts=_PARTS))
