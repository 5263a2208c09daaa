"""The client as one file: what the command line and the SDK are made of, and nothing of the server, for instances."""

import functools
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PARTS = ("cli", "domain", "sdk", "supervision")  #: `supervision`: the commands about this machine are made with it
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest that a zip can say: equal sources give equal bytes


@functools.cache
def client_zip() -> bytes:
    """A package `ultramarine` of these parts alone: the same bytes for the same sources."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for source in _sources():
            member = zipfile.ZipInfo(f"{_ROOT.name}/{source.relative_to(_ROOT).as_posix()}", date_time=_EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, source.read_bytes())
    return packed.getvalue()


def _sources() -> Iterator[Path]:
    yield _ROOT / "__init__.py"
    for part in _PARTS:
        yield from sorted((_ROOT / part).rglob("*.py"))
