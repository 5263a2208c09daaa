"""MLflow's stores, with our run ids and our workspaces.

A job's id is its run id. Its row is made when MLflow is first asked about it, from what the control plane says of the
job: so neither submitting a job nor starting it waits for MLflow. What a job begins without saying that it is a run of
its own *is* that run.
"""

import functools
import inspect
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import flask
from mlflow.entities import LifecycleStage, Run, RunStatus, RunTag, SourceType, Workspace
from mlflow.entities.workspace import WorkspaceDeletionMode
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)
from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from mlflow.store.workspace.sqlalchemy_store import SqlAlchemyStore as SqlWorkspaceStore
from mlflow.utils.uri import append_to_uri_path

from ultramarine_mlflow.control import ControlPlaneSilent, JobRun, find_run
from ultramarine_mlflow.joining import PARENT, is_own_run, of_user
from ultramarine_mlflow.names import workspace_in_mlflow

RUN_PARAMETERS = ("run_id", "run_uuid", "source_run_id", "run_ids")
KNOWN_RUNS_MAX = 50_000
_JOB_ID = re.compile(r"[0-9a-f]{32}")
RUN_HEADER = "x-ultramarine-run"  # set by the gateway: the run whose own token it is


class WorkspaceStore(SqlWorkspaceStore):
    """Makes a workspace when it is first named: whoever names one has been let in by the gateway."""

    def __init__(self, db_uri: str) -> None:
        super().__init__(db_uri)
        self._known: dict[str, Workspace] = {}

    def get_workspace(self, workspace_name: str) -> Workspace:
        if (known := self._known.get(workspace_name)) is None:
            known = self._known[workspace_name] = self._found_or_made(workspace_name)
        return known

    def update_workspace(self, workspace: Workspace) -> Workspace:
        self._known.pop(workspace.name, None)
        return super().update_workspace(workspace)

    def delete_workspace(self, workspace_name: str, *arguments: Any, **named: Any) -> None:
        self._known.pop(workspace_name, None)
        super().delete_workspace(workspace_name, *arguments, **named)

    def purge(self, workspace_name: str) -> bool:
        """Delete it with its experiments, runs and models. False when it is not there."""
        try:
            self.delete_workspace(workspace_name, mode=WorkspaceDeletionMode.CASCADE)
        except MlflowException as error:
            if not _is(error, RESOURCE_DOES_NOT_EXIST):
                raise
            return False
        return True

    def _found_or_made(self, name: str) -> Workspace:
        try:
            return super().get_workspace(name)
        except MlflowException as error:
            if not _is(error, RESOURCE_DOES_NOT_EXIST):
                raise
        try:
            return super().create_workspace(Workspace(name=name))
        except MlflowException as error:
            if not _is(error, RESOURCE_ALREADY_EXISTS):
                raise
        return super().get_workspace(name)


class RunStore(WorkspaceAwareSqlAlchemyStore):
    """MLflow's SQL store, whose unknown runs are looked up in the control plane."""

    def __init__(self, db_uri: str, default_artifact_root: str, read_db_uri: str | None = None) -> None:
        self._known_runs: dict[str, None] = {}
        self._known_lock = threading.Lock()
        super().__init__(db_uri, default_artifact_root, read_db_uri=read_db_uri)

    def create_run(
        self, experiment_id: str, *, user_id: str, start_time: int | None, tags: list[RunTag], run_name: str | None
    ) -> Run:
        """A new run; but a job's run goes on where the job begins one that is not a run of its own."""
        of_job = self._run_of_caller(experiment_id)
        given = {tag.key: tag.value for tag in tags}
        if of_job is None:
            return super().create_run(experiment_id, user_id, start_time, tags, run_name)
        if is_own_run(given, run_name):
            under = [] if PARENT in given else [RunTag(PARENT, of_job.info.run_id)]
            return super().create_run(experiment_id, user_id, start_time, [*tags, *under], run_name)
        run_id = of_job.info.run_id
        self.update_run_info(run_id, RunStatus.RUNNING, of_job.info.end_time, None)
        if added := of_user(given):
            self.log_batch(run_id, metrics=[], params=[], tags=[RunTag(key, value) for key, value in added.items()])
        return self.get_run(run_id)

    def _run_of_caller(self, experiment_id: str) -> Run | None:
        """The run of the job that asks, if it is one and means its own experiment."""
        run_id = flask.request.headers.get(RUN_HEADER) if flask.has_request_context() else None
        if not run_id:
            return None
        run = self.get_run(run_id)
        is_there = run.info.lifecycle_stage == LifecycleStage.ACTIVE
        return run if is_there and run.info.experiment_id == experiment_id else None

    def touch(self, run_id: str) -> None:
        """Make the row of a job's run, if there is such a job in this workspace and it has none yet."""
        if run_id in self._known_runs or not _JOB_ID.fullmatch(run_id):
            return
        if not self._has_row(run_id):
            found = self._asked(run_id)
            if found is None or workspace_in_mlflow(found.workspace) != self._get_active_workspace():
                return
            self._insert(found)
        with self._known_lock:
            if len(self._known_runs) >= KNOWN_RUNS_MAX:
                self._known_runs.clear()
            self._known_runs[run_id] = None

    def _asked(self, run_id: str) -> JobRun | None:
        try:
            return find_run(run_id)
        except ControlPlaneSilent as error:
            # 503: MLflow's clients try again, with back-off, until the control plane is back.
            raise MlflowException(str(error), error_code=TEMPORARILY_UNAVAILABLE) from error

    def _has_row(self, run_id: str) -> bool:
        with self.ManagedSessionMaker() as session:
            return session.query(SqlRun.run_uuid).filter(SqlRun.run_uuid == run_id).first() is not None

    def _insert(self, found: JobRun) -> None:
        experiment = self._experiment(found.experiment)
        tags = {"mlflow.user": found.user, "mlflow.source.type": "JOB", **found.tags, "mlflow.runName": found.name}
        status = RunStatus.SCHEDULED if found.started_at_ms is None else RunStatus.RUNNING
        row = SqlRun(
            run_uuid=found.id,
            name=found.name,
            experiment_id=int(experiment.experiment_id),
            artifact_uri=append_to_uri_path(
                experiment.artifact_location, found.id, SqlAlchemyStore.ARTIFACTS_FOLDER_NAME
            ),
            source_type=SourceType.to_string(SourceType.JOB),
            source_name="",
            source_version="",
            entry_point_name="",
            user_id=found.user,
            status=RunStatus.to_string(status),
            start_time=found.started_at_ms or int(time.time() * 1000),
            lifecycle_stage=LifecycleStage.ACTIVE,
            tags=[SqlTag(key=key, value=value) for key, value in tags.items()],
        )
        try:
            with self.ManagedSessionMaker(read_only=False) as session:
                session.add(row)
        except MlflowException:
            if not self._has_row(found.id):  # else another request was faster
                raise

    def _experiment(self, name: str) -> Any:
        """The active experiment with this name, made when missing, restored when it was deleted."""
        experiment = self.get_experiment_by_name(name)
        if experiment is None:
            try:
                self.create_experiment(name)
            except MlflowException as error:
                if not _is(error, RESOURCE_ALREADY_EXISTS):
                    raise
            experiment = self.get_experiment_by_name(name)
        if experiment.lifecycle_stage == LifecycleStage.DELETED:
            self.restore_experiment(experiment.experiment_id)
        return experiment


def _is(error: MlflowException, code: int) -> bool:
    return error.error_code == ErrorCode.Name(code)


def _touching(method: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """The same method, which first touches the runs that it is given."""
    signature = inspect.signature(method)

    def runs_in(arguments: dict[str, Any]) -> Iterator[str]:
        for name in names:
            given = arguments.get(name)
            yield from [given] if isinstance(given, str) else given or []

    @functools.wraps(method)
    def touching(self: RunStore, *arguments: Any, **named: Any) -> Any:
        for run_id in runs_in(signature.bind(self, *arguments, **named).arguments):
            self.touch(run_id)
        return method(self, *arguments, **named)

    return touching


def _touch_everywhere() -> None:
    """Wrap every public method that takes a run's id, whichever MLflow's version has.

    Outside of the methods' own transactions: inside, SQLite would not show the new row to the one that is open.
    """
    for name, method in inspect.getmembers(WorkspaceAwareSqlAlchemyStore, inspect.isfunction):
        if name.startswith("_"):
            continue
        taken = tuple(p for p in RUN_PARAMETERS if p in inspect.signature(method).parameters)
        if taken:
            setattr(RunStore, name, _touching(method, taken))


_touch_everywhere()
