"""What each rank uses is measured on the node, and nothing is made up."""

import ctypes
from typing import Any

from tests.runner.conftest import World

from ultramarine_runner import nvml, usage
from ultramarine_runner.usage import Reading


class FakeLibrary:
    """NVML of a machine with two GPUs, the second of which tells nothing but its name. 3: not supported."""

    uuids = (b"GPU-a", b"GPU-b")

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count.contents.value = len(self.uuids)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        handle.contents.value = index.value + 1
        return 0

    def nvmlDeviceGetUUID(self, handle: Any, text: Any, length: Any) -> int:
        text.value = self.uuids[handle.value - 1]
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: Any, handle: Any) -> int:
        if uuid.value not in self.uuids:
            return 6  # not found
        handle.contents.value = self.uuids.index(uuid.value) + 1
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int:
        rates.contents.gpu = 71
        return 0 if handle.value == 1 else 3

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory.contents.total, memory.contents.used = 8 << 30, 1 << 30
        return 0 if handle.value == 1 else 3


def test_gpus_are_found_by_uuid_and_what_one_does_not_tell_is_not_made_up():
    found = nvml.begin(lambda name: FakeLibrary())
    assert found is not None
    assert found.uuids() == ["GPU-a", "GPU-b"]
    first, second = found.use(["GPU-a", "GPU-of-another-machine", "GPU-b"])
    assert (first.utilization_percent, first.memory_used_bytes, first.memory_bytes) == (71.0, 1 << 30, 8 << 30)
    assert first.power_w is None, "this library has no such function"
    assert (second.utilization_percent, second.memory_used_bytes, second.power_w) == (None, None, None)


def test_without_the_library_or_with_one_that_does_not_begin_there_are_no_gpus():
    class Broken(FakeLibrary):
        def nvmlInit_v2(self) -> int:
            return 9  # the driver is not loaded

    def missing(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    assert nvml.begin(missing) is None
    assert nvml.begin(lambda name: Broken()) is None


def test_a_rate_needs_two_looks_and_does_not_fall_below_nothing():
    first, second = Reading(10.0, 1.0, 100, 5, 6), Reading(12.0, 4.0, 200, 7, 8)
    assert usage.between(None, first)["cpu_percent"] == 0.0
    assert usage.between(first, second) == {
        "cpu_percent": 150.0,
        "memory_bytes": 200,
        "disk_read_bytes": 7,
        "disk_written_bytes": 8,
    }
    assert usage.between(second, Reading(13.0, 3.0, 1, 0, 0))["cpu_percent"] == 0.0


def test_the_use_of_each_rank_is_reported_apart_and_the_machine_tells_its_own(world: World):
    token = world.runner()
    command = 'if [ "$ULTRAMARINE_RANK" = 2 ]; then while :; do :; done; else exec sleep 1000; fi'
    world.go(token, "e1-j1-1", command, processes_per_node=2, nodes=2, node_rank=1)
    ranks = world.control.wait(
        lambda: (
            found if (found := world.control.run("e1-j1-1").get("ranks")) and found["2"]["cpu_percent"] > 10 else None
        ),
        words="the busy rank is busy",
    )
    assert set(ranks) == {"2", "3"}
    assert ranks["3"]["cpu_percent"] < 5
    assert min(rank["memory_bytes"] for rank in ranks.values()) > 0
    assert world.control.run("e1-j1-1")["world_size"] == 4
    node = world.control.reported[token]["node"]
    assert (node["gpus"], node["disk_bytes"] > node["disk_free_bytes"], node["cpus"] > 0) == ([], True, True)
