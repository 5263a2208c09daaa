"""Errors are part of the interface: each kind has a title, a status, a page, and says what to do next."""

import ast
from pathlib import Path

import pytest
from tools.write_errors_reference import PAGE, kinds, page

from ultramarine.api.problem import status_of
from ultramarine.domain.errors import AlreadyExists, IllegalTransition, NotFound, StaleWrite, UltramarineError, code_of

SRC = Path(__file__).resolve().parents[2] / "src" / "ultramarine"


@pytest.mark.parametrize("kind", kinds(), ids=code_of)
def test_each_kind_has_a_title_a_status_and_a_heading(kind: type[UltramarineError]) -> None:
    assert kind.title != UltramarineError.title
    assert 400 <= status_of(kind) < 600
    assert status_of(kind) != 500, "500 is for bugs"
    assert f"\n## {code_of(kind)}\n" in PAGE.read_text(encoding="utf-8")


def test_the_page_of_errors_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python tools/write_errors_reference.py"


def test_errors_that_make_their_own_hint_have_one() -> None:
    made = [
        NotFound("job", "x"),
        AlreadyExists("job", "x"),
        IllegalTransition("job", "Queued", "ended", allowed=[]),
        StaleWrite("job", "x"),
    ]
    assert all(error.hint for error in made)


def test_nowhere_is_an_empty_hint_given() -> None:
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                hints = [k.value for k in node.exc.keywords if k.arg == "hint"]
                empty = [hint for hint in hints if isinstance(hint, ast.Constant) and not hint.value]
                assert not empty, f"{path.relative_to(SRC)}:{node.lineno}"
