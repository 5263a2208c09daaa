"""Commands against the real control plane; jobs run on real runners."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Um

from ultramarine.cli.command import FAILED, NOT_ALLOWED, NOT_FOUND, OK, USAGE

JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
type: command
code: ./src
command: python train.py ${{inputs.trees}}
inputs: {trees: 200}
environment: azureml:minimal@latest
compute: azureml:local
"""


@pytest.fixture
def job_file(signed_in: Path) -> str:
    """A job whose code prints its argument."""
    folder = signed_in / "work"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "train.py").write_text("import sys\nprint('trees', sys.argv[1])\n")
    (folder / "job.yml").write_text(JOB)
    return "work/job.yml"


def test_a_job_is_followed_with_its_log_alone_on_stdout(um: Um, job_file: str):
    followed = um("job", "create", "-f", job_file, "--set", "inputs.trees=300", "--name", "followed", "--stream")
    assert (followed.code, followed.out) == (OK, "trees 300\n")
    assert followed.err.startswith("Job followed: Queued\n")
    assert followed.err.endswith("Job followed: Completed\n")
    shown = json.loads(um("job", "show", "followed").out)
    assert shown["created_at"] <= shown["started_at"] <= shown["ended_at"], "however short it was"


def test_it_is_said_which_environment_stands_for_one_of_azures(um: Um, job_file: str):
    azures = "environment=azureml:AzureML-Minimal@latest"
    made = um("job", "create", "-f", job_file, "-n", "moved", "--set", azures, "--stream")
    assert made.code == OK
    assert made.err.startswith("note: environment: azureml:AzureML-Minimal@latest is minimal:1 here.\n")


def test_a_job_that_fails_fails_the_command_and_names_the_next(um: Um, job_file: str):
    failed = um("job", "create", "-f", job_file, "--set", "command=echo so; exit 3", "-n", "failed", "--stream")
    assert (failed.code, failed.out) == (FAILED, "so\n")
    assert "Job failed: Failed: " in failed.err
    assert failed.err.endswith("next: um job explain -n failed\n")
    explained = um("job", "explain", "failed", "--query", "failed.code")
    assert (explained.code, explained.out) == (OK, "3\n")
    assert um("job", "stream", "failed").code == FAILED


def test_lines_of_several_ranks_say_whose_they_are(um: Um, job_file: str):
    two = "{type: pytorch, process_count_per_instance: 2}"
    command = "command=echo I am $RANK"
    followed = um("job", "create", "-f", job_file, "--set", command, "--set", f"distribution={two}", "--stream")
    assert sorted(followed.out.splitlines()) == ["[rank 0] I am 0", "[rank 1] I am 1"]


def test_a_job_is_listed_shown_and_downloaded(um: Um, job_file: str, signed_in: Path):
    assert um("job", "create", "-f", job_file, "-n", "shown", "--set", "experiment_name=e1", "--stream").code == OK
    listed = um("job", "list", "--experiment-name", "e1", "-o", "table").out.splitlines()
    assert listed[0].split()[:2] == ["NAME", "STATUS"]
    assert listed[1].split()[:4] == ["shown", "Completed", "e1", "local"]
    assert json.loads(um("job", "show", "shown").out)["inputs"] == {"trees": 200}
    downloaded = um("job", "download", "-n", "shown", "-p", "got")
    assert (downloaded.code, downloaded.out) == (OK, "")
    assert (signed_in / "got/shown/logs/attempt-1/rank-0/std_log.txt").read_text() == "trees 200\n"
    events = json.loads(um("job", "events", "shown").out)
    assert events[-1]["status"] == "Completed"


def test_a_checkpoint_is_downloaded_by_itself(um: Um, job_file: str, signed_in: Path):
    command = "command=echo 7 > $ULTRAMARINE_CHECKPOINT_DIR/step"
    assert um("job", "create", "-f", job_file, "-n", "kept", "--set", command, "--stream").code == OK
    assert um("job", "download", "-n", "kept", "-p", "got", "--checkpoint").code == OK
    assert (signed_in / "got/kept/checkpoint/step").read_text() == "7\n"
    both = um("job", "download", "-n", "kept", "--checkpoint", "--output-name", "default")
    assert (both.code, "--checkpoint and --output-name" in both.err) == (USAGE, True)


def test_what_is_not_there_is_told_apart(um: Um, signed_in: Path):
    missing = um("job", "show", "nobody")
    assert (missing.code, missing.out) == (NOT_FOUND, "")
    assert "There is no job named 'nobody'" in missing.err
    assert um("job", "cancel", "nobody").code == NOT_FOUND
    assert um("compute", "delete", "nobody", "-y").code == NOT_FOUND


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("command: x\ncomand: y\nenvironment: minimal\ncompute: local\n", "did you mean 'command'"),
        ("command: [\n", "bad.yml: Line 2"),
        ("command: x\nenvironment: minimal\ncompute: local\ncode: ./nowhere\n", "code: there is no file or folder"),
    ],
)
def test_a_bad_file_is_a_usage_error_that_names_the_place(um: Um, signed_in: Path, content: str, said: str):
    (signed_in / "bad.yml").write_text(content)
    refused = um("job", "create", "-f", "bad.yml")
    assert (refused.code, refused.out) == (USAGE, "")
    assert said in refused.err


def test_nothing_to_create_is_said(um: Um, signed_in: Path):
    assert "Give a file" in um("job", "create").err


def test_a_cluster_is_made_of_options_or_a_file_and_goes(um: Um, signed_in: Path):
    options = ("--type", "amlcompute", "--size", "STANDARD_DS1_V2", "--max-instances", "2")
    made = um("compute", "create", "-n", "c1", *options)
    assert (made.code, json.loads(made.out)["size_used"]) == (OK, "cpu-1")
    (signed_in / "c2.yml").write_text("name: c2\ntype: amlcompute\nsize: cpu-1\n")
    assert um("compute", "create", "-f", "c2.yml", "--set", "max_instances=3").code == OK
    assert json.loads(um("compute", "update", "c2", "--max-instances", "4").out)["max_instances"] == 4
    assert um("compute", "list", "--query", "[?name=='c2'].max_instances").out == "[\n  4\n]\n"
    assert um("compute", "list-nodes", "c2").out == "[]\n"
    gone = um("compute", "delete", "c2", "--yes")
    assert (gone.code, gone.out) == (OK, "")
    assert gone.err.endswith("Compute c2: Deleted\n")


def test_nothing_is_deleted_unless_somebody_says_so(um: Um, signed_in: Path):
    um("compute", "create", "-n", "kept", "--type", "amlcompute", "--size", "cpu-1")
    refused = um("compute", "delete", "kept")
    assert refused.code == FAILED
    assert "Add --yes" in refused.err
    assert um("compute", "show", "kept", "--query", "name").out == '"kept"\n'


def test_data_is_registered_by_options_and_read_by_name_and_version(um: Um, signed_in: Path):
    (signed_in / "a.csv").write_text("x\n")
    made = um("data", "create", "-n", "d1", "-t", "uri_file", "-p", "a.csv")
    assert (made.code, json.loads(made.out)["version"]) == (OK, "1")
    for name in ("d1", "d1:1", "azureml:d1@latest"):
        assert um("data", "show", name, "--query", "size_bytes").out == "2\n"
    assert um("data", "download", "d1").code == OK
    assert (signed_in / "d1" / "a.csv").read_text() == "x\n"


def test_an_environment_that_cannot_be_made_is_refused(um: Um, signed_in: Path):
    (signed_in / "requirements.txt").write_text("./local-folder\n")
    refused = um("environment", "create", "-n", "e1", "--requirements", "requirements.txt")
    assert refused.code == USAGE
    assert "local-folder" in refused.err
    (signed_in / "requirements.txt").write_text("")
    assert um("environment", "create", "-n", "e2", "--requirements", "requirements.txt").code == OK


def test_a_token_is_shown_once_and_revoked(um: Um, signed_in: Path):
    made = um("token", "create", "--subject", "ada", "--role", "reader")
    token = json.loads(made.out)
    assert token["workspace"] == "default"
    assert um("job", "list", "--token", token["token"]).code == OK
    assert token["token"] not in um("token", "list").out
    assert um("token", "delete", "--id", token["id"], "-y").code == OK


def test_an_endpoint_is_made_and_its_keys_change(um: Um, signed_in: Path):
    assert um("online-endpoint", "create", "-n", "ep").code == OK
    before = json.loads(um("online-endpoint", "get-credentials", "ep").out)
    assert um("endpoint", "regenerate-keys", "ep", "--key-type", "secondary").code == OK
    after = json.loads(um("endpoint", "get-credentials", "ep").out)
    assert (after["primaryKey"] == before["primaryKey"], after["secondaryKey"] == before["secondaryKey"]) == (
        True,
        False,
    )
    assert um("endpoint", "delete", "ep", "-y").code == OK


def test_a_workspace_is_made_and_its_lists_are_empty(um: Um, signed_in: Path):
    assert um("workspace", "create", "-n", "vision", "--description", "Pictures").code == OK
    assert um("job", "list", "-w", "vision").out == "[]\n"
    assert um("workspace", "show", "-w", "vision", "--query", "description").out == '"Pictures"\n'
    empty = um("job", "list", "-w", "vision", "-o", "table")
    assert (empty.out, empty.err) == ("", "(none)\n")


def test_a_workspace_in_use_says_what_to_type_and_an_empty_one_is_deleted(um: Um, signed_in: Path):
    assert um("workspace", "create", "-n", "short").code == OK
    assert um("online-endpoint", "create", "-n", "ep", "-w", "short").code == OK
    refused = um("workspace", "delete", "short", "--yes")
    assert refused.code == FAILED
    assert "next: End what lives in it, e.g. um online-endpoint delete -n ep -w short" in refused.err
    assert um("online-endpoint", "delete", "-n", "ep", "-w", "short", "--yes").code == OK
    assert "Add --yes" in um("workspace", "delete", "short").err
    asked = um("workspace", "delete", "short", "--yes", "--no-wait")
    assert (asked.code, asked.err) == (OK, "Workspace short: Deleting\n")
    assert um("workspace", "show", "short", "--query", "provisioning_state").out == '"Deleting"\n'
    assert "always there" in um("workspace", "delete", "default", "--yes").err


def test_what_runs_is_shown(um: Um, signed_in: Path):
    shown = um("status")
    assert (shown.code, json.loads(shown.out)["workspaces"][0]) == (OK, "default")
    assert "home" not in json.loads(shown.out), "the server that was named is not on this machine"


def test_who_may_not_see_what_all_do_is_told_where_to_look(um: Um, signed_in: Path):
    token = json.loads(um("token", "create", "--subject", "ada").out)["token"]
    refused = um("status", "--token", token)
    assert (refused.code, refused.out) == (NOT_ALLOWED, "")
    assert "the token of 'ada' is of workspace 'default' alone" in refused.err
    for instead in ("um job list", "um token create --every-workspace --role owner --subject"):
        assert instead in refused.err
