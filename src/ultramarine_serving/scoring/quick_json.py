"""JSON read by msgspec where it is there, and by Python's own `json` where it is not, or refuses.

What both read is equal. msgspec refuses some of what Python takes (NaN, 1e400, half a surrogate), and says why in other
words: so Python has the last word, and bodies and their refusals do not depend on what is installed.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

_OLDEST = (0, 17)  # those before make floats of long whole numbers
_WRITTEN_MAX = 65_536  # bytes of columns that are kept: somebody may write many blanks


def _msgspec() -> Any:
    """The environment's own, else ours; None where there is none or only an old one."""
    try:
        found = importlib.import_module("msgspec")
    except ImportError:
        return None
    return found if tuple(int(part) for part in found.__version__.split(".")[:2]) >= _OLDEST else None


msgspec: Any = _msgspec()
_REFUSED = (msgspec.MsgspecError, ValueError, RecursionError) if msgspec is not None else ()


def loads(text: bytes) -> Any:
    """The document.

    Raises:
        ValueError: it is not UTF-8 (UnicodeDecodeError) or not JSON.
        RecursionError: it is nested too deeply.
    """
    if msgspec is not None:
        try:
            return msgspec.json.decode(text)
        except _REFUSED:
            pass
    return json.loads(str(text, "utf-8"))


class TableReader:
    """Reads bodies of one form only, the one that nearly all clients of a model send, in a quarter of the time.

    It is `{"input_data": {"columns": […], "data": [[…], …]}}`, or `dataframe_split`, with or without `index`, where the
    columns are just those expected, in their order. As a client writes them the same way each time, they are not read
    again while they are written as before.
    """

    def __init__(self, keys: Sequence[str], names: Sequence[str], *, are_floats: bool) -> None:
        self._names, self._width = list(names), len(names)
        self._written = b""  # the columns, as they were written last
        self._decode = _decoder(keys, float if are_floats else Any)

    def rows(self, body: bytes) -> list[list[object]] | None:
        """The table's rows, all as wide as there are columns; None for a body of any other form, or of no sense."""
        if self._decode is None:
            return None
        try:
            read = self._decode(body)
        except _REFUSED:
            return None
        if len(read) != 1:
            return None
        (table,) = read.values()
        rows: list[list[object]] = table.data
        for row in rows:
            if len(row) != self._width:
                return None
        return rows if self._are_expected(bytes(table.columns)) else None

    def _are_expected(self, columns: bytes) -> bool:
        if columns == self._written:
            return True
        try:
            if loads(columns) != self._names:
                return False
        except (ValueError, RecursionError):
            return False
        if len(columns) <= _WRITTEN_MAX:
            self._written = columns
        return True


def _decoder(keys: Sequence[str], cell: Any) -> Callable[[bytes], Any] | None:
    """Refuses whatever is not of that form."""
    if msgspec is None:
        return None
    fields = [("columns", msgspec.Raw), ("data", list[list[cell]]), ("index", Any, None)]
    table = msgspec.defstruct("Table", fields, forbid_unknown_fields=True)
    return msgspec.json.Decoder(dict[Literal[tuple(keys)], table]).decode
