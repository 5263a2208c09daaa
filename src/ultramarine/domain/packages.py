"""Locked packages as people look at them: what differs between two sets, and a set as other tools' files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Format = Literal["requirements", "conda", "dockerfile"]
FORMATS: tuple[Format, ...] = ("requirements", "conda", "dockerfile")
_MARK = "ULTRAMARINE_REQUIREMENTS"  # ends the text inside a Dockerfile


@dataclass(frozen=True, slots=True)
class Difference:
    """A package whose version is another, or that is in one set only: then the other version is empty."""

    package: str
    before: str
    after: str


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> Sequence[Difference]:
    """By name; versions by package."""
    names = sorted(before.keys() | after.keys())
    found = (Difference(name, before.get(name, ""), after.get(name, "")) for name in names)
    return [each for each in found if each.before != each.after]


def exported(form: Format, *, name: str, python: str, packages: Mapping[str, str], lock: str) -> str:
    """The text of a file of that form, with exact versions; where the form knows hashes (`lock`), with those.

    It names no index: whoever uses it has their own.
    """
    match form:
        case "requirements":
            return f"# {name}, for Python {python}\n{lock}"
        case "conda":
            pinned = "".join(f"      - {package}=={version}\n" for package, version in packages.items())
            pip = f"  - pip\n  - pip:\n{pinned}" if pinned else ""
            return f"name: {name}\nchannels:\n  - conda-forge\ndependencies:\n  - python={python}\n{pip}"
        case "dockerfile":
            return _dockerfile(python, lock)


def _dockerfile(python: str, lock: str) -> str:
    """One file, for BuildKit: the requirements stand in it."""
    if not lock:
        return f"# syntax=docker/dockerfile:1\nFROM python:{python}-slim\n"
    return (
        "# syntax=docker/dockerfile:1\n"
        f"FROM python:{python}-slim\n"
        f"COPY <<'{_MARK}' /tmp/requirements.txt\n{lock}{_MARK}\n"
        "RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/requirements.txt\n"
    )
