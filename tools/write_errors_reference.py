"""Write docs/reference/errors.md from the errors of the server; a test holds the page to it."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from ultramarine.api.problem import status_of
from ultramarine.domain import errors
from ultramarine.domain.errors import UltramarineError, code_of
from ultramarine.server import parts

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "errors.md"
ASSEMBLED = parts.put_together  #: importing it brings every kind of error with it


def kinds(of: type[UltramarineError] = UltramarineError) -> list[type[UltramarineError]]:
    """Every kind of error that the server can answer with."""
    found = {kind for child in of.__subclasses__() for kind in (child, *kinds(child))}
    return sorted((kind for kind in found if kind.__module__.startswith("ultramarine.")), key=code_of)


def page() -> str:
    return "\n".join([*_head(), *(line for kind in kinds() for line in _section(kind)), ""])


def _head() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield "Answers that are no success are `application/problem+json`: `title` and `code` say what kind of error it is,"
    yield "`detail` what and why, `hint` what to do next. The page is made by `tools/write_errors_reference.py`."


def _section(kind: type[UltramarineError]) -> Iterator[str]:
    yield ""
    yield f"## {code_of(kind)}"
    yield ""
    yield f"{kind.title}. HTTP status {status_of(kind)}. {_meaning(kind)}"


def _meaning(kind: type[UltramarineError]) -> str:
    """What its docstring says, or the tree at the top of `domain/errors.py`, or else of what it is a kind."""
    if (said := kind.__dict__.get("__doc__")) is not None:
        return inspect.cleandoc(said).partition("\n\n")[0].replace("\n", " ")
    found = re.search(rf"[├└]── {kind.__name__} +(.+)", errors.__doc__ or "")
    if found is None:
        return f"A kind of [{code_of(kind.__bases__[0])}](#{code_of(kind.__bases__[0])})."
    return f"{found[1][0].upper()}{found[1][1:]}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
