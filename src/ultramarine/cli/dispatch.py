"""One command from words to exit code."""

from collections.abc import Mapping, Sequence
from importlib import import_module

from ultramarine.cli.command import (
    FAILED,
    INTERRUPTED,
    NOT_ALLOWED,
    NOT_FOUND,
    OK,
    UNREACHABLE,
    USAGE,
    Call,
    Command,
    Group,
)
from ultramarine.cli.groups import ALIASES, GROUPS, INSTALLATION, group_of
from ultramarine.cli.parsing import group_help, nearest, parse
from ultramarine.cli.talk import Talk
from ultramarine.domain.errors import InvalidInput, NotAllowed, NotFound, NotSignedIn, UltramarineError, Unavailable

_CODES: Mapping[type[UltramarineError], int] = {
    InvalidInput: USAGE,
    NotFound: NOT_FOUND,
    NotSignedIn: NOT_ALLOWED,
    NotAllowed: NOT_ALLOWED,
    Unavailable: UNREACHABLE,
}


def run(words: Sequence[str]) -> int:
    """Run `um WORDS`. Gives the exit code; what went wrong was said on stderr."""
    talk = Talk()
    try:
        group = _group(words[0])
        rest = list(words[1:]) if group.noun else list(words)
        if group.noun and (not rest or rest[0] in ("-h", "--help")):
            print(group_help(group))
            return OK
        command = _command(group, rest[0])
        return command.run(Call(parse(group, command, rest[1:]), talk=talk)) or OK
    except UltramarineError as error:
        talk.error(error)
        return exit_code(error)
    except KeyboardInterrupt:
        talk.say("\nInterrupted. What was asked of the server goes on.")
        return INTERRUPTED


def exit_code(error: UltramarineError) -> int:
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)


def load(module: str) -> Group:
    """The group of `ultramarine.cli.<module>`; the others are not imported."""
    return import_module(f"ultramarine.cli.{module}").GROUP


def _group(noun: str) -> Group:
    module = group_of(noun)
    if module is None:
        known = [*INSTALLATION, *GROUPS, *ALIASES]
        raise InvalidInput(f"um has no command {noun!r}{nearest(noun, known)}", hint="um --help")
    return load(module)


def _command(group: Group, name: str) -> Command:
    found = group.find(name)
    if found is None:
        known = [command.name for command in group.commands]
        raise InvalidInput(
            f"um {group.noun} has no command {name!r}{nearest(name, known)}", hint=f"um {group.noun} --help"
        )
    return found
