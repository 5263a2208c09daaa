"""Files that their owner alone may read. Standard library only: programs that import nothing else write them too."""

import os
from pathlib import Path


def write_private(path: Path, content: str | bytes) -> None:
    """Whole or not at all, also after a loss of power; readable by the owner alone. One writer at a time."""
    aside = path.with_name(f".{path.name}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # one that was left there may be others' to read
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(descriptor)
    aside.rename(path)
