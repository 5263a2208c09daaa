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
class Options:
    """Where an instance listens, and where its things are."""

    socket: Path
    home: Path  #: outlives this run
    base: str  #: the path before everything, as the browser sees it
    secret: Path  #: the file with what the gateway says with each request
    settings: Path


def read(arguments: Sequence[str]) -> Options:
    """Of the arguments; ends the program with words where they are wrong."""
    parser = argparse.ArgumentParser(prog="instance.zip", description=__doc__)
    parser.add_argument("--socket", required=True, metavar="unix:PATH", type=_socket)
    parser.add_argument("--home", required=True, metavar="FOLDER", type=_place)
    parser.add_argument("--base", required=True, metavar="/PATH/", type=_base)
    parser.add_argument("--secret", required=True, metavar="FILE", type=_place)
    parser.add_argument("--settings", required=True, metavar="FILE", type=_place)
    given = parser.parse_args(arguments)
    return Options(socket=given.socket, home=given.home, base=given.base, secret=given.secret, settings=given.settings)


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
