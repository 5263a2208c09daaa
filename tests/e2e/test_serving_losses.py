"""What is lost while requests flow: memory, nodes, the gateway, half of a model. The others go on; why is said."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.scoring import environment

from .installation import SIZE, carriers, end, environment_of, parent, processes, until
from .load import Load
from .odd import BODY, PAIR, RATE, Site, odd

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
INIT_S = float(os.environ.get("ULTRAMARINE_INIT_S", "20"))  #: 300 is as long as any
SLOW = """
import time


def init():
    print("half of the weights are here", flush=True)
    time.sleep({seconds})


def run(raw_data):
    return [3, 6]
"""
#: With these a replica that cannot say that it lives is given up after ten seconds; some of them its Python takes.
IMPATIENT = {"initial_delay": 8, "period": 1, "timeout": 1, "failure_threshold": 2}


@pytest.fixture(scope="module")
def site(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with odd(cache, tmp_path_factory.mktemp("losses")) as made:
        yield made


def kill(pids: list[int]) -> float:
    """When."""
    for pid in pids:
        end(pid)
    return time.monotonic()


def spared(load: Load, site: Site) -> None:
    print(load.told())
    assert not load.failed, f"{load.told()}\n{site.it.told()}"


def test_a_replica_that_leaks_ends_for_its_limit_and_the_others_serve_on(site: Site):
    made = site.deploy("leaky")
    assert made["provisioning_state"] == "Succeeded", f"{made}\n{site.it.told()}"
    with site.load() as others, site.load(pin="leaky") as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        assert site.mode("leak", pin="leaky")[0] == 200
        until(lambda: site.deployment("leaky")["failures"], "one is over its limit", seconds=60)
        site.answers("leaky", 2)
        after = time.monotonic()
        until(lambda: len(load.since(after)) > RATE, "requests go on")
    [failure] = site.deployment("leaky")["failures"]
    print(failure["reason"])
    assert re.search(rf"It used \d+ MiB of the 256 MiB of memory of its instance_type {SIZE}\.", failure["reason"])
    print(load.told())
    assert len(load.failed) <= 4, f"what it had in hand: {load.told()}\n{site.it.told()}"
    spared(others, site)
    site.remove("leaky")


def slow(folder: Path, seconds: float) -> Path:
    (folder / "score").mkdir(parents=True)
    (folder / "score" / "score.py").write_text(SLOW.format(seconds=seconds))
    return folder


def begin(site: Site, name: str, folder: Path) -> None:
    """A deployment whose `init()` takes long, until its log says that it is in it."""
    there = site.it.workspace.online_deployments
    settings = {"instance_count": 1, "liveness_probe": IMPATIENT, "readiness_probe": IMPATIENT}
    there.create_or_update(site.body(name, **settings), folder=folder)
    until(lambda: "half of the weights are here" in there.logs(name, "odd"), "its log says where it is", seconds=60)


def test_nothing_kills_a_replica_for_a_long_init_and_the_old_deployment_serves_on(site: Site, tmp_path: Path):
    with site.load() as load:
        begin(site, "slow", slow(tmp_path, INIT_S))
        made = site.it.workspace.online_deployments.wait("slow", "odd", timeout_s=INIT_S + 60)
        assert (made["provisioning_state"], made["failures"]) == ("Succeeded", []), f"{made}\n{site.it.told()}"
        assert [row["run"].rpartition("-")[2] for row in made["replicas"]] == ["1"], "the first one, and no other"
        site.remove("slow")
    spared(load, site)


def test_a_deployment_that_is_deleted_while_it_loads_ends(site: Site, tmp_path: Path):
    with site.load() as load:
        begin(site, "slower", slow(tmp_path, 600))
        [row] = site.deployment("slower")["replicas"]
        site.remove("slower")
        assert carriers(f"ULTRAMARINE_RUN_KEY={row['run']}") == []
    spared(load, site)


@pytest.mark.parametrize(("file", "share"), [("model.pkl", 0.5), ("MLmodel", 0.75)])
def test_a_model_that_is_cut_off_fails_its_deployment_in_words_and_leaves_the_other(
    site: Site, tmp_path: Path, file: str, share: float
):
    """An `MLmodel` that ends between two of its fields is one with fewer: here it ends amid its signature."""
    folder = tmp_path / "model"
    shutil.copytree(environment.make().estimators / "iris_named", folder)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: int(len(whole) * share)])
    with site.load() as load:
        model = {"path": str(folder), "type": "mlflow_model"}
        made = site.deploy("half", model=model, code_configuration=None, instance_type="cpu-1", instance_count=1)
        print(made["reason"])
        assert made["provisioning_state"] == "Failed"
        assert file in made["reason"]
        site.remove("half")
    spared(load, site)


# Nodes


@pytest.fixture(scope="module")
def spread(site: Site) -> Iterator[str]:
    """A deployment with two replicas, each on a node of its own of an inferencing cluster."""
    cluster = {"name": "inf", "type": "inferencecluster", "size": PAIR, "idle_time_before_scale_down": 0}
    resize(site, cluster | {"min_instances": 2, "max_instances": 2})
    until(lambda: len(up(site)) == 2, "two nodes are up", seconds=60)
    made = site.deploy("spread", compute="inf")
    assert made["provisioning_state"] == "Succeeded", f"{made}\n{site.it.told()}"
    yield "spread"
    site.remove("spread")
    site.it.workspace.computes.delete("inf")
    site.it.workspace.computes.wait_gone("inf", timeout_s=60)


def resize(site: Site, body: dict[str, Any]) -> None:
    site.it.workspace.computes.create_or_update(body)


def up(site: Site) -> list[str]:
    return [node["name"] for node in site.it.workspace.computes.nodes("inf") if node["status"] == "Up"]


def nodes_of(site: Site, name: str) -> list[str]:
    return [row["node"] for row in site.deployment(name)["replicas"] if row["answers"]]


def test_a_cluster_whose_maximum_is_lowered_moves_its_replicas_and_says_which_has_no_room(site: Site, spread: str):
    site.answers(spread, 2)
    cluster = {"name": "inf", "type": "inferencecluster", "size": PAIR, "idle_time_before_scale_down": 0}
    with site.load(pin=spread) as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        resize(site, cluster | {"max_instances": 1})
        until(lambda: len(set(nodes_of(site, spread))) == len(up(site)) == 1, "one node has both", seconds=60)
        site.answers(spread, 2)
        resize(site, cluster | {"max_instances": 2})
        site.it.workspace.online_deployments.update(spread, "odd", {"instance_count": 3})
        site.answers(spread, 3)
        resize(site, cluster | {"max_instances": 1})
        until(lambda: len(site.answering(spread)) == 2 and len(up(site)) == 1, "the third has no room", seconds=90)
        [waiting] = [row for row in site.deployment(spread)["replicas"] if row["status"] == "Queued"]
        assert "at most 1." in waiting["reason"]
        resize(site, cluster | {"max_instances": 2})
        site.answers(spread, 3)
    spared(load, site)


def test_a_killed_node_costs_what_it_had_in_hand_and_its_replicas_come_back(site: Site, spread: str):
    before = nodes_of(site, spread)
    assert len(set(before)) == 2, "they are spread"
    victim = min(before, key=before.count)
    with site.load(pin=spread) as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        kill([pid for pid in processes() if environment_of(pid).get("ULTRAMARINE_ALLOCATION", "") + ".0" == victim])
        until(lambda: victim not in nodes_of(site, spread), "it is missed", seconds=60)
        site.answers(spread, len(before))
        after = time.monotonic()
        until(lambda: len(load.since(after)) > RATE, "requests go on")
    print(load.told())
    assert len(load.failed) <= 4, f"{load.told()}\n{site.it.told()}"
    assert not [answer for answer in load.failed if answer.at >= after]


# The gateway


def test_each_process_of_the_gateway_that_is_killed_comes_back(site: Site):
    """One of its workers, where it has several; and the one that is their parent, or the only one."""
    gateway = site.it.pid("gateway")
    for victim in (*children(gateway)[:1], gateway):
        before = children(gateway)
        with site.load() as load:
            until(lambda: len(load.answers) > RATE, "requests are answered")
            kill([victim])
            now = site.it.pid("gateway", but=victim)
            until(lambda now=now, count=len(before): len(children(now)) == count, "as many as before are there")
            until(lambda: site.ask(BODY)[0] == 200, "requests are answered again")
            back = time.monotonic()
            until(lambda back=back: len(load.since(back)) > 2 * RATE, "requests go on")
        print(f"killed {'the gateway' if victim == gateway else 'a worker'}: {load.told()}")
        assert not [answer for answer in load.failed if answer.at >= back], f"{load.told()}\n{site.it.told()}"


def children(gateway: int) -> list[int]:
    return [pid for pid in processes() if parent(pid) == gateway]
