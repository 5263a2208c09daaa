"""MLflow, as the control plane uses it."""

from pathlib import Path
from typing import Self

from ultramarine.tracking.artifacts import Artifacts
from ultramarine.tracking.connection import Connection
from ultramarine.tracking.registry import Registry
from ultramarine.tracking.runs import Runs


class MlflowClient:
    """Every call names its workspace first. All raise `TrackingUnavailable` while MLflow does not answer."""

    def __init__(self, socket: Path) -> None:
        self._connection = Connection(socket)
        self.artifacts = Artifacts(self._connection)
        self.runs = Runs(self._connection, self.artifacts)
        self.registry = Registry(self._connection)

    async def close(self) -> None:
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
