"""Which mechanism holds the limits is decided from two texts; the one that works is found by trying."""

from pathlib import Path

from ultramarine_runner import cgroups, mechanism
from ultramarine_runner.cgroups import Groups, Share
from ultramarine_runner.mechanism import ASIDE, CGROUP_V1, CGROUP_V2, WATCH

NEW = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
OLD = """\
tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0
"""


def test_version_2_has_one_folder_for_everything_our_own_group_or_the_one_above_it():
    own, above = mechanism.candidates(NEW, "0::/system.slice/um.service\n")
    assert (own.kind, own.folders) == (CGROUP_V2, ("/sys/fs/cgroup/system.slice/um.service",))
    assert (above.kind, above.folders) == (CGROUP_V2, ("/sys/fs/cgroup/system.slice",))
    [root] = mechanism.candidates(NEW, "0::/\n")
    assert root.folders == ("/sys/fs/cgroup",)


def test_who_has_stepped_aside_finds_the_group_that_it_was_in():
    [found] = mechanism.candidates(NEW, f"0::/system.slice/um.service/{ASIDE}\n")
    assert found.folders == ("/sys/fs/cgroup/system.slice/um.service",)
    [of_a_container] = mechanism.candidates(NEW, f"0::/{ASIDE}\n")
    assert of_a_container.folders == ("/sys/fs/cgroup",)


def test_version_1_has_a_folder_for_each_controller_and_two_may_share_one():
    [found] = mechanism.candidates(OLD, "5:memory:/box/7\n4:pids:/\n3:cpu,cpuacct:/box\n1:name=systemd:/\n")
    assert found.kind == CGROUP_V1
    assert found.parents == {
        "memory": "/sys/fs/cgroup/memory/box/7",
        "pids": "/sys/fs/cgroup/pids",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/box",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/box",
    }
    assert len(found.folders) == 3


def test_where_both_are_mounted_the_newer_one_is_tried_first():
    both = mechanism.candidates(
        OLD + NEW.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified "), "5:memory:/\n4:pids:/\n0::/\n"
    )
    assert [one.kind for one in both] == [CGROUP_V2, CGROUP_V1]


def test_without_memory_or_pids_or_with_a_group_out_of_sight_there_is_nothing_to_try():
    assert mechanism.candidates(OLD, "5:memory:/\n3:cpu,cpuacct:/\n") == []
    assert mechanism.candidates(NEW, "0::/../../elsewhere\n") == []
    assert mechanism.candidates("", "0::/\n") == []


def test_a_weight_grows_with_the_cpus_and_stays_in_the_kernels_bounds():
    assert [mechanism.cpu_shares(cpus) for cpus in (0.0001, 0.5, 1, 1000)] == [2, 512, 1024, 262144]
    assert [mechanism.cpu_weight(cpus) for cpus in (0.0001, 0.5, 1, 1000)] == [1, 50, 100, 10000]


def test_a_folder_that_is_no_control_group_is_not_taken_for_one(tmp_path: Path):
    groups = Groups(mechanism.Mechanism(CGROUP_V1, dict.fromkeys(("memory", "pids"), str(tmp_path))), "e1-a-1", 0)
    assert groups.make("e1-j1-1", Share(memory_bytes=1 << 20)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_group_holds_what_it_was_given_and_is_found_by_its_allocation_alone():
    groups = cgroups.find("e1-mechanism-1", 0)
    entrances = groups.make("e1-j1-1", Share(memory_bytes=64 << 20, processes=50, cpus=0.5))
    try:
        assert bool(entrances) == (groups.mechanism.kind != WATCH)
        used = groups.used("e1-j1-1")
        assert (used is None) == (groups.mechanism.kind == WATCH)
        assert used is None or (used.processes, used.oom_kills, used.processes_refused) == (0, 0, 0)
        weights = [Path(file).parent / name for file in entrances for name in ("cpu.shares", "cpu.weight")]
        assert {path.read_text().strip() for path in weights if path.exists()} <= {"512", "50"}
    finally:
        swept = cgroups.sweep("e1-mechanism-1")
    assert len(swept) == len(entrances)
    assert cgroups.sweep("e1-mechanism-1") == []
    assert groups.used("e1-j1-1") is None


def test_one_allocation_does_not_sweep_the_groups_of_another_whose_key_begins_alike():
    groups = cgroups.find("e1-mechanism-12", 0)
    entrances = groups.make("e1-j1-1", Share(processes=50))
    assert cgroups.sweep("e1-mechanism-1") == []
    assert len(cgroups.sweep("e1-mechanism-12")) == len(entrances)
