"""What a job is given, without any server."""

from ultramarine.tracking.plugin.ultramarine_mlflow.names import workspace_in_mlflow
from ultramarine.tracking.variables import TOKEN_VARIABLE, job_variables

GIVEN = job_variables(run_id="ab" * 16, experiment="iris")


def test_a_job_is_told_its_run_its_experiment_and_its_nodes_view_of_the_server():
    assert GIVEN["MLFLOW_TRACKING_URI"] == "{{server}}/mlflow"
    assert GIVEN["MLFLOW_TRACKING_SERVER_CERT_PATH"] == "{{ca}}"
    assert (GIVEN["MLFLOW_RUN_ID"], GIVEN["MLFLOW_EXPERIMENT_NAME"]) == ("ab" * 16, "iris")


def test_the_token_is_never_among_the_open_variables():
    assert TOKEN_VARIABLE not in GIVEN


def test_no_two_workspaces_share_a_name_in_mlflow():
    names = ["default", "team-a", "Team-a", "w", "a" * 64, "x-1", "api", workspace_in_mlflow("w")]
    made = [workspace_in_mlflow(name) for name in names]
    assert made[:2] == ["default", "team-a"]
    assert len(set(made)) == len(names)
    assert all(2 <= len(name) <= 63 for name in made)
