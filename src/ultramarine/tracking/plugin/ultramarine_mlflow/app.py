"""The ASGI application that is served: MLflow's, with our stores in it and the guard around it."""

# MLflow has no public way in: the version is pinned, and the tests start the real server.
# ruff: noqa: SLF001

import os
import sys

from mlflow.server import handlers
from mlflow.server.fastapi_app import app as mlflow_app
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking._workspace import registry

from ultramarine_mlflow.guard import Guard
from ultramarine_mlflow.migrate import NoDatabase, migrate_postgresql
from ultramarine_mlflow.store import RunStore, WorkspaceStore


def _workspace_store(workspace_uri: str) -> WorkspaceStore:
    return WorkspaceStore(workspace_uri)


def _run_store(store_uri: str, artifact_uri: str) -> RunStore:
    return RunStore(store_uri, artifact_uri)


_uri = os.environ["_MLFLOW_SERVER_FILE_STORE"]
if _uri.startswith("postgresql"):  # a file was brought up to date before, where a copy could be worked on
    try:
        migrate_postgresql(_uri)
    except NoDatabase as error:
        sys.exit(f"mlflow: the database does not answer: {error}")
# MLflow reads its database's schemes from these two tables; ours take the built-in stores' place there.
for scheme in DATABASE_ENGINES:
    handlers._tracking_store_registry.register(scheme, _run_store)
    registry._get_workspace_store_registry().register(scheme, _workspace_store)
# Made now, so that the first request does not wait for it and a broken database is seen at the start.
handlers._get_tracking_store()
handlers._get_model_registry_store()

app = Guard(
    mlflow_app,
    prefix=os.environ["_MLFLOW_STATIC_PREFIX"],
    delete_workspace=lambda name: handlers._get_workspace_store().purge(name),
)
