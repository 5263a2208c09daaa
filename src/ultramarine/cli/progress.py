"""A bar for uploads."""

from typing import Any


class Bar:
    """How much of an upload is done, drawn by rich on stderr."""

    def __init__(self) -> None:
        self._drawn: Any = None
        self._task: Any = None

    def begin(self, *, files: int, size_bytes: int) -> None:
        # imported late: only an upload that somebody watches needs it
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        words = TextColumn("{task.description}")
        self._drawn = Progress(words, BarColumn(), DownloadColumn(), console=Console(stderr=True), transient=True)
        self._drawn.start()
        self._task = self._drawn.add_task(f"Uploading {files} file{'s' * (files != 1)}", total=size_bytes)

    def advance(self, size_bytes: int) -> None:
        self._drawn.advance(self._task, size_bytes)

    def end(self) -> None:
        self._drawn.stop()
