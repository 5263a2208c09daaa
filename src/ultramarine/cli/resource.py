"""What the commands of all nouns share: reading the file and the options, asking before deleting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ultramarine.cli.command import Call, Option
from ultramarine.cli.parsing import attribute
from ultramarine.domain.errors import InvalidInput

_PATHS = (
    "path",
    "conda_file",
    "requirements",
)  #: fields that hold local paths: as options they start at the current folder


def document(call: Call, options: Sequence[Option], *, is_needed: bool = True) -> tuple[dict[str, Any], Path]:
    """The resource as the file, `--set` and the options say, and the folder that its relative paths start from."""
    # imported late: only commands that read a file need YAML
    from ultramarine.sdk.documents import read_document

    read = read_document(call.args.file, overrides=call.args.set)
    body = read.body
    for option in options:
        value = getattr(call.args, attribute(option)) if option.field else None
        if value is not None:
            is_local = option.field in _PATHS and ":" not in str(value)
            body[option.field] = str(Path(value).expanduser().absolute()) if is_local else value
    if not body and is_needed:
        raise InvalidInput("Nothing says what to create.", hint="Give a file: -f FILE.yml")
    return body, read.folder


def changes(call: Call, options: Sequence[Option]) -> dict[str, Any]:
    """The fields to change; the name is no change."""
    body, _ = document(call, options, is_needed=False)
    found = {field: value for field, value in body.items() if field not in ("$schema", "name", "endpoint_name", "type")}
    if not found:
        raise InvalidInput("Nothing says what to change.", hint="Example: --set description='…', or -f FILE.yml")
    return found


def may_delete(call: Call, what: str) -> bool:
    return call.args.yes or call.talk.confirm(f"Delete {what}?")


def named(text: str, version: str) -> tuple[str, str]:
    """`name:3` or `name@latest` given as the name carries its version."""
    name, colon, inline = text.removeprefix("azureml:").partition(":")
    return (name, inline) if colon else (name.removesuffix("@latest"), version)
