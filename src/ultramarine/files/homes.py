"""The home folders of compute instances on this machine: their owners' files, which outlive every run."""

import asyncio
import shutil
from pathlib import Path

from ultramarine.domain.names import ComputeId


class Homes:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def remove(self, instance: ComputeId) -> None:
        """With all that is in it. There is none: nothing to do."""
        await asyncio.to_thread(shutil.rmtree, self.folder / instance, ignore_errors=True)
