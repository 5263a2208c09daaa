"""Jobs whose processes work together over nodes: the libraries themselves, on two nodes of this machine."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .installation import Installation, carriers, end, installed, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SIZES = json.dumps({"small": {"cpus": 0.9, "memory_gib": 1.5}})
TWO = {"instance_count": 2}
MPI = {"requirements": ["mpich", "mpi4py", "numpy"], "python": "3.11"}
RAY = {"requirements": ["ray==2.60.0"], "python": "3.11"}
TORCH = {"requirements": ["torch==2.13.0", "scikit-learn"], "python": "3.11"}


@pytest.fixture(scope="module")
def it(cache: Path) -> Iterator[Installation]:
    with installed(cache, ULTRAMARINE_SIZES=SIZES) as made:
        made.up()
        made.workspace.computes.create_or_update(
            {"name": "c", "type": "amlcompute", "size": "small", "max_instances": 2, "idle_time_before_scale_down": 600}
        )
        yield made


def submit(it: Installation, name: str, command: str, **fields: Any) -> None:
    it.submit(name, command, code="distributed", **fields)


def log(it: Installation, job: str, rank: int) -> str:
    return b"".join(it.workspace.jobs.log(job, attempt=1, rank=str(rank), file="std_log.txt")).decode()


def result(it: Installation, job: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=it.home.parent) as folder:
        list(it.workspace.jobs.download(job, Path(folder), output_name="result"))
        return json.loads(next(file for file in Path(folder).rglob("*") if file.is_file()).read_text())


def test_four_pytorch_processes_on_two_nodes_learn_what_one_does(it: Installation):
    of_both: dict[str, Any] = {"environment": TORCH, "outputs": {"result": {"type": "uri_file"}}}
    command = "python digits.py ${{outputs.result}}"
    submit(it, "one", command, **of_both)
    it.comes_to("one", "Completed", within_s=240)  # the environment is built here
    four = {"type": "pytorch", "process_count_per_instance": 2}
    submit(it, "four", command, **of_both, resources=TWO, distribution=four)
    it.comes_to("four", "Completed", within_s=120)
    alone, together = result(it, "one"), result(it, "four")
    assert (alone["world"], together["world"]) == (1, 4)
    assert together["losses"] == pytest.approx(alone["losses"], rel=1e-9)
    assert together["weights"] == pytest.approx(alone["weights"], rel=1e-7, abs=1e-12)
    assert alone["losses"][-1] < alone["losses"][0] / 2, "it learns"
    submit(it, "here", command, **of_both, distribution=four)
    it.comes_to("here", "Completed", within_s=120)
    assert result(it, "here")["losses"] == pytest.approx(alone["losses"], rel=1e-9), "two processes of one node"


def mpi(it: Installation, name: str, *words: str) -> None:
    four = {"type": "mpi", "process_count_per_instance": 2}
    command = " ".join(["python allreduce.py", *words])
    variables = {"COLOUR": "deep blue"}
    fields: dict[str, Any] = {"environment": MPI, "resources": TWO, "distribution": four}
    submit(it, name, command, environment_variables=variables, **fields)


def test_mpi_processes_of_two_nodes_add_up_and_each_has_its_log_and_folder(it: Installation):
    mpi(it, "sum")
    it.comes_to("sum", "Completed", within_s=120)
    first, second = zip(*(log(it, "sum", rank).splitlines() for rank in range(4)), strict=True)
    assert list(first) == [f"rank {rank} of 4 on {rank // 2}: 10 {rank} deep blue" for rank in range(4)]
    assert len(set(second)) == 2, "each node has a copy of the code"
    assert {line.rpartition(" ")[2] for line in second} == {"False"}


def test_an_mpi_process_that_fails_on_the_second_node_fails_the_job_with_its_code(it: Installation):
    mpi(it, "bad", "3")
    job = it.comes_to("bad", "Failed", within_s=120)
    assert "code 7" in job["reason"], job
    until(lambda: not ranks_of(it, job), "nothing of it is left")


def test_of_a_canceled_mpi_job_nothing_is_left_on_any_node(it: Installation):
    mpi(it, "long", "wait")
    it.comes_to("long", "Running", within_s=120)
    until(lambda: "rank 3 of 4" in log(it, "long", 3), "it adds up")
    assert len(ranks_of(it, it.job("long"))) >= 8, "mpiexec, proxies, four processes"
    it.workspace.jobs.cancel("long")
    job = it.comes_to("long", "Canceled")
    until(lambda: not ranks_of(it, job), "nothing of it is left")


def test_a_node_that_dies_takes_the_whole_mpi_job_along_and_it_is_tried_again(it: Installation):
    mpi(it, "lost", "wait")
    job = it.comes_to("lost", "Running", within_s=120)
    until(lambda: "rank 3 of 4" in log(it, "lost", 3), "it adds up")
    before = ranks_of(it, job)
    link, _ = it.runner(job["nodes"][1])
    end(link)
    until(lambda: it.job("lost")["attempt"] == 2, "it is tried again", seconds=60)
    assert not set(before) & set(ranks_of(it, job)), "of the first attempt nothing is left"
    it.workspace.jobs.cancel("lost")
    it.comes_to("lost", "Canceled")


def test_without_an_mpiexec_the_job_says_what_to_add(it: Installation):
    submit(it, "none", "true", distribution={"type": "mpi"}, environment_variables={"PATH": "/nowhere"})
    it.comes_to("none", "Failed")
    assert "Add mpich" in log(it, "none", 0)


def ray(it: Installation, name: str, *words: str) -> None:
    command = " ".join(["python tasks.py", *words])
    submit(it, name, command, environment=RAY, resources=TWO, distribution={"type": "ray"})


def test_a_job_has_a_ray_of_its_own_over_its_nodes(it: Installation):
    ray(it, "tasks-of-ray")
    job = it.comes_to("tasks-of-ray", "Completed", within_s=300)  # the environment is built here
    assert log(it, "tasks-of-ray", 0) == "nodes 2 cpus 2.0 squares 285\nno secret is seen\n"
    until(lambda: not ranks_of(it, job), "nothing of it is left")
    until(lambda: not scratch(), "its folders of sockets went with it")


def test_a_ray_that_dies_on_the_second_node_ends_the_job_which_says_so(it: Installation):
    ray(it, "half", "wait")
    job = it.comes_to("half", "Running", within_s=120)
    until(lambda: "waiting" in log(it, "half", 0), "it has its Ray", seconds=60)
    assert scratch(), "its sockets are in folders with short paths"
    raylets = [pid for pid in ranks_of(it, job) if _of_second_node(pid)]
    assert raylets, "the second node has one"
    os.kill(raylets[0], signal.SIGKILL)
    job = it.comes_to("half", "Failed", within_s=120)
    assert "Ray on node 1 ended with code" in log(it, "half", 0)
    until(lambda: not ranks_of(it, job), "nothing of it is left")


def _of_second_node(pid: int) -> bool:
    place = Path(f"/proc/{pid}")
    is_raylet = b"raylet/raylet" in (place / "cmdline").read_bytes()
    return is_raylet and b"ULTRAMARINE_NODE_RANK=1" in (place / "environ").read_bytes()


def scratch() -> list[Path]:
    roots = {Path(tempfile.gettempdir()), Path("/tmp")}
    return [place for root in roots for place in root.glob(f"um-{os.getuid()}/*/session_latest")]


def ranks_of(it: Installation, job: dict[str, Any]) -> list[int]:
    return carriers(f"AZUREML_RUN_ID={job['name']}")
