"""What the processes of a run are told of each other, by kind of distribution."""

import json
from typing import Any

import pytest
from tests.runner.conftest import make_spec

from ultramarine.domain.distribution import TensorFlow, run_fields
from ultramarine_runner import distribution, spec

PEERS = (spec.Peer("10.0.0.1", (4001, 4002)), spec.Peer("fd00::2", (5001, 5002)))
TWO = spec.Wanted("go", peers=PEERS, master=("10.0.0.1", 4001))


def of_node(node_rank: int, **fields: Any) -> spec.Spec:
    return spec.read(make_spec("true", nodes=2, node_rank=node_rank, **fields))


def config(node_rank: int, rank: int, **tasks: int) -> dict[str, Any]:
    given = of_node(node_rank, distribution="tensorflow", tasks=tasks)
    assert rank in given.ranks
    return json.loads(distribution.variables(given, TWO, rank)["TF_CONFIG"])


def test_each_node_has_its_worker_before_any_has_a_second_and_servers_follow():
    cluster = {"worker": ["10.0.0.1:4001", "[fd00::2]:5001"], "ps": ["10.0.0.1:4002"]}
    assert config(0, 0, worker=2, ps=1) == {"cluster": cluster, "task": {"type": "worker", "index": 0}}
    assert config(1, 1, worker=2, ps=1) == {"cluster": cluster, "task": {"type": "worker", "index": 1}}
    assert config(0, 2, worker=2, ps=1) == {"cluster": cluster, "task": {"type": "ps", "index": 0}}


def test_without_parameter_servers_the_cluster_names_none():
    assert config(1, 1, worker=2, ps=0)["cluster"] == {"worker": ["10.0.0.1:4001", "[fd00::2]:5001"]}


def test_each_node_holds_a_port_for_each_of_its_tasks():
    three = [of_node(node, distribution="tensorflow", tasks={"worker": 2, "ps": 1}) for node in (0, 1)]
    assert [distribution.ports(node) for node in three] == [2, 1]
    assert [list(node.ranks) for node in three] == [[0, 2], [1]]
    assert distribution.ports(of_node(0, distribution="pytorch", processes_per_node=4)) == 1


def test_places_that_are_not_all_known_start_nothing():
    given = of_node(0, distribution="tensorflow", tasks={"worker": 2, "ps": 0})
    with pytest.raises(spec.BadSpec, match="1 places are given for 2 nodes"):
        distribution.variables(given, spec.Wanted("go", peers=PEERS[:1]), 0)
    many = of_node(0, distribution="tensorflow", tasks={"worker": 6, "ps": 0})
    with pytest.raises(spec.BadSpec, match="process 3 there needs one"):
        distribution.variables(many, TWO, 0)


def test_as_many_workers_as_nodes_is_what_no_count_means():
    assert run_fields(TensorFlow(type="tensorflow"), 3)["tasks"] == {"worker": 3, "ps": 0}
    assert run_fields(TensorFlow(type="tensorflow", worker_count=5), 3)["tasks"] == {"worker": 5, "ps": 0}


def test_the_secret_of_a_run_is_that_of_no_other():
    secrets = {
        distribution.led_variables(
            of_node(node, distribution="mpi", token=token), TWO, argv=["true"], folder="/r/code", log=str
        )[distribution.SECRET]
        for node in (0, 1)
        for token in ("a", "b")
    }
    assert len(secrets) == 2
    assert not secrets & {"a", "b"}
