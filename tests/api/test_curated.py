"""Curated environments as an installation has them: a lock for each accelerator, and what this machine cannot have."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.factories import cpus, make_allocation, make_cluster, make_node, make_run, make_site

from ultramarine import curated
from ultramarine.domain.host import THIS_MACHINE
from ultramarine.domain.run import RunStatus
from ultramarine.domain.size import Amount
from ultramarine.planning.seen import DIGITS
from ultramarine.server import first_start
from ultramarine.services.desired import Renderer
from ultramarine.services.look import Look
from ultramarine.store import assets, computes, jobs, runs

W = "/api/v1/workspaces/w"
PYTORCH = f"{W}/environments/pytorch/versions"
NODE = make_node(make_allocation())


async def started(api: Api, tmp_path: Path, *pythons: str, platform: str = "linux-x86_64") -> Api:
    """After a start on a machine with these Pythons."""
    from_here = replace(api.ctx, site=make_site(pythons=pythons, platform=platform))
    (tmp_path / "run").mkdir(exist_ok=True)
    await first_start.begin(from_here, tmp_path)
    api.app.state.ctx = from_here
    return replace(api, ctx=from_here)


async def built_for(api: Api, *, need: Amount | None, size: Amount) -> tuple[str, dict[str, Any]]:
    """Of a run in `pytorch`: which environment nodes are preferred for while it is queued, and what its node makes."""
    queued = make_run(need=need)
    named = {"workspace": assets.CURATED, "name": "pytorch", "version": curated.load()["pytorch"].version}
    spec = {"command": "true", "environment": named, "experiment": "e"}
    async with api.ctx.begin() as tx:
        await computes.add(tx, make_cluster(size=size))
        await runs.add(tx, queued, spec)
        preferred = (await Look(api.ctx, THIS_MACHINE).state(tx)).wants[queued.key]
        placed = replace(queued, nodes=(NODE.key,), status=RunStatus.PREPARING)
        wanted = await Renderer(api.ctx).render(tx, [NODE], [placed])
    return preferred, dict(wanted[NODE.key][placed.key]["spec"]["environment"])


@pytest.mark.parametrize(
    ("need", "size", "accelerator"),
    [
        (None, cpus(4), "cpu"),
        (None, cpus(4, gpus=2), "cuda"),
        (cpus(1), cpus(4, gpus=2), "cpu"),
        (cpus(1, gpus=1), cpus(4, gpus=2), "cuda"),
    ],
    ids=["a whole node", "a whole node with GPUs", "a part without", "a part with one"],
)
async def test_what_a_run_has_decides_which_lock_is_built_and_which_nodes_have_it(
    api: Api, tmp_path: Path, need: Amount | None, size: Amount, accelerator: str
) -> None:
    api = await started(api, tmp_path, "3.11")
    preferred, told = await built_for(api, need=need, size=size)
    locks = curated.load()["pytorch"].locks(("3.11",), platform="linux-x86_64")
    wanted = next(lock for lock in locks if lock.accelerator == accelerator)
    assert (told["digest"], told["python"], preferred) == (wanted.digest, "3.11", wanted.digest[:DIGITS])
    assert api.ctx.blobs.read(told["lock"]).decode() == wanted.text


async def test_an_environment_is_shown_as_for_a_cpu_with_the_others_beside(api: Api, tmp_path: Path) -> None:
    api = await started(api, tmp_path, "3.11")
    cpu, cuda = curated.load()["pytorch"].locks(("3.11",), platform="linux-x86_64")
    shown = (await api.ask("GET", f"{PYTORCH}/latest")).json()
    assert (shown["digest"], shown["packages"]) == (cpu.digest, len(cpu.packages))
    assert shown["accelerators"] == {
        "cpu": {"digest": cpu.digest, "packages": len(cpu.packages)},
        "cuda": {"digest": cuda.digest, "packages": len(cuda.packages)},
    }
    assert "accelerators" not in (await api.ask("GET", f"{W}/environments/sklearn/versions/latest")).json()


async def test_a_lock_is_given_for_the_accelerator_that_is_asked_for(api: Api, tmp_path: Path) -> None:
    api = await started(api, tmp_path, "3.11")
    for query, accelerator, version in (
        ("", "cpu", "2.13.0+cpu"),
        ("?accelerator=cpu", "cpu", "2.13.0+cpu"),
        ("?accelerator=cuda", "cuda", "2.13.0"),
    ):
        lock = (await api.ask("GET", f"{PYTORCH}/1/lock{query}")).json()
        assert (lock["accelerator"], lock["accelerators"]) == (accelerator, ["cpu", "cuda"])
        assert {"name": "torch", "version": version} in lock["packages"]
    one_for_all = (await api.ask("GET", f"{W}/environments/sklearn/versions/latest/lock?accelerator=cuda")).json()
    assert (one_for_all["accelerator"], one_for_all["accelerators"]) == ("cpu", ["cpu"])
    assert (await api.ask("GET", f"{PYTORCH}/1/lock?accelerator=tpu")).status_code == 422


async def test_one_without_its_python_is_left_out_and_comes_once_that_is_there(
    api: Api, tmp_path: Path, job: Any
) -> None:
    api = await started(api, tmp_path, "3.12")
    names = [row["name"] for row in (await api.ask("GET", f"{W}/environments")).json()["value"]]
    assert "sklearn" in names
    assert "pytorch" not in names
    shown = await api.ask("GET", f"{PYTORCH}/latest")
    assert (shown.status_code, shown.json()["detail"]) == (422, "Python 3.11 is not there; there is: 3.12.")
    refused = await api.ask("PUT", f"{W}/jobs/j", json=job(environment="azureml:pytorch@latest"))
    assert (refused.status_code, "Python 3.11 is not there" in refused.json()["detail"]) == (422, True)
    api = await started(api, tmp_path, "3.12", "3.11")
    assert (await api.ask("GET", f"{PYTORCH}/latest")).json()["python"] == "3.11"
    assert (await api.ask("GET", f"{PYTORCH}/7")).status_code == 404


async def test_one_that_is_not_locked_for_this_platform_says_so(api: Api, tmp_path: Path) -> None:
    api = await started(api, tmp_path, "3.11", platform="linux-aarch64")
    shown = await api.ask("GET", f"{PYTORCH}/latest")
    assert shown.status_code == 422
    assert "pytorch is locked for linux-x86_64, not for linux-aarch64" in shown.json()["detail"]
    assert "um environment create" in shown.json()["hint"]


@pytest.mark.parametrize(
    "given",
    [
        "azureml:AzureML-acpt-pytorch-2.2-cuda12.1@latest",
        "azureml://registries/azureml/environments/acpt-pytorch-2.2-cuda12.1/versions/19",
    ],
)
async def test_ours_stands_for_one_of_azures_and_it_is_said(api: Api, tmp_path: Path, job: Any, given: str) -> None:
    api = await started(api, tmp_path, "3.11")
    made = await api.ask("PUT", f"{W}/jobs/j", json=job(environment=given))
    assert made.status_code == 201
    assert made.json()["notice"] == f"environment: {given} is pytorch:1 here."
    async with api.ctx.read() as tx:
        found = (await jobs.get(tx, "w", "j")).id
        spec = (await runs.specs(tx, [(await runs.newest(tx, found)).key])).popitem()[1]
    assert spec["environment"] == {"workspace": assets.CURATED, "name": "pytorch", "version": "1"}
    plain = await api.ask("PUT", f"{W}/jobs/k", json=job(environment="azureml:sklearn@latest"))
    assert plain.json()["notice"] == ""


async def test_one_of_azures_that_nothing_stands_for_is_refused_with_what_there_is(
    api: Api, tmp_path: Path, job: Any
) -> None:
    api = await started(api, tmp_path, "3.11")
    body = job(environment="azureml:AzureML-tensorflow-2.16-cuda11@latest")
    refused = await api.ask("PUT", f"{W}/jobs/j", json=body)
    assert refused.status_code == 404
    assert "There is: inference, jupyter, minimal, pytorch, sklearn." in refused.json()["detail"]
    assert "um environment create --name AzureML-tensorflow-2.16-cuda11" in refused.json()["hint"]
    own = {"requirements": ["tensorflow"]}
    await api.ask("PUT", f"{W}/environments/AzureML-tensorflow-2.16-cuda11/versions/1", json=own)
    taken = await api.ask("PUT", f"{W}/jobs/j", json=body)
    assert (taken.status_code, taken.json()["notice"]) == (201, "")


async def test_one_of_azures_whose_counterpart_cannot_be_here_says_why(api: Api, tmp_path: Path, job: Any) -> None:
    api = await started(api, tmp_path, "3.12")
    refused = await api.ask("PUT", f"{W}/jobs/j", json=job(environment="AzureML-acpt-pytorch-2.2-cuda12.1"))
    assert (refused.status_code, "Python 3.11 is not there" in refused.json()["detail"]) == (422, True)
