"""From what was typed to a call.

argparse, with a parser of one command alone: importing typer costs more than the whole of `um job list`.
"""

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from ultramarine.cli.command import EXIT_CODES, GLOBAL, Command, Group, Option, path_of
from ultramarine.domain.errors import InvalidInput


class _Parser(argparse.ArgumentParser):
    """Errors become ours, with the nearest known option."""

    def error(self, message: str) -> NoReturn:
        raise InvalidInput(f"{self.prog}: {message}.", hint=f"{self.prog} --help")


def parse(group: Group, command: Command, words: Sequence[str]) -> argparse.Namespace:
    """The options as typed. Raises `InvalidInput`; `--help` prints and exits."""
    parser = parser_of(group, command)
    args, unknown = parser.parse_known_args(list(words))
    if unknown:
        flags = [flag for option in (*command.options, *GLOBAL) for flag in option.flags.split()]
        raise InvalidInput(
            f"{parser.prog} has no option {unknown[0]!r}{nearest(unknown[0].partition('=')[0], flags)}",
            hint=f"{parser.prog} --help",
        )
    for option in command.options:
        if option.is_bare:
            _take_bare(args, attribute(option), prog=parser.prog)
    for needed in command.needs:
        if getattr(args, needed) in (None, []):
            flag = next(option.flags for option in command.options if attribute(option) == needed)
            raise InvalidInput(
                f"{parser.prog} needs {flag.replace(' ', ' or ')}.", hint=command.example or f"{parser.prog} --help"
            )
    return args


def _take_bare(args: argparse.Namespace, name: str, *, prog: str) -> None:
    """What stands without its flag."""
    bare, given = getattr(args, f"bare_{name}"), getattr(args, name)
    if bare is None:
        return
    if given not in (None, bare):
        raise InvalidInput(f"{prog}: two {name}s are given, {str(bare)!r} and {str(given)!r}.", hint="Give one.")
    setattr(args, name, bare)


def parser_of(group: Group, command: Command) -> argparse.ArgumentParser:
    prog = " ".join(word for word in ("um", group.noun, command.name) if word)
    parser = _Parser(
        prog=prog,
        description=command.summary,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"example:\n  {command.example}" if command.example else None,
    )
    for option in command.options:
        _add(parser, option, noun=group.noun)
        if option.is_bare:
            name, kind = attribute(option), path_of if option.kind == "path" else str
            parser.add_argument(f"bare_{name}", nargs="?", type=kind, metavar=name.upper(), help=argparse.SUPPRESS)
    common = parser.add_argument_group("for every command")
    for option in GLOBAL:
        _add(common, option, noun=group.noun)
    return parser


def _add(parser: "argparse._ActionsContainer", option: Option, *, noun: str) -> None:  # pyright: ignore[reportPrivateUsage]
    flags, words = option.flags.split(), option.help.format(noun=noun.replace("-", " ")).replace("%", "%%")
    metavar = option.metavar or attribute(option).upper()
    match option.kind:
        case "switch":
            parser.add_argument(*flags, action="store_true", help=words)
        case "many":
            parser.add_argument(*flags, action="append", default=[], metavar=metavar, help=words)
        case "number":
            parser.add_argument(*flags, type=int, default=option.default, metavar=metavar, help=words)
        case "path":
            parser.add_argument(*flags, type=path_of, default=option.default, metavar=metavar, help=words)
        case _:
            choices = list(option.choices) or None
            parser.add_argument(
                *flags, default=option.default, choices=choices, metavar=None if choices else metavar, help=words
            )


def attribute(option: Option) -> str:
    return next(flag for flag in option.flags.split() if flag.startswith("--")).removeprefix("--").replace("-", "_")


def nearest(word: str, known: Sequence[str]) -> str:
    """The end of a sentence that found no `word`."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else "."


def group_help(group: Group) -> str:
    width = max(len(command.name) for command in group.commands) + 2
    lines = [f"usage: um {group.noun} COMMAND [options]", "", group.summary, ""]
    lines += [f"  {command.name.ljust(width)}{command.summary}" for command in group.commands]
    return "\n".join([*lines, "", f"um {group.noun} COMMAND --help shows the options of one."])


def exit_codes() -> str:
    return "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES.items())
