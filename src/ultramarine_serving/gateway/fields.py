"""Reading JSON with errors that name the field, the value seen and what would be right."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from ultramarine_serving.http.address import Address

TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  #: what a header's name may be, and a deployment's


class BadFile(Exception):
    """A file of ours is not as it should be. The text says which field and why."""


class Fields:
    """One JSON object; each field is asked for once, and what nobody asked for is an error."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise BadFile(f"{where} must be an object, it is {_shown(value)}.")
        self._left: dict[str, Any] = dict(cast("dict[str, Any]", value))
        self._where = where

    def _take(self, name: str, default: object) -> Any:
        if name in self._left:
            return self._left.pop(name)
        if default is REQUIRED:
            raise BadFile(f"{self._where} has no {name!r}.")
        return default

    def bad(self, name: str, value: object, wanted: str) -> BadFile:
        return BadFile(f"{self._where}.{name} must be {wanted}, it is {_shown(value)}.")

    def text(self, name: str, default: object = None) -> str:
        value = self._take(name, REQUIRED if default is None else default)
        if not isinstance(value, str):
            raise self.bad(name, value, "a string")
        return value

    def number(self, name: str, default: object = None, *, least: float = 0) -> float:
        value = self._take(name, REQUIRED if default is None else default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
            raise self.bad(name, value, f"a number of at least {least:g}")
        return float(value)

    def whole(self, name: str, default: object = None, *, least: int = 0) -> int:
        value = self._take(name, REQUIRED if default is None else default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.bad(name, value, f"a whole number of at least {least}")
        return value

    def items(self, name: str, default: object = None) -> list[Any]:
        value = self._take(name, REQUIRED if default is None else default)
        if not isinstance(value, list):
            raise self.bad(name, value, "a list")
        return cast("list[Any]", value)

    def texts(self, name: str, default: object = None) -> tuple[str, ...]:
        values = self.items(name, default)
        for value in values:
            if not isinstance(value, str):
                raise self.bad(name, value, "a list of strings")
        return tuple(values)

    def mapping(self, name: str, default: object = None) -> dict[str, Any]:
        value = self._take(name, REQUIRED if default is None else default)
        if not isinstance(value, dict):
            raise self.bad(name, value, "an object")
        return cast("dict[str, Any]", value)

    def optional_text(self, name: str) -> str | None:
        value = self._take(name, None)
        if value is not None and not isinstance(value, str):
            raise self.bad(name, value, "a string or null")
        return value

    def address(self, name: str) -> Address:
        text = self.text(name)
        try:
            return Address.parse(text)
        except ValueError as error:
            raise BadFile(f"{self._where}.{name}: {error}") from None

    def optional_address(self, name: str) -> Address | None:
        if self._left.get(name) is not None:
            return self.address(name)
        self._left.pop(name, None)
        return None

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise self.bad(name, value, "true or false")
        return value

    def done(self) -> None:
        """No field may be left: a misspelt one would otherwise be silently without effect."""
        if self._left:
            raise BadFile(f"{self._where} has unknown fields: {', '.join(sorted(self._left))}.")


REQUIRED = object()


def _shown(value: object) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def read_json(data: bytes, where: str) -> object:
    try:
        return json.loads(data)
    except ValueError as error:
        raise BadFile(f"{where} is no JSON: {error}.") from None
