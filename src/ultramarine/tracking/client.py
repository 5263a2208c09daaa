"""MLflow, as the control plane uses it."""

from pathlib import Path
from typing import Self

from ultramarine.tracking.artifacts import ArtifactLocation, Artifacts
from ultramarine.tracking.connection import Connection
from ultramarine.tracking.registry import ModelVersion, Registry
from ultramarine.tracking.runs import Runs


class MlflowClient:
    """Every call names its workspace first. All raise `TrackingUnavailable` while MLflow does not answer."""

    def __init__(self, socket: Path) -> None:
        self._connection = Connection(socket)
        self.artifacts = Artifacts(self._connection)
        self.runs = Runs(self._connection, self.artifacts)
        self.registry = Registry(self._connection)

    async def files_of(self, workspace: str, version: ModelVersion) -> ArtifactLocation:
        """Where a version's files are: MLflow's own clients register by reference (`models:/m-…`, `runs:/…`).

        Raises `NotFound` where the run or the logged model is gone.
        """
        return await self.runs.resolve(workspace, version.location.uri)

    async def close(self) -> None:
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
