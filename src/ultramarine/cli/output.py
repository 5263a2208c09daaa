"""Data on stdout: a table for people, JSON or YAML for programs, TSV for the shell."""

import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from ultramarine.domain.errors import InvalidInput

FORMATS = ("table", "json", "yaml", "tsv")
WIDTH_MIN = 6
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "·")  # but tab and line feed
WIDTH_WITHOUT_TERMINAL = 200
GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """`field` may be a path, `nodes.total`; `read` makes a text of the value."""

    title: str
    field: str
    read: "Callable[[Any], str] | None" = None


def show(view: Any, columns: Sequence[Column], *, form: str | None, query: str | None) -> None:
    """`view`: an object, or a list of objects (then `columns` are its table)."""
    data = view
    form = form_of(form)
    if query:
        data, columns = _picked(data, query), ()
    if form == "json":
        _write(json.dumps(data, indent=2, ensure_ascii=False))
    elif form == "yaml":
        # imported late: json and tables do without it
        import yaml

        _write(yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip())
    elif form == "tsv":
        _write(tsv(data, columns))
    elif isinstance(data, list):
        _write(table(cast(list[Any], data), columns, width=terminal_width()))
    else:
        _write(details(data, width=terminal_width()))


def form_of(given: str | None) -> str:
    return given or ("table" if sys.stdout.isatty() else "json")


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _picked(data: Any, query: str) -> Any:
    # imported late: few commands are given a query
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        return jmespath.search(query, data)
    except JMESPathError as error:
        raise InvalidInput(
            f"--query {query!r}: {error}", hint="Example: --query \"[?status=='Failed'].name\""
        ) from None


def table(rows: Sequence[Any], columns: Sequence[Column], *, width: int) -> str:
    """Lines that fit `width`: the widest columns give way, and what is cut ends in an ellipsis.

    The first column holds what is typed in the next command: it is never cut.
    """
    if not rows:
        return ""
    if not all(isinstance(row, Mapping) for row in rows):
        return "\n".join(text(row) for row in rows)
    columns = columns or [Column(str(name), str(name)) for name in rows[0]]
    cells = [
        [column.title.upper() for column in columns],
        *([_cell(row, column) for column in columns] for row in rows),
    ]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    room = width - widths[0] - len(GAP) * (len(widths) - 1)
    while sum(widths[1:]) > room and max(widths[1:]) > WIDTH_MIN:
        widths[widths.index(max(widths[1:]), 1)] -= 1
    return "\n".join(
        GAP.join(_fitted(cell, w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def tsv(data: Any, columns: Sequence[Column]) -> str:
    """A line for each row, its values with tabs between, no heads; of a list the columns of its table.

    Numbers and times are as in JSON, null is empty, and what is nested is JSON. A tab or line feed within a value is a
    space: one line is one row, whatever people have written.
    """
    rows = cast("list[Any]", data) if isinstance(data, list) else [data]
    return "\n".join("\t".join(_raw(value) for value in _values(row, columns)) for row in rows)


def _values(row: Any, columns: Sequence[Column]) -> Sequence[Any]:
    if isinstance(row, Mapping):
        values = cast("Mapping[str, Any]", row)
        return [_found(values, column) for column in columns] if columns else list(values.values())
    return cast("list[Any]", row) if isinstance(row, list) else [row]


def _raw(value: Any) -> str:
    if value is None:
        return ""
    given = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return plain(" ".join(given.splitlines()).replace("\t", " "))


def _fitted(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else cell[: width - 1] + "…"


def _cell(row: Mapping[str, Any], column: Column) -> str:
    return " ".join((column.read or text)(_found(row, column)).split())


def _found(row: Mapping[str, Any], column: Column) -> Any:
    value: Any = row
    for step in column.field.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return value  # pyright: ignore[reportUnknownVariableType]


def terminal_width() -> int:
    """Columns; without a terminal, enough for anything that is not prose."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or WIDTH_WITHOUT_TERMINAL
    except (OSError, ValueError):
        return WIDTH_WITHOUT_TERMINAL


def wrapped(line: str, *, width: int, indent: str = "") -> list[str]:
    """A line of prose as lines that fit; words stay whole, so that they can be copied."""
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    ) or [""]


def details(view: Any, *, width: int = 200) -> str:
    """One thing: a line for each field that has a value, what is nested is indented."""
    if not isinstance(view, Mapping):
        return text(view)
    return "\n".join(_lines(view, indent="", width=width))  # pyright: ignore[reportUnknownArgumentType]


def _lines(view: Mapping[str, Any], *, indent: str, width: int) -> Iterable[str]:
    shown = {str(name): value for name, value in view.items() if value not in (None, "", [], {})}
    hang = indent + " " * (max((len(name) for name in shown), default=0) + 2)
    for name, value in shown.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}"
            yield from _lines(value, indent=indent + "  ", width=width)  # pyright: ignore[reportUnknownArgumentType]
        else:
            lines = [
                each for line in text(value).splitlines() for each in wrapped(line, width=max(20, width - len(hang)))
            ]
            yield f"{indent}{name}".ljust(len(hang)) + "".join(lines[:1])
            yield from (hang + line for line in lines[1:])


def plain(words: str) -> str:
    """Without control characters: what other people wrote must not steer the terminal."""
    return words.translate(_CONTROLS)


def text(value: Any) -> str:
    """A value in a table or a line."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case str():
            return plain(value)
        case list():
            return ", ".join(text(each) for each in value)  # pyright: ignore[reportUnknownVariableType]
        case dict():
            return ", ".join(f"{name}={text(each)}" for name, each in value.items() if each not in (None, ""))  # pyright: ignore[reportUnknownVariableType]
        case _:
            return str(value)


def bare(value: Any) -> str:
    """A reference without the `azureml:` that it may begin with."""
    return text(value).removeprefix("azureml:")


def size(value: Any) -> str:
    """Bytes for people: `1.5 GiB`."""
    if not isinstance(value, int | float):
        return ""
    amount, units = float(value), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def used(now: Mapping[str, float], peak: Mapping[str, float]) -> str:
    """What a rank or a replica uses; in parentheses its peak."""
    cpu = f"{now.get('cpu_percent', 0):.0f} % of a CPU ({peak.get('cpu_percent', 0):.0f} %)"
    memory = f"{size(now.get('memory_bytes', 0))} of memory ({size(peak.get('memory_bytes', 0))})"
    return (
        f"{cpu}, {memory}, {size(now.get('disk_read_bytes', 0))} read, {size(now.get('disk_written_bytes', 0))} written"
    )


def ago(value: Any) -> str:
    """How long ago a time stamp was: `3 min`."""
    return "" if not isinstance(value, str) or not value else _length(-_seconds_to(value))


def ahead(value: Any) -> str:
    """How far ahead a time stamp is: `in 3 min`."""
    return "" if not isinstance(value, str) or not value else f"in {_length(_seconds_to(value))}"


def _seconds_to(stamp: str) -> float:
    return (datetime.fromisoformat(stamp) - datetime.now(UTC)).total_seconds()


def _length(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(max(0.0, seconds))} s"
