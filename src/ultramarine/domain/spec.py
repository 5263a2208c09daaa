"""What user-written specifications have in common: one model is the YAML file, the REST body and the SDK's object."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from ultramarine.domain.errors import InvalidInput, NotSupportedYet

_ISO_8601 = re.compile(r"PT(?=\d)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,6})S)?")


def _seconds(value: object) -> object:
    """A duration of Azure's REST bodies (`PT1M30S`) as seconds; its files have whole numbers."""
    if isinstance(value, str) and (found := _ISO_8601.fullmatch(value)):
        parts = {name: int(digits or 0) for name, digits in found.groupdict().items()}
        return parts["hours"] * 3600 + parts["minutes"] * 60 + parts["seconds"]
    return value


Seconds = Annotated[int, BeforeValidator(_seconds)]


class Spec(BaseModel):
    """Frozen, and strict about its fields.

    An unknown one is refused with the nearest known; one of Azure ML's that is not there yet is named so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)
    not_yet: ClassVar[frozenset[str]] = frozenset()  #: fields of Azure ML's schema that we cannot do yet
    types_not_yet: ClassVar[frozenset[str]] = frozenset()  #: the same of values of `type`
    ignored: ClassVar[frozenset[str]] = frozenset({"$schema"})

    @model_validator(mode="before")
    @classmethod
    def _known_fields_only(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        given: dict[str, Any] = {str(k): v for k, v in value.items() if k not in cls.ignored}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        if _has_nul(given):
            raise ValueError("a text holds the character NUL, which no file, program or database takes")
        if (kind := given.get("type")) in cls.types_not_yet:
            raise ValueError(f"type: {kind!r} is not supported yet")
        known = set(cls.model_fields) | {f.alias for f in cls.model_fields.values() if f.alias}
        for name in given:
            if name in cls.not_yet:
                raise ValueError(f"not supported yet: {name!r}")
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise ValueError(
                    f"unknown field {name!r}"
                    + (f", did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}")
                )
        return given

    @classmethod
    def read(cls, value: object, *, what: str) -> Self:
        """Validate a body. `what` names it in the error ("the job", "deployment blue")."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise refused(error, what=what) from None

    def body(self) -> dict[str, Any]:
        """As JSON-ready data, without what was not given."""
        return self.model_dump(mode="json", exclude_none=True, exclude_unset=True, by_alias=True)


def _has_nul(value: object) -> bool:
    """Whether any text in nested data holds a NUL."""
    left: list[Any] = [value]
    while left:
        found = left.pop()
        if isinstance(found, str) and "\0" in found:
            return True
        if isinstance(found, Mapping):
            left += [*cast("Mapping[Any, Any]", found).keys(), *cast("Mapping[Any, Any]", found).values()]
        elif isinstance(found, list):
            left += cast("list[Any]", found)
    return False


def refused(error: ValidationError, *, what: str) -> InvalidInput:
    """pydantic's findings as one error of ours: each field with the value seen and what is wrong."""
    lines = [_finding(dict(found)) for found in error.errors(include_url=False)]
    kind = NotSupportedYet if any("not supported yet" in line for line in lines) else InvalidInput
    do = (
        "Leave out, or change, what is named above"
        if kind is NotSupportedYet
        else "Correct the field named above and send it again"
    )
    return kind(
        f"{what}: {'; '.join(lines)}".removesuffix("?") + ("?" if lines[-1].endswith("?") else "."),
        hint=f"{do}; docs/reference/yaml.md lists all fields.",
    )


def _finding(found: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in found["loc"] if "[" not in str(part))
    said = str(found["msg"]).removeprefix("Value error, ")
    value = found.get("input")
    seen = f" (seen: {str(value)[:80]!r})" if isinstance(value, str | int | float | bool) else ""
    return f"{where}: {said}{seen}" if where else f"{said}{seen}"
