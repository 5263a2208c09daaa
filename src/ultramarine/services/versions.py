"""Versions of environments and data assets: once made, they never change."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ultramarine.domain.errors import AlreadyExists
from ultramarine.domain.names import checked_name


class Versioned(Protocol):
    @property
    def version(self) -> str: ...


A = TypeVar("A", bound=Versioned)


def next_number(made: Sequence[Versioned]) -> str:
    return str(max((int(each.version) for each in made if each.version.isdigit()), default=0) + 1)


def version_to_make(
    noun: str, name: str, made: Sequence[A], *, wanted: str | None, is_same: Callable[[A], bool]
) -> tuple[str, A | None]:
    """The wanted version, or the next number; and what is there under it already, if that is the same.

    `made`: all versions that there are. Raises `AlreadyExists` where another one is there.
    """
    version = checked_name("version", wanted or next_number(made))
    there = next((each for each in made if each.version == version), None)
    if there is not None and not is_same(there):
        raise AlreadyExists(
            noun, f"{name}:{version}", hint="A version never changes: leave out the version to make the next one."
        )
    return version, there
