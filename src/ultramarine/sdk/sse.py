"""Server-sent events, read from an answer's lines."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`kind` is the wire's `event`; `id` names the place in the stream after it ("" where it names none)."""

    kind: str
    data: dict[str, Any]
    id: str = ""


def parse(lines: Iterable[bytes]) -> Iterator[Event]:
    """Whole events only: one that was cut off is not given, the server sends it again."""
    kind, id, data = "message", "", list[str]()
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data:
                yield Event(kind=kind, data=json.loads("\n".join(data)), id=id)
            kind, id, data = "message", "", []
        elif field == "event":
            kind = value
        elif field == "id":
            id = value
        elif field == "data":
            data.append(value)
