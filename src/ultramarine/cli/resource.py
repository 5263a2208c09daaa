"""What the commands of all nouns share: reading the file and the options, asking before deleting."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultramarine.cli.command import FAILED, Call, Option
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """How one thing is deleted: `what` is asked about, `title` is told about."""

    what: str
    title: str
    look: Callable[[], object]
    delete: Callable[[], object]
    wait: Callable[[], object]


def delete(call: Call, deletion: Deletion) -> int | None:
    """Delete it if it is there and a person, or `--yes`, says so; and wait for its end, but for `--no-wait`."""
    deletion.look()
    if not (call.args.yes or call.talk.confirm(f"Delete {deletion.what}?")):
        return FAILED
    deletion.delete()
    if not call.args.no_wait:
        with call.talk.spinning(f"{deletion.title}: Deleting"):
            deletion.wait()
    call.talk.say(f"{deletion.title}: {'Deleting' if call.args.no_wait else 'Deleted'}")
    return None


def named(text: str, version: str) -> tuple[str, str]:
    """`name:3` or `name@latest` given as the name carries its version."""
    name, colon, inline = text.removeprefix("azureml:").partition(":")
    return (name, inline) if colon else (name.removesuffix("@latest"), version)
