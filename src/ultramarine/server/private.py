"""Files that their owner alone may read."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, readable by the owner alone."""
    aside = path.with_name(f".{path.name}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
