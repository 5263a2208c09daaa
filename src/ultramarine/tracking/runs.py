"""Experiments, runs, and the models that runs logged."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ultramarine.domain.errors import AlreadyExists, InvalidInput, NotFound
from ultramarine.domain.usage import Point
from ultramarine.tracking.artifacts import SCHEME, ArtifactLocation, Artifacts
from ultramarine.tracking.connection import API, Connection, JsonObject

_RUN_PATH = re.compile(r"runs:/(?P<run>[^/]+)(?:/(?P<path>.*))?")
_JOB_PATH = re.compile(r"azureml://(?:.*/)?jobs/(?P<run>[^/]+)/outputs/artifacts/(?:paths/)?(?P<path>.*)")
_LOGGED_MODEL = re.compile(r"models:/(?P<model>m-[0-9a-f]{32})(?:/(?P<path>.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A run as MLflow has it."""

    id: str
    experiment_id: str
    name: str
    status: str  #: SCHEDULED, RUNNING, FINISHED, FAILED or KILLED
    artifacts: ArtifactLocation
    params: Mapping[str, str]
    metrics: Mapping[str, float]  #: the last value of each
    tags: Mapping[str, str]
    model_ids: tuple[str, ...]  #: models that it logged, in order


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    """A model that a run logged, or that was uploaded: a folder of files with a name."""

    id: str
    name: str
    run_id: str | None
    location: ArtifactLocation
    status: str  #: LOGGED_MODEL_PENDING, LOGGED_MODEL_READY or LOGGED_MODEL_UPLOAD_FAILED


class Runs:
    """Each call is for one workspace, by its name."""

    def __init__(self, connection: Connection, artifacts: Artifacts) -> None:
        self._connection = connection
        self._artifacts = artifacts

    async def ensure_workspace(self, workspace: str) -> None:
        """Make it in MLflow, where it is made by being named."""
        await self.experiments(workspace, max_results=1)

    async def delete_workspace(self, workspace: str, *, secret: str) -> None:
        """Its experiments, runs and models; their files stay. `secret`: the installation's. Raises `NotFound`."""
        about = ("workspace", workspace)
        await self._connection.send("DELETE", workspace, f"{API}/workspaces", about=about, body={}, secret=secret)

    async def experiments(self, workspace: str, *, max_results: int = 1000) -> tuple[tuple[str, str], ...]:
        """Id and name of the active experiments, the newest first."""
        body = {"max_results": max_results, "order_by": ["creation_time DESC"]}
        found = await self._connection.send(
            "POST", workspace, f"{API}/experiments/search", about=("workspace", workspace), body=body
        )
        return tuple((e["experiment_id"], e["name"]) for e in found.get("experiments", []))

    async def experiment_id(self, workspace: str, name: str) -> str:
        """Of the experiment with this name. Raises `NotFound`."""
        path = f"{API}/experiments/get-by-name"
        found = await self._connection.get(workspace, path, about=("experiment", name), query={"experiment_name": name})
        return found["experiment"]["experiment_id"]

    async def create_experiment(self, workspace: str, name: str) -> str:
        """Its id. Raises `AlreadyExists`."""
        body = {"name": name}
        made = await self._connection.send(
            "POST", workspace, f"{API}/experiments/create", about=("experiment", name), body=body
        )
        return made["experiment_id"]

    async def ensure_experiment(self, workspace: str, name: str) -> str:
        """The id of the experiment with this name, which is made where it is missing."""
        try:
            return await self.experiment_id(workspace, name)
        except NotFound:
            pass
        try:
            return await self.create_experiment(workspace, name)
        except AlreadyExists:  # somebody was faster
            return await self.experiment_id(workspace, name)

    async def get(self, workspace: str, run_id: str) -> TrackedRun:
        """The run; a job's is made by this if MLflow has not met it yet. Raises `NotFound`."""
        found = await self._connection.get(
            workspace, f"{API}/runs/get", about=("run", run_id), query={"run_id": run_id}
        )
        return _run(found["run"])

    async def update(self, workspace: str, run_id: str, *, status: str, end_time_ms: int | None = None) -> None:
        """Set the status (`FINISHED`, `FAILED`, `KILLED`, `RUNNING`) and, at the end, the time since the epoch."""
        body: JsonObject = {"run_id": run_id, "status": status} | (
            {} if end_time_ms is None else {"end_time": end_time_ms}
        )
        await self._connection.send("POST", workspace, f"{API}/runs/update", about=("run", run_id), body=body)

    async def end_children(self, workspace: str, run_id: str, *, status: str, end_time_ms: int) -> None:
        """Set the status of the runs below this one that are still running: those of its experiment.

        Raises `NotFound` where there is no such run.
        """
        experiment = (await self.get(workspace, run_id)).experiment_id
        parents = [run_id]
        while parents:
            children = await self._running_children(workspace, experiment, parents.pop())
            for child in children:
                await self.update(workspace, child, status=status, end_time_ms=end_time_ms)
            parents += children

    async def _running_children(self, workspace: str, experiment: str, run_id: str) -> Sequence[str]:
        body: JsonObject = {
            "experiment_ids": [experiment],
            "filter": f"tags.mlflow.parentRunId = '{run_id}' AND attributes.status = 'RUNNING'",
            "max_results": 1000,
        }
        found: list[str] = []
        while True:
            page = await self._connection.send(
                "POST", workspace, f"{API}/runs/search", about=("run", run_id), body=body
            )
            found += [run["info"]["run_id"] for run in page.get("runs", [])]
            if not (token := page.get("next_page_token")):
                return found
            body["page_token"] = token

    async def set_tag(self, workspace: str, run_id: str, *, key: str, value: str) -> None:
        body = {"run_id": run_id, "key": key, "value": value}
        await self._connection.send("POST", workspace, f"{API}/runs/set-tag", about=("run", run_id), body=body)

    async def log_metrics(self, workspace: str, run_id: str, points: Sequence[Point]) -> None:
        """Keep up to 1000 values of metrics in one request. Raises `NotFound`."""
        metrics = [{"key": p.key, "value": p.value, "timestamp": p.at_ms, "step": p.step} for p in points]
        body: JsonObject = {"run_id": run_id, "metrics": metrics}
        await self._connection.send("POST", workspace, f"{API}/runs/log-batch", about=("run", run_id), body=body)

    async def logged_model(self, workspace: str, model_id: str) -> LoggedModel:
        """Raises `NotFound`."""
        found = await self._connection.get(workspace, f"{API}/logged-models/{model_id}", about=("model", model_id))
        return _logged_model(found["model"])

    async def create_logged_model(self, workspace: str, *, experiment_id: str, name: str) -> LoggedModel:
        """An empty model of no run, to upload files into; `finish_logged_model` makes it ready."""
        body = {"experiment_id": experiment_id, "name": name}
        made = await self._connection.send("POST", workspace, f"{API}/logged-models", about=("model", name), body=body)
        return _logged_model(made["model"])

    async def finish_logged_model(self, workspace: str, model_id: str) -> None:
        """All its files are there."""
        body = {"model_id": model_id, "status": "LOGGED_MODEL_READY"}
        await self._connection.send(
            "PATCH", workspace, f"{API}/logged-models/{model_id}", about=("model", model_id), body=body
        )

    async def resolve(self, workspace: str, reference: str) -> ArtifactLocation:
        """Where the files are that a reference names.

        Takes `runs:/R/path`, `azureml://jobs/R/outputs/artifacts/paths/path`, `models:/m-<id>[/path]` and
        `mlflow-artifacts:/…`. A path is looked up among the run's artifacts, then among the models that it logged.
        Raises `NotFound` where neither has it, `InvalidInput` for another kind of reference.
        """
        if match := _RUN_PATH.fullmatch(reference) or _JOB_PATH.fullmatch(reference):
            return await self._in_run(workspace, match["run"], (match["path"] or "").strip("/"), reference)
        if match := _LOGGED_MODEL.fullmatch(reference):
            return (await self.logged_model(workspace, match["model"])).location / (match["path"] or "")
        if reference.startswith(f"{SCHEME}/"):
            return ArtifactLocation(uri=reference)
        raise InvalidInput(
            f"{reference!r} names no files of a run.",
            hint="Write runs:/<job id>/<path>, or azureml://jobs/<job id>/outputs/artifacts/paths/<path>.",
        )

    async def _in_run(self, workspace: str, run_id: str, path: str, reference: str) -> ArtifactLocation:
        run = await self.get(workspace, run_id)
        if not path or await self._is_there(workspace, run.artifacts, path):
            return run.artifacts / path
        first, _, rest = path.partition("/")
        names: list[str] = []
        for model_id in reversed(run.model_ids):  # the newest of a name wins
            model = await self.logged_model(workspace, model_id)
            names.append(model.name)
            if model.name == first and (not rest or await self._is_there(workspace, model.location, rest)):
                return model.location / rest
        raise NotFound("artifact", reference, hint=f"See what there is: um job show {run_id}", known=names)

    async def _is_there(self, workspace: str, root: ArtifactLocation, path: str) -> bool:
        """As a file or as a folder that is not empty."""
        folder, _, name = path.rpartition("/")
        files, folders = await self._artifacts.entries(workspace, root / folder)
        return name in folders or any(file.path == name for file in files)


def _run(run: JsonObject) -> TrackedRun:
    info, data = run["info"], run.get("data", {})
    outputs = run.get("outputs", {}).get("model_outputs", [])
    return TrackedRun(
        id=info["run_id"],
        experiment_id=info["experiment_id"],
        name=info.get("run_name", ""),
        status=info["status"],
        artifacts=ArtifactLocation(uri=info["artifact_uri"], run_id=info["run_id"]),
        params={p["key"]: p["value"] for p in data.get("params", [])},
        metrics={m["key"]: float(m["value"]) for m in data.get("metrics", [])},
        tags={t["key"]: t["value"] for t in data.get("tags", [])},
        model_ids=tuple(output["model_id"] for output in outputs),
    )


def _logged_model(model: JsonObject) -> LoggedModel:
    info = model["info"]
    run_id = info.get("source_run_id") or None
    return LoggedModel(
        id=info["model_id"],
        name=info["name"],
        run_id=run_id,
        location=ArtifactLocation(uri=info["artifact_uri"], run_id=run_id, model_id=info["model_id"]),
        status=info["status"],
    )
