"""Compute instances in the gateway's route table."""

from dataclasses import replace
from typing import Any

import pytest
from tests.factories import make_instance, make_run

from ultramarine.domain.instance import Instance
from ultramarine.domain.names import ComputeId
from ultramarine.domain.run import Mode, OwnerNoun, Run, RunStatus
from ultramarine.planning.routes import Entrances, Trust, Upstreams, place_of, render

LAB = make_instance(name="lab", owner="ada")
UP = {"http": "unix:/r.sock"}
HERE = Trust()


def run_of(instance: Instance = LAB, *, ordinal: int = 1, **different: Any) -> Run:
    owner = {"owner_noun": OwnerNoun.INSTANCE, "owner_id": instance.id, "mode": Mode.INSTANCE}
    return make_run(instance.id, ordinal=ordinal, **{**owner, "status": RunStatus.RUNNING, "sockets": UP, **different})


#: What the runs of `LAB` were started with; the third one is older than applications are.
STARTED = {run_of().key: {"board": 6006}, run_of(ordinal=2).key: {"board": 6007, "demo": 8501}}


def rendered(*runs: Run, instances: tuple[Instance, ...] = (LAB,), trust: Trust = HERE) -> dict[str, Any]:
    secrets = {run.key: f"of {run.owner_id}" for run in runs}
    entrances = Entrances(instances=instances, runs=runs, applications=STARTED, secrets=secrets)
    table = render(
        Upstreams(control="unix:/c.sock", mlflow="unix:/m.sock"),
        [],
        [],
        replicas=[],
        trust=trust,
        entrances=entrances,
    )
    return table["instances"]


def test_an_instance_is_in_the_table_with_its_socket_its_path_and_its_secret_while_it_runs():
    wanted = {
        "id": "c1",
        "address": "unix:/r.sock",
        "base": "/instances/w/lab/",
        "secret": "of c1",
        "applications": {"board": 6006},
    }
    assert rendered(run_of()) == {"w/lab": wanted}
    assert rendered(run_of(status=RunStatus.NOT_RESPONDING)) == {"w/lab": wanted}


def test_one_that_is_not_up_or_is_leaving_is_not_in_the_table():
    for status in (RunStatus.QUEUED, RunStatus.PREPARING, RunStatus.CANCEL_REQUESTED):
        assert rendered(run_of(status=status)) == {}
    assert rendered(run_of(sockets={})) == {}
    assert rendered() == {}


def test_the_newest_run_is_the_one_that_counts():
    table = rendered(run_of(), run_of(ordinal=2, sockets={"http": "unix:/new.sock"}))
    assert table["w/lab"]["address"] == "unix:/new.sock"
    assert table["w/lab"]["applications"] == {"board": 6007, "demo": 8501}
    assert rendered(run_of(), run_of(ordinal=3))["w/lab"]["applications"] == {}


def test_what_is_no_socket_of_this_machine_is_not_believed():
    assert rendered(run_of(sockets={"http": "10.0.0.7:22"})) == {}


FAR = Trust(ca="PEM", secrets={LAB.id: "of c1"})


def test_one_on_another_machine_is_there_with_the_name_of_its_run_and_its_port():
    run = run_of(sockets={"lab": "unix:/lab.sock", "http": "10.0.0.7:41234"})
    assert rendered(run, trust=FAR)["w/lab"] == {
        "id": "c1",
        "address": "10.0.0.7:41234",
        "base": "/instances/w/lab/",
        "secret": "of c1",
        "applications": {"board": 6006},
        "tls": {"name": run.key, "secret": "of c1"},
    }
    place = place_of(run, FAR)
    assert place is not None
    assert (place.name, place.ca, place.behind) == (run.key, "PEM", "jupyterlab:0")


@pytest.mark.parametrize("said", ["unix:/c.sock", "10.0.0.7:0x10", "10.0.0.7", "10.0.0.7:70000"])
def test_one_on_another_machine_names_no_socket_of_this_one(said: str):
    assert rendered(run_of(sockets={"http": said}), trust=FAR) == {}


def test_instances_of_one_name_in_two_workspaces_are_two():
    other = replace(LAB, id=ComputeId("c2"), workspace="v")
    table = rendered(run_of(), run_of(other, sockets={"http": "unix:/v.sock"}), instances=(LAB, other))
    assert {name: entry["address"] for name, entry in table.items()} == {
        "w/lab": "unix:/r.sock",
        "v/lab": "unix:/v.sock",
    }


def test_the_secret_of_an_instance_is_not_shown_where_its_rendering_is_printed():
    assert "s3cret" not in repr(Entrances(secrets={run_of().key: "s3cret"}))
