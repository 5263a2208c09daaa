"""What ranks use is kept by run, with its peak, and told in MLflow's names."""

from typing import Any

from tests.factories import NOON, later

from ultramarine.domain.names import RunKey
from ultramarine.domain.usage import Node, RankUse, system_metrics
from ultramarine.services.usage import EACH_S, POINTS_MAX, RUNS_MAX, Usages

RUN = RunKey("e1-j1-1")
TOLD: dict[str, Any] = {
    "cpus": 4,
    "disk_bytes": 100e6,
    "disk_free_bytes": 75e6,
    "network_received_bytes": 5e6,
    "network_sent_bytes": 2e6,
    "gpus": [
        {"utilization_percent": 50.0, "memory_used_bytes": 2e9, "memory_bytes": 8e9, "power_w": None},
    ],
}


def use(cpu_percent: float = 200.0, memory_bytes: float = 3e6, *, rank: str = "0", is_alone: bool = True) -> RankUse:
    return RankUse(rank=rank, is_alone=is_alone, values={"cpu_percent": cpu_percent, "memory_bytes": memory_bytes})


def test_a_ranks_metrics_have_mlflows_names_and_units() -> None:
    assert system_metrics(use(), Node.read(TOLD), since=Node.read(TOLD | {"network_received_bytes": 4e6})) == {
        "system/cpu_utilization_percentage": 50.0,
        "system/system_memory_usage_megabytes": 3.0,
        "system/disk_usage_percentage": 25.0,
        "system/disk_usage_megabytes": 25.0,
        "system/disk_available_megabytes": 75.0,
        "system/network_receive_megabytes": 1.0,
        "system/network_transmit_megabytes": 0.0,
        "system/gpu_0_utilization_percentage": 50.0,
        "system/gpu_0_memory_usage_megabytes": 2000.0,
        "system/gpu_0_memory_usage_percentage": 25.0,
    }


def test_a_machine_without_gpus_or_with_an_older_runner_has_no_made_up_values() -> None:
    found = system_metrics(use(rank="3", is_alone=False), Node.read({"gpus": "none", "cpus": "4"}), since=Node())
    assert set(found) == {
        "system/rank_3/system_memory_usage_megabytes",
        "system/rank_3/network_receive_megabytes",
        "system/rank_3/network_transmit_megabytes",
    }


def test_a_run_that_has_a_part_of_its_nodes_gpus_is_told_of_those_alone() -> None:
    gpus = [{"uuid": f"GPU-{name}", "utilization_percent": value} for name, value in (("a", 10.0), ("b", 20.0))]
    one = RankUse(rank="0", is_alone=True, values={}, gpus=["GPU-b"])
    found = system_metrics(one, Node.read({"gpus": gpus}), since=Node())
    assert {name: value for name, value in found.items() if "gpu" in name} == {
        "system/gpu_0_utilization_percentage": 20.0
    }


def test_the_peak_of_each_value_stays_when_the_value_falls() -> None:
    usages = Usages()
    usages.take(RUN, [use(10, 500)], TOLD, at=NOON)
    usages.take(RUN, [use(90, 200)], TOLD, at=later(5))
    usages.take(RUN, [], TOLD, at=later(10))
    assert usages.of(RUN) == {
        "0": {"now": {"cpu_percent": 90, "memory_bytes": 200}, "peak": {"cpu_percent": 90, "memory_bytes": 500}}
    }
    assert usages.of(RunKey("e1-j9-1")) == {}


def test_points_are_taken_each_ten_seconds_and_told_once() -> None:
    usages = Usages()
    for second in range(31):
        usages.take(RUN, [use()], TOLD, at=later(second))
    points = usages.points(RUN)
    assert sorted({point.step for point in points}) == [0, 1, 2]
    assert usages.waiting() == [RUN]
    usages.told(RUN, points[:5])
    assert len(usages.points(RUN)) == len(points) - 5
    usages.told(RUN, points)
    assert usages.waiting() == []


def test_a_run_that_is_over_before_its_first_point_is_told_to_nobody_and_still_has_its_use() -> None:
    usages = Usages()
    for second in range(10):
        usages.take(RUN, [use(10, 500)], TOLD, at=later(second))
    assert usages.waiting() == []
    assert usages.of(RUN)["0"]["peak"]["memory_bytes"] == 500


def test_what_nobody_takes_is_bounded_the_oldest_goes_first() -> None:
    usages = Usages()
    for turn in range(POINTS_MAX + 11):
        usages.take(RUN, [use()], TOLD, at=later(turn * EACH_S))
    assert min(point.step for point in usages.points(RUN)) == 10
    for number in range(RUNS_MAX):
        usages.take(RunKey(f"e1-k{number}-1"), [use()], TOLD, at=NOON)
    assert usages.of(RUN) == {}
