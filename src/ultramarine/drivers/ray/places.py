"""Where the Ray that we run ourselves keeps its files. Standard library only: the supervisor's program reads it."""

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from ultramarine.private import write_private

TEMPORARY = Path("/tmp")  # noqa: S108  # Ray's sockets lie 80 bytes below it, and their paths may have 107


class UnsafeFolder(OSError):
    """Ray's folder in /tmp belongs to somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    home: Path

    @property
    def folder(self) -> Path:
        return self.home / "ray"

    @property
    def token(self) -> Path:
        """Whoever has it can run code on every node. In a folder of its own, which can be copied to machines."""
        return self.folder / "secret" / "token"

    @property
    def storage(self) -> Path:
        """What Ray's head knows: its nodes, placement groups and actors."""
        return self.folder / "gcs"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def configuration(self) -> Path:
        """What the autoscaler reads at each of its turns; where there is none, there is no autoscaler."""
        return self.folder / "autoscaler.json"

    @property
    def fleet(self) -> Path:
        """What the autoscaler's provider has last said: machines that there are, starts that failed."""
        return self.folder / "fleet.json"

    @property
    def health(self) -> Path:
        return self.home / "run" / "ray-head.sock"

    @property
    def shelter(self) -> Path:
        """Around the next one, which Ray opens to every user of the machine."""
        return TEMPORARY / f"um-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:8]}"

    @property
    def temporary(self) -> Path:
        """Ray's sockets, and the logs of its processes."""
        return self.shelter / "ray"

    def prepare(self) -> None:
        """Make what is missing, for the owner alone. Raises `UnsafeFolder`."""
        for folder in (self.folder, self.storage, self.logs, self.token.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.shelter.mkdir(mode=0o700, exist_ok=True)
        found = self.shelter.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise UnsafeFolder(f"{self.shelter} is not a folder of ours. Remove it.")
        self.shelter.chmod(0o700)
        self.temporary.mkdir(mode=0o700, exist_ok=True)
        if not self.token.exists():
            write_private(self.token, secrets.token_hex(32))
