"""A backup of a simulated installation."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultramarine.store.database import InlineDatabase


@dataclass(frozen=True, slots=True)
class Backup:
    """The store as it was, and what there was of logs, by path."""

    rows: sqlite3.Connection
    logs: dict[Path, bytes]

    @classmethod
    def of(cls, db: InlineDatabase, folder: Path) -> "Backup":
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        _store(db).backup(copy)
        return cls(copy, {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()})

    def restore(self, db: InlineDatabase, folder: Path) -> None:
        self.rows.backup(_store(db))
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            path.unlink()
        for path, content in self.logs.items():
            path.write_bytes(content)


def _store(db: InlineDatabase) -> sqlite3.Connection:
    found: Any = db.engine.raw_connection().driver_connection
    return found
