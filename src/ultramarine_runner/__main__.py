"""`python runner.pyz FOLDER`: be the runner of the allocation that `FOLDER/config.json` describes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from ultramarine_runner import cgroups, config, hello, keeper, nvml, spawn, trees, trust
from ultramarine_runner.link import Keeping, Link
from ultramarine_runner.mechanism import WATCH
from ultramarine_runner.wire import Channel, Dismissed, Refused

EXIT_USAGE, EXIT_REFUSED = 2, 4
_KEEPER_PATIENCE_S = 15.0


def main(argv: Sequence[str]) -> int:
    """The exit code: 0 the allocation is over, 2 FOLDER is unusable, 4 the control plane refuses, 5 the keeper died."""
    if len(argv) != 2:
        print("usage: python runner.pyz FOLDER, where FOLDER holds config.json", file=sys.stderr)
        return EXIT_USAGE
    try:
        settings = config.load(Path(argv[1]).absolute())
        _carry(settings.allocation, os.environ)
        config.claim(settings.folder)
    except config.BadConfig as error:
        print(f"runner: {error}", file=sys.stderr)
        return EXIT_USAGE
    os.umask(0o077)
    trust.keep(settings.folder, settings.ca)
    return _serve(settings)


def _serve(settings: config.Config) -> int:
    # Orphans of a keeper that died come to the link. The keeper is forked before there is any thread.
    spawn.become_subreaper()
    ours, theirs = socket.socketpair()
    groups = cgroups.find(settings.allocation, settings.rank, only_watch=settings.limits == WATCH)
    pid = os.fork()
    if pid == 0:
        ours.close()
        keeper.run(theirs, groups)
    theirs.close()
    channel = Channel(settings.url, ca=settings.ca)
    try:
        gpus = nvml.begin()  # after the fork: the library is not to be shared with a child
        welcome = hello.greet(settings, channel, limits=groups.mechanism.kind, nvml=gpus)
        config.drop_secret(settings.folder)
        keeping = Keeping(ours, pid, groups, gpus)
        return Link(settings, welcome, keeping=keeping, address=channel.local_address).serve()
    except (Dismissed, Refused) as error:
        print(f"runner: {error}", file=sys.stderr)
        return EXIT_REFUSED
    finally:
        # A mere close is not seen while the listening thread is in its read.
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)
        _end_all_below(pid)


def _end_all_below(keeper_pid: int) -> None:
    """The keeper ends its trees when its socket closes; then whatever is still there is killed."""
    deadline = time.monotonic() + _KEEPER_PATIENCE_S
    while trees.is_alive(keeper_pid) and time.monotonic() < deadline:
        time.sleep(0.005)
    while left := [pid for pid in trees.descendants(os.getpid()) if trees.is_alive(pid)]:
        trees.send(left, signal.SIGKILL)
        time.sleep(0.005)


def _carry(allocation: str, environment: Mapping[str, str]) -> None:
    """Be found by the sweeper: start anew with the allocation's key in the environment where it is not there yet."""
    if environment.get(trees.ALLOCATION) != allocation:
        arguments = sys.orig_argv[1:] if hasattr(sys, "orig_argv") else sys.argv
        os.execve(sys.executable, [sys.executable, *arguments], {**environment, trees.ALLOCATION: allocation})


def leave(code: int) -> NoReturn:
    """Exit now: threads that wait for the network are no reason to stay."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv))
