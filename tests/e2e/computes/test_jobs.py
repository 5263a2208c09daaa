"""What jobs do, on every kind of compute alike: code and inputs arrive, logs and outputs come back, gangs meet."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.installation import Installation, carriers, until

from ultramarine.sdk.connection import of_home

from .conftest import Install

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MPI = {"requirements": ["mpich", "mpi4py", "numpy"], "python": "3.11"}
NODES = 3
LINES = 200
#: Rank 0 listens where everybody is told that it does; the others say where they are. It prints who has come.
MEET = """
import os, socket, sys
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank:
    while True:
        try:
            there = socket.create_connection(place, 10)
            break
        except ConnectionRefusedError:
            continue
    there.sendall(f"{rank}\\n".encode())
    print(*there.getsockname()[:1], flush=True)
    there.recv(1)
else:
    with socket.create_server(place, backlog=world) as server:
        come = [server.accept()[0] for _ in range(1, world)]
        print(*sorted(each.makefile().readline().strip() for each in come), place[0], flush=True)
"""

LOGS = """
import mlflow
with mlflow.start_run():
    mlflow.log_metric("loss", 0.5)
    mlflow.log_text("words", "note.txt")
print(mlflow.get_tracking_uri())
"""


@pytest.fixture(scope="module")
def it(install: Install) -> Iterator[Installation]:
    with install() as made:
        made.up()
        made.cluster(nodes=NODES)
        yield made


def log(it: Installation, job: str, rank: int) -> str:
    return b"".join(it.workspace.jobs.log(job, attempt=1, rank=str(rank), file="std_log.txt")).decode()


def mlflow(it: Installation, path: str, **query: str) -> dict[str, Any]:
    """What MLflow answers the owner, through the gateway."""
    here = of_home(it.home)
    headers = {"authorization": f"Bearer {here.token}"}
    answer = httpx.get(f"{here.url}/mlflow/api/2.0/mlflow/{path}", params=query, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_its_log_and_its_outputs_come_back_whole(it: Installation):
    it.count("counts", LINES, pause_s=0.005)
    assert it.comes_to("counts", "Completed")["attempt"] == 1
    assert it.log("counts", 1) == "".join(f"line {number}\n" for number in range(LINES))
    assert it.numbers("counts") == list(range(LINES))


def test_its_inputs_are_there_as_they_were_sent(it: Installation):
    data = it.home.with_name("data")
    (data / "deep" / "deeper").mkdir(parents=True)
    (data / "one.txt").write_text("first\n")
    (data / "deep" / "deeper" / "two.txt").write_text("second\n")
    inputs = {"data": {"type": "uri_folder", "path": str(data)}, "much": 7}
    command = "cat ${{inputs.data}}/one.txt ${{inputs.data}}/deep/deeper/two.txt; echo ${{inputs.much}}"
    it.submit("reads", command, inputs=inputs)
    it.comes_to("reads", "Completed")
    assert it.log("reads", 1) == "first\nsecond\n7\n"


def test_it_runs_in_the_environment_that_it_asks_for(it: Installation):
    environment = {"requirements": ["six==1.17.0"]}
    it.submit("needs", "python -c 'import six; print(six.__version__)'", environment=environment)
    it.comes_to("needs", "Completed", within_s=120)
    assert it.log("needs", 1) == "1.17.0\n"


def test_what_it_logs_is_in_mlflow_and_its_files_too(it: Installation):
    with tempfile.TemporaryDirectory() as code:
        Path(code, "logs.py").write_text(LOGS)
        it.submit("logs", "python logs.py", code=code, environment="azureml:sklearn@latest")
    assert it.comes_to("logs", "Completed", within_s=240)["attempt"] == 1
    where = it.log("logs", 1).splitlines()[-1]
    assert where.startswith("https://" if it.provider == "ray" else "http://127.0.0.1:")
    run = mlflow(it, "runs/get", run_id=it.job("logs")["id"])["run"]
    assert {"loss": 0.5}.items() <= {each["key"]: each["value"] for each in run["data"]["metrics"]}.items()
    files = mlflow(it, "artifacts/list", run_id=it.job("logs")["id"])["files"]
    assert {"note.txt"} <= {file["path"] for file in files}


def test_it_can_be_canceled_while_it_runs_and_before_it_has_begun(it: Installation):
    for name, nodes in (("running", NODES), ("waiting", 1)):
        it.submit(name, "echo begun; sleep 1000", resources={"instance_count": nodes})
    it.comes_to("running", "Running")
    until(lambda: it.log("running", 1) == "begun\n", "it has begun")
    for name in ("waiting", "running"):
        it.workspace.jobs.cancel(name)
        job = it.comes_to(name, "Canceled")
        assert not carriers(f"ULTRAMARINE_RUN_KEY={it.run_key(job)}")
    assert it.log("waiting", 1) == ""


def test_a_gang_begins_together_and_meets_where_it_is_told(it: Installation):
    fields = {"resources": {"instance_count": NODES}, "distribution": {"type": "pytorch"}}
    with tempfile.TemporaryDirectory() as code:
        Path(code, "meet.py").write_text(MEET)
        it.submit("gang", "python meet.py", code=code, **fields)
    job = it.comes_to("gang", "Completed")
    assert len(set(job["nodes"])) == NODES
    *came, master = log(it, "gang", 0).split()
    assert came == ["1", "2"]
    addresses = {master, *(log(it, "gang", rank).strip() for rank in range(1, NODES))}
    assert len(addresses) == (NODES if it.provider == "ray" else 1), "the hosts of that Ray have an address each"


def test_tensorflows_tasks_reach_each_other_at_the_places_they_are_told(it: Installation):
    three = {"type": "tensorflow", "worker_count": 2, "parameter_server_count": 1}
    it.submit("tasks", "python meet.py", code="distributed", resources={"instance_count": 2}, distribution=three)
    it.comes_to("tasks", "Completed")
    assert [log(it, "tasks", rank) for rank in range(3)] == [
        "worker 0 met ps 0, worker 1\n",
        "worker 1 met ps 0, worker 0\n",
        "ps 0 met worker 0, worker 1\n",
    ]


def test_mpi_processes_of_several_nodes_add_up(it: Installation):
    fields: dict[str, Any] = {"environment": MPI, "environment_variables": {"COLOUR": "deep blue"}}
    it.submit(
        "sum",
        "python allreduce.py",
        code="distributed",
        resources={"instance_count": NODES},
        distribution={"type": "mpi"},
        **fields,
    )
    it.comes_to("sum", "Completed", within_s=240)  # the environment is built here
    for rank in range(NODES):
        assert log(it, "sum", rank).startswith(f"rank {rank} of {NODES} on {rank}: {sum(range(NODES + 1))} ")
