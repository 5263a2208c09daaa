"""YAML files of resources: read strictly, changed by `--set`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ultramarine.domain.conda_yaml import read_yaml
from ultramarine.domain.errors import InvalidInput

BYTES_MAX = 4 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says, and the folder that relative paths in it start from."""

    body: dict[str, Any]
    folder: Path


def read_document(file: Path | None, *, overrides: Sequence[str] = ()) -> Document:
    """Read `file` (None: an empty document) and apply `a.b=c` overrides. Raises `InvalidInput` with the line."""
    body: dict[str, Any] = {} if file is None else _mapping(file)
    for override in overrides:
        apply(body, override)
    return Document(body=body, folder=Path.cwd() if file is None else file.absolute().parent)


def apply(body: dict[str, Any], override: str) -> None:
    """Set what `a.b=c` or `list.0.b=c` says; the value is YAML: `3` is a number, `[a, b]` a list. `body` is changed."""
    field, equals, text = override.partition("=")
    steps = field.split(".")
    if not equals or not all(steps):
        raise InvalidInput(
            f"--set {override!r} is not of the form field=value.",
            hint="Example: --set inputs.trees=300 --set compute=local",
        )
    value = read_yaml(
        text,
        refused=lambda said: InvalidInput(
            f"--set {override!r}: {said}", hint="Quote a value that holds ': ' or begins with a sign."
        ),
    )
    place: Any = body
    for step in steps[:-1]:
        place = _entered(place, step, override)
    if isinstance(place, list):
        cast(list[Any], place)[_index(steps[-1], cast(list[Any], place), override)] = value
    else:
        place[steps[-1]] = value


def _entered(place: Any, step: str, override: str) -> Any:
    """What is at `step` of a mapping or list; a mapping gets one there where it has nothing to enter."""
    if isinstance(place, list):
        return cast(list[Any], place)[_index(step, cast(list[Any], place), override)]
    if not isinstance(place.get(step), dict | list):
        place[step] = {}
    return place[step]


def _index(step: str, among: Sequence[object], override: str) -> int:
    if not step.isdigit() or int(step) >= len(among):
        raise InvalidInput(
            f"--set {override!r}: {step!r} is no place in a list of {len(among)}.",
            hint="Places in a list count from 0: --set list.0=value",
        )
    return int(step)


def _mapping(file: Path) -> dict[str, Any]:
    content = read_yaml(
        read_text(file),
        refused=lambda said: InvalidInput(
            f"{file}: {said}", hint="Correct that line; docs/reference/yaml.md shows each file."
        ),
    )
    if not isinstance(content, Mapping):
        raise InvalidInput(f"{file} holds no fields (name: value).", hint="docs/reference/yaml.md shows each file.")
    return {str(key): value for key, value in content.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def read_text(file: Path) -> str:
    """A text file that the user named, or `InvalidInput` that says why it cannot be read."""
    try:
        content = file.read_bytes() if file.stat().st_size <= BYTES_MAX else None
    except OSError as error:
        raise InvalidInput(
            f"{file} cannot be read: {error.strerror or error}.", hint=f"Look for it: ls {file.parent}"
        ) from None
    if content is None:
        raise InvalidInput(
            f"{file} has more than {BYTES_MAX} bytes, too many for a description.",
            hint="Name the YAML file of the resource.",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is no UTF-8 text (byte {error.start}).", hint="Save it as UTF-8.") from None
