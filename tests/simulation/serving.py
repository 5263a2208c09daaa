"""What stands around deployments: a registry with one model, which does not always answer; each server's gateway."""

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from tests.simulation.effects import Moment, Passing

from ultramarine.domain.errors import Unavailable
from ultramarine.planning.routes import moving
from ultramarine.planning.traffic import Traffic
from ultramarine.routing.publisher import Reach, RoutePublisher
from ultramarine.services.models import TYPE
from ultramarine.tracking.artifacts import ArtifactFile, ArtifactLocation
from ultramarine.tracking.registry import ModelVersion

MODEL = "model"


class SimulatedTracking:
    """As much of MLflow as a deployment needs. `outage`: how often it does not answer."""

    def __init__(self, dice: Random, outage: Callable[[], float]) -> None:
        self._dice, self._outage = dice, outage

    @property
    def registry(self) -> "SimulatedTracking":
        return self

    @property
    def artifacts(self) -> "SimulatedTracking":
        return self

    async def versions(self, workspace: str, name: str) -> tuple[ModelVersion, ...]:
        self._answer()
        location = ArtifactLocation(uri=f"mlflow-artifacts:/{name}")
        return (
            ModelVersion(
                name=name,
                version=1,
                location=location,
                description="",
                tags={TYPE: "mlflow_model"},
                created_at_ms=0,
                status="READY",
            ),
        )

    async def files_of(self, workspace: str, model: ModelVersion) -> ArtifactLocation:
        self._answer()
        return model.location

    async def files(self, workspace: str, location: ArtifactLocation) -> tuple[ArtifactFile, ...]:
        self._answer()
        return ()

    def download(self, workspace: str, location: ArtifactLocation) -> AsyncIterator[bytes]:
        raise AssertionError("a model without files is not downloaded")

    def _answer(self) -> None:
        if self._dice.random() < self._outage():
            raise Unavailable("MLflow does not answer.", hint="um status")


class SimulatedGateway(RoutePublisher):
    """A server's own: it outlives it, as the file that is published to it does. It probes what the file names."""

    def __init__(
        self, folder: Path, server: str, *, answers: Callable[[str, str], bool], load: Callable[[], int]
    ) -> None:
        """`answers`: whether a replica, by key, answers at an address. `load`: requests in flight to a deployment."""
        folder.mkdir(exist_ok=True)
        super().__init__(folder)
        self._server, self._answers, self._load = server, answers, load

    @property
    def traffic(self) -> Mapping[tuple[str, str], Traffic]:
        there = self._last.get("endpoints", {}).items()
        names = [(endpoint, name) for endpoint, said in there for name in said["deployments"]]
        return {name: Traffic(in_flight=self._load()) for name in names}

    async def publish(self, table: Mapping[str, Any]) -> bool:
        if moving(self._last) == table:
            return False
        effects = frozenset({"gateway publish"})
        await Passing(Moment(server=self._server, effects=effects, side="before"))
        done = await super().publish(table)
        await Passing(Moment(server=self._server, effects=effects, side="after"))
        return done

    async def reached(self) -> Mapping[str, Reach]:
        return {id: Reach(is_up=self._answers(id, address)) for id, address in self.routes().items()}

    def routes(self) -> dict[str, str]:
        """By replica its address, as last published."""
        return {
            replica["id"]: replica["address"]
            for endpoint in self._last.get("endpoints", {}).values()
            for deployment in endpoint["deployments"].values()
            for replica in deployment["replicas"]
        }
