"""Which of the runs that a job begins are the job's run going on, and which are runs of their own under it.

MLflow's clients forget the job's run once they have joined it. What they begin after that has nothing to say for
itself where the script only logs on (`mlflow.log_metric` outside a run, `mlflow.start_run()`): it is the job's run.
"""

from collections.abc import Mapping

PARENT = "mlflow.parentRunId"
_SOURCE = "mlflow.source.name"  # `mlflow.start_run` and all that logs without it say where the code is
#: Only a run of its own has them: it is nested, named, described, or one of the fits that autolog keeps apart.
_OWN = frozenset({PARENT, "mlflow.runName", "mlflow.note.content", "mlflow.autologging"})


def is_own_run(tags: Mapping[str, str], name: str | None) -> bool:
    """Whether it says that it is one. `MlflowClient().create_run()` is meant so too: it asks for a new run."""
    return bool(name) or _SOURCE not in tags or not _OWN.isdisjoint(tags)


def of_user(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that the script gave; the others MLflow finds on the node, and the control plane knows better."""
    return {key: value for key, value in tags.items() if not key.startswith("mlflow.")}
