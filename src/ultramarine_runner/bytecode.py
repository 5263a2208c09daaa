"""Byte code is compiled once for each source file, and shared by all environments that have the same file.

It is a quarter of an environment. `<cache>/bytecode/` holds it by the sha256 of the source and by its time, which is
part of the byte code; environments have hard links to it. Only what was compiled here is kept there: a package may
bring byte code along that does not belong to its source.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


class Shared:
    """Of one environment that is being built: first `link`, then compile, then `keep`."""

    def __init__(self, environment: Path, store: Path, *, python: str) -> None:
        self._roots = list(environment.glob("lib/python3*/site-packages"))
        self._tag = f"cpython-{python.replace('.', '')}"
        self._store = store / self._tag
        self._missing: list[tuple[Path, Path]] = []

    def link(self) -> int:
        """Take what is there; how many files are still to be compiled."""
        for source in self._sources():
            compiled = source.parent / "__pycache__" / f"{source.stem}.{self._tag}.pyc"
            if os.path.lexists(compiled):
                continue
            kept = self._kept(source)
            compiled.parent.mkdir(exist_ok=True)
            try:
                os.link(kept, compiled)
            except OSError:  # it is not there, or this disk has no links
                self._missing.append((compiled, kept))
        return len(self._missing)

    def keep(self) -> None:
        """Give to others what was compiled."""
        for compiled, kept in self._missing:
            with contextlib.suppress(OSError):  # no byte code of a broken source; or another builder was faster
                kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.link(compiled, kept)

    def _sources(self) -> Iterator[Path]:
        for root in self._roots:
            for folder, _, files in os.walk(root):
                yield from (Path(folder, name) for name in files if name.endswith(".py"))

    def _kept(self, source: Path) -> Path:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        return self._store / digest[:2] / f"{digest[2:]}-{int(source.stat().st_mtime)}"


def prune(store: Path) -> None:
    """Delete what no environment has any more. Who links to a file at this moment has it, or compiles anew."""
    for folder, _, files in os.walk(store):
        for name in files:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if os.stat(path).st_nlink == 1:
                    os.unlink(path)
