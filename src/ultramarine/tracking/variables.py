"""What a job is given so that MLflow in it finds its server and its run, and behaves as in a job."""

import functools
from pathlib import Path

from ultramarine.packing import packed

IN_JOB = Path(__file__).parent / "in_job"
IN_JOB_ZIP = "ultramarine-in-job.zip"  #: the name, among a run's files, of what `in_job_zip` gives
TOKEN_VARIABLE = "MLFLOW_TRACKING_TOKEN"  #: the run's token; it belongs among the job's *secret* variables
OWN_TOKEN = "ULTRAMARINE_TOKEN"  #: the same for the command line and the Python client, in an instance

# With MLFLOW_RUN_ID set, the first `mlflow.start_run()`, autologged fit or `mlflow.log_*` joins that run; MLflow then
# takes the variable away: what follows its end joins it by the token (plugin/ultramarine_mlflow/joining.py).
# MLFLOW_EXPERIMENT_NAME is the run's own experiment: traces, and models logged without a run, look there; without it
# they look for experiment 0, which only the workspace `default` has. MLFLOW_EXPERIMENT_ID is known to MLflow only.
_QUICK_AND_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # It would print an address of the API's origin, where the pages are not.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


def job_variables(*, run_id: str, experiment: str) -> dict[str, str]:
    """What a job needs besides `TOKEN_VARIABLE`.

    `run_id`: the job's id. `experiment`: the name that the control plane gives for this run. Where the gateway is, and
    the CA that signed its certificate, each node knows for itself (docs/reference/runner-protocol.md).
    """
    return {
        "MLFLOW_TRACKING_URI": "{{server}}/mlflow",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "{{ca}}",
        "MLFLOW_RUN_ID": run_id,
        "MLFLOW_EXPERIMENT_NAME": experiment,
        **_QUICK_AND_QUIET,
    }


def instance_variables(*, workspace: str) -> dict[str, str]:
    """What an instance needs besides `TOKEN_VARIABLE` and `OWN_TOKEN`: what is begun in it finds MLflow and the API."""
    return {
        "MLFLOW_TRACKING_URI": "{{server}}/mlflow",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "{{ca}}",
        "ULTRAMARINE_URL": "{{server}}",
        "ULTRAMARINE_CA_FILE": "{{ca}}",
        "ULTRAMARINE_WORKSPACE": workspace,
        **_QUICK_AND_QUIET,
    }


def python_path(own: str | None) -> str:
    """`PYTHONPATH` of a job that sets `own` itself: its folders come first."""
    ours = f"{{{{file:{IN_JOB_ZIP}}}}}"
    return f"{own}:{ours}" if own else ours


@functools.cache
def in_job_zip() -> bytes:
    """The modules that change MLflow in a job, as one file for `PYTHONPATH`: the same bytes for the same sources."""
    return packed((source.name, source.read_bytes()) for source in sorted(IN_JOB.glob("*.py")))
