"""Why a run ended, from how its ranks ended."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .state import ending

RECORD = "ended.json"


@dataclass(frozen=True)
class Exit:
    """How a rank ended: an exit code, or a signal (then `code` is 128 + its number, as shells have it)."""

    code: int
    signal: str | None = None

    @classmethod
    def of(cls, status: int) -> Exit:
        """From what `waitpid` gave."""
        code = os.waitstatus_to_exitcode(status)
        return cls(code) if code >= 0 else cls(128 - code, _name(-code))


def keep(folder: str, ended: dict[str, Any]) -> None:
    """Write the exit record of a run into its folder; a full disk is told in its words, which are still reported."""
    fresh = os.path.join(folder, f".{RECORD}")
    try:
        with open(fresh, "w") as stream:
            json.dump(ended, stream)
        os.replace(fresh, os.path.join(folder, RECORD))
    except OSError as error:
        ended["words"] += f" (The record could not be written: {error.strerror}.)"


def judge(
    exits: Mapping[str, Exit],
    *,
    failed: str | None,
    asked: tuple[str, str] | None,
    oom: str | None,
    at: float,
) -> dict[str, Any]:
    """The `ended` of a run.

    `failed` is the first rank that failed unasked, `asked` the cause and words of our own ending, `oom` the words for
    it when the kernel has killed for want of memory.
    """
    ranks = {rank: {"code": one.code, "signal": one.signal} for rank, one in exits.items()}
    if failed is not None:
        one = exits[failed]
        cause, words = ("out_of_memory", oom) if oom else ("exited", _words(failed, one))
        return ending(cause, words, at=at, code=one.code, signal=one.signal, rank=int(failed), ranks=ranks)
    if asked is not None:
        first = min(exits, key=int, default=None)
        one = exits[first] if first is not None else Exit(0)
        return ending(asked[0], asked[1], at=at, code=one.code if exits else None, signal=one.signal, ranks=ranks)
    return ending("completed", "Every rank ended with 0.", at=at, code=0, ranks=ranks)


def _words(rank: str, one: Exit) -> str:
    if one.signal is not None:
        return f"Rank {rank} was ended by {one.signal}."
    if one.code == 127:
        return f"Rank {rank} exited with code 127: its command was not found. Its log has the name."
    return f"Rank {rank} exited with code {one.code}."


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
