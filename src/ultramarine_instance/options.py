"""What the runner says on the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KERNEL = "kernel"  #: the first argument of who is to be a kernel
SOCKET_PATH_MAX = 107  #: bytes, of Linux


@dataclass(frozen=True)
class Door:
    """Where an instance on another machine than the gateway's is reached."""

    address: str  #: HOST:PORT
    certificate: Path  #: PEM, with its key


@dataclass(frozen=True)
class Options:
    """Where an instance listens, and where its things are."""

    socket: Path
    home: Path  #: outlives this run
    base: str  #: the path before everything, as the browser sees it
    secret: Path  #: the file with what the gateway says with each request
    settings: Path
    door: Door | None = None


def read(arguments: Sequence[str]) -> Options:
    """Of the arguments; ends the program with words where they are wrong."""
    parser = argparse.ArgumentParser(prog="instance.zip", description=__doc__)
    parser.add_argument("--socket", required=True, metavar="unix:PATH", type=_socket)
    parser.add_argument("--home", required=True, metavar="FOLDER", type=_place)
    parser.add_argument("--base", required=True, metavar="/PATH/", type=_base)
    parser.add_argument("--secret", required=True, metavar="FILE", type=_place)
    parser.add_argument("--settings", required=True, metavar="FILE", type=_place)
    parser.add_argument("--door", metavar="HOST:PORT", help="listen for the gateway of another machine; wants --tls")
    parser.add_argument("--tls", metavar="FILE", type=_place)
    given = parser.parse_args(arguments)
    if (given.door is None) != (given.tls is None):
        parser.error("--door and --tls are said together.")
    return Options(
        socket=given.socket,
        home=given.home,
        base=given.base,
        secret=given.secret,
        settings=given.settings,
        door=None if given.door is None else Door(given.door, given.tls),
    )


def secret_in(file: Path) -> str:
    """What the gateway says; ends the program where there is nothing."""
    if not (secret := file.read_text(encoding="utf-8").strip()):
        raise SystemExit(f"There is no secret in {file}.")
    return secret


def _place(text: str) -> Path:
    return Path(text).absolute()


def _base(text: str) -> str:
    if not (text.startswith("/") and text.endswith("/")):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no path that begins and ends with '/': /instances/WORKSPACE/NAME/"
        )
    return text


def _socket(text: str) -> Path:
    kind, _, path = text.partition(":")
    if kind != "unix" or not path.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is no Unix socket: unix:/FOLDER/NAME.sock")
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than the {SOCKET_PATH_MAX} bytes that a socket may have.")
    return Path(path)
