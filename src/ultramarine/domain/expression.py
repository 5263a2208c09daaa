"""`${{inputs.x}}`, `${{outputs.y}}` and `$[[ optional parts ]]` in a command, as Azure ML writes them."""

import re
from collections.abc import Mapping, Sequence

from ultramarine.domain.errors import InvalidInput

_EXPRESSION = re.compile(r"\$\{\{\s*([^{}]*?)\s*\}\}")
_OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
CHARACTERS_MAX = 100_000  #: inputs that name each other several times could grow without end
PLACEHOLDER = "{{%s:%s}}"  #: what the runner replaces by a path: `{{input:data}}`


class Expressions:
    """Resolves the expressions of one job.

    `literals`: input name -> its value as text; `files`: names of inputs that are files or folders;
    `absent`: optional inputs that were not given; `outputs`: names of outputs.
    """

    def __init__(
        self, *, literals: Mapping[str, str], files: Sequence[str], absent: Sequence[str], outputs: Sequence[str]
    ) -> None:
        self._literals, self._files, self._absent, self._outputs = literals, files, absent, outputs

    def command(self, text: str) -> str:
        """The command as the runner gets it. Raises `InvalidInput` for unknown, circular or missing ones."""
        return self._resolve(_OPTIONAL.sub(self._optional, text), field="command", above=())

    def value(self, text: str, *, field: str) -> str:
        return self._resolve(text, field=field, above=())

    def _optional(self, part: re.Match[str]) -> str:
        names = [_split(found.group(1), "command") for found in _EXPRESSION.finditer(part.group(1))]
        return "" if any(kind == "inputs" and name in self._absent for kind, name in names) else part.group(1)

    def _resolve(self, text: str, *, field: str, above: tuple[str, ...]) -> str:
        resolved = _EXPRESSION.sub(lambda found: self._one(found.group(1), field=field, above=above), text)
        if len(resolved) > CHARACTERS_MAX:
            raise InvalidInput(
                f"{field}: with its expressions resolved it is too long, over {CHARACTERS_MAX} characters.",
                hint="Pass a file as an input in place of a long text.",
            )
        return resolved

    def _one(self, inner: str, *, field: str, above: tuple[str, ...]) -> str:
        kind, name = _split(inner, field)
        if kind == "outputs" and name in self._outputs:
            return PLACEHOLDER % ("output", name)
        if kind == "outputs":
            raise _unknown(inner, field, [f"outputs.{n}" for n in self._outputs])
        if name in self._files:
            return PLACEHOLDER % ("input", name)
        if name in self._absent:
            raise InvalidInput(
                f"{field}: ${{{{{inner}}}}} is used, but the optional input {name!r} has no value.",
                hint=f"Give it a value, or write $[[ … ${{{{{inner}}}}} … ]] around the part that depends on it.",
            )
        if name not in self._literals:
            raise _unknown(inner, field, [f"inputs.{n}" for n in (*self._literals, *self._files, *self._absent)])
        if name in above:
            raise InvalidInput(
                f"{field}: inputs refer to each other in a circle: {' -> '.join((*above, name))}.",
                hint="Give one of them a plain value.",
            )
        return self._resolve(self._literals[name], field=f"inputs.{name}", above=(*above, name))


def _split(inner: str, field: str) -> tuple[str, str]:
    kind, dot, name = inner.partition(".")
    if kind not in ("inputs", "outputs") or not dot or not name:
        raise InvalidInput(
            f"{field}: ${{{{{inner}}}}} is not known.", hint="Known are ${{inputs.NAME}} and ${{outputs.NAME}}."
        )
    return kind, name.removesuffix(".path") if "." in name else name


def _unknown(inner: str, field: str, known: Sequence[str]) -> InvalidInput:
    listed = ", ".join(known) or "neither inputs nor outputs"
    return InvalidInput(
        f"{field}: ${{{{{inner}}}}} is not known; the job has {listed}.",
        hint="Add it under inputs or outputs, or correct the name.",
    )
