"""The environment variables by which MLflow in a job finds its server and its run."""

TOKEN_VARIABLE = "MLFLOW_TRACKING_TOKEN"  #: the run's token; it belongs among the job's *secret* variables

# With MLFLOW_RUN_ID set, the first `mlflow.start_run()`, autologged fit or `mlflow.log_*` joins that run; MLflow then
# takes the variable away: what follows the *end* of that run is a run of its own. A script that trains by autolog
# and logs more afterwards does both inside `with mlflow.start_run():`.
# MLFLOW_EXPERIMENT_NAME is the run's own experiment: traces, and models logged without a run, look there; without it
# they look for experiment 0, which only the workspace `default` has. MLFLOW_EXPERIMENT_ID is known to MLflow only.
_QUICK_AND_QUIET = {
    # autolog starts a second Python to find a model's requirements (10 of 14 s). The job's lock says it better.
    "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # It would print an address of the API's origin, where the pages are not.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


def job_variables(*, address: str, run_id: str, experiment: str, certificate: str | None = None) -> dict[str, str]:
    """What a job needs besides `TOKEN_VARIABLE`.

    `address`: the gateway's, e.g. `http://127.0.0.1:7770`. `run_id`: the job's id. `experiment`: the name that the
    control plane gives for this run. `certificate`: path, on the node, of the CA that signed the gateway's.
    """
    trusted = {"MLFLOW_TRACKING_SERVER_CERT_PATH": certificate} if certificate else {}
    return {
        "MLFLOW_TRACKING_URI": f"{address.rstrip('/')}/mlflow",
        "MLFLOW_RUN_ID": run_id,
        "MLFLOW_EXPERIMENT_NAME": experiment,
        **trusted,
        **_QUICK_AND_QUIET,
    }
