"""Where a run's files are in the runner's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ranks import RANK_LOG, Launch
from .spec import Spec

OWN_LOG = "preparation.txt"


@dataclass(frozen=True)
class Folders:
    """The folder of a run.

    `code`, `inputs`, `outputs`, `files`, `secrets`, `sockets`, `logs`, `collected`, the exit record.
    """

    root: Path

    @classmethod
    def of(cls, runner: Path, key: str) -> Folders:
        """Those of this run."""
        return cls(runner / "runs" / key)

    @property
    def code(self) -> Path:
        """The ranks' working directory: the run's own copy of its code."""
        return self.root / "code"

    @property
    def collected(self) -> Path:
        """What is shipped from here as it grows, and deleted."""
        return self.root / "collected"

    def rank_log(self, rank: int) -> Path:
        """What a rank writes to stdout and stderr."""
        return self.root / "logs" / str(rank) / RANK_LOG

    def own_log(self, node_rank: int) -> Path:
        """What the runner has to say about this run."""
        return self.root / "logs" / f"node{node_rank}" / OWN_LOG

    def make(self, spec: Spec | None) -> list[tuple[str, Path]]:
        """Make the folders; each log's rank and path."""
        logs = [(str(rank), self.rank_log(rank)) for rank in (spec.ranks if spec else ())]
        own = self.own_log(spec.node_rank if spec else 0)
        logs.append((own.parent.name, own))
        for _, file in logs:
            file.parent.mkdir(mode=0o700, parents=True)
        if spec is not None and spec.collects:
            self.collected.mkdir(mode=0o700)
        return logs

    def order(self, launch: Launch) -> dict[str, Any]:
        """One rank, as the keeper is told to start it."""
        return {
            "rank": launch.rank,
            "argv": launch.argv,
            "environment": launch.environment,
            "folder": str(self.code),
            "log": str(self.rank_log(launch.rank)),
        }


def tail(file: Path, *, limit: int = 8192) -> str:
    """The last bytes of a log, as text."""
    try:
        with file.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - limit))
            return stream.read(limit).decode(errors="replace")
    except OSError:
        return ""
