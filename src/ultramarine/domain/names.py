"""Names that users give, and references to named things."""

import re
from dataclasses import dataclass
from typing import NewType

from ultramarine.domain.errors import InvalidInput

JobId = NewType("JobId", str)  #: 32 hex digits, unique everywhere; the id of its MLflow run too
RunKey = NewType("RunKey", str)  #: one attempt, one replica: `{epoch}-{owner}-{ordinal}`, never given twice
AllocationKey = NewType("AllocationKey", str)
NodeKey = NewType("NodeKey", str)  #: `{allocation key}.{rank}`
ComputeId = NewType("ComputeId", str)
Epoch = NewType("Epoch", str)  #: new at each restore from a backup

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
NAME_CHARACTERS_MAX = 100


def checked_name(noun: str, name: str) -> str:
    """The name itself, or `InvalidInput`: it becomes part of paths, addresses and keys."""
    if len(name) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(name) or name.endswith("."):
        raise InvalidInput(
            f"{name[:120]!r} cannot be the name of a {noun}.",
            hint="Use letters, digits, '-', '_' and '.', beginning with a letter or digit, "
            f"at most {NAME_CHARACTERS_MAX} characters.",
        )
    return name


@dataclass(frozen=True, slots=True)
class Reference:
    """`name`, `name:version` or `name@label`, with or without `azureml:` in front."""

    name: str
    version: str | None = None
    label: str | None = None

    def __str__(self) -> str:
        return (
            f"{self.name}:{self.version}" if self.version else f"{self.name}@{self.label}" if self.label else self.name
        )

    @classmethod
    def parse(cls, text: str, *, field: str) -> "Reference":
        """Read a reference; `field` names the place it stands in, for the error."""
        bare = text.removeprefix("azureml:")
        name, at, label = bare.partition("@")
        name, colon, version = name.partition(":")
        parts = [name, *([version] if colon else []), *([label] if at else [])]
        if (at and colon) or not all(_NAME.fullmatch(part) for part in parts):
            raise InvalidInput(f"{field}: {text!r} is no reference.", hint="Write name, name:version or name@latest.")
        if at and label != "latest":
            raise InvalidInput(
                f"{field}: the label {label!r} is not known.", hint=f"Write {name}@latest, or a version: {name}:1."
            )
        return cls(name, version or None, label or None)


def is_of(key: str, epoch: Epoch) -> bool:
    """Whether a key was given in this epoch. One that was not is of before a restore, and means nothing any more."""
    return key.startswith(f"{epoch}-")


def is_sha256(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None
