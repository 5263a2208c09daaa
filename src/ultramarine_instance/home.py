"""The home folder as its owner finds it the first time."""

from __future__ import annotations

from pathlib import Path

# Whoever makes the whole home the code of a job means what they see in it, and not their keys and histories.
_NOT_SENT = """\
# What is not sent when the whole of this folder is the code of a job. Yours to change.
/.*
/setup/
/applications/
"""


def make(home: Path) -> None:
    """Nothing is put into one in which something is already."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not any(home.iterdir()):
        (home / ".amlignore").write_text(_NOT_SENT, encoding="utf-8")
