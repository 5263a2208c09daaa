"""What the runner decides, without a process or a clock."""

from dataclasses import replace

import pytest
from tests.runner.conftest import make_spec
from tests.runner.control import manifest

from ultramarine_runner import desired, endings, limits, ports, ranks, snapshot, spec, state, wire
from ultramarine_runner.endings import Exit
from ultramarine_runner.limits import Disk, Node
from ultramarine_runner.spec import Wanted
from ultramarine_runner.state import MOVES, Event, Phase, Run, Step

GO = Wanted("go")
MIB = 1 << 20


def make_run(phase: Phase = Phase.RUNNING, wanted: Wanted = GO, key: str = "k", **changes: object) -> Run:
    limits_of = changes.pop("limits", {})
    mode = changes.pop("mode", "task")
    run = Run(key=key, spec=spec.read(make_spec("true", limits=limits_of, mode=mode)), wanted=wanted, phase=phase)
    return replace(run, **changes)


def test_every_phase_is_reached_and_every_phase_leads_to_the_end():
    reached = {Phase.PREPARING} | set(MOVES.values())
    assert reached == set(Phase)
    leads = {Phase.ENDED}
    for _ in Phase:
        leads |= {phase for (phase, _), after in MOVES.items() if after in leads}
    assert leads == set(Phase)


def test_an_event_that_comes_late_or_twice_changes_nothing():
    assert state.after(make_run(Phase.ENDED), Event.STARTED) is None
    assert state.after(make_run(Phase.FLUSHING), Event.PREPARED) is None


def test_an_end_a_gang_at_its_barrier_and_a_service_that_runs_are_awaited_and_nothing_else():
    assert state.is_awaited(make_run(Phase.ENDED))
    assert state.is_awaited(make_run(Phase.READY, Wanted("prepare")))
    assert state.is_awaited(make_run(Phase.RUNNING, mode="service"))
    assert not any(state.is_awaited(make_run(phase)) for phase in Phase if phase is not Phase.ENDED)


@pytest.mark.parametrize(
    ("phase", "wanted", "step"),
    [
        (Phase.PREPARING, "go", None),
        (Phase.PREPARING, "stop", Step.GIVE_UP),
        (Phase.READY, "prepare", None),
        (Phase.READY, "go", Step.START),
        (Phase.READY, "absent", Step.GIVE_UP),
        (Phase.RUNNING, "go", None),
        (Phase.RUNNING, "stop", Step.END),
        (Phase.STARTING, "absent", Step.END),
        (Phase.FINALIZING, "absent", None),
        (Phase.ENDED, "stop", None),
    ],
)
def test_what_is_done_next_depends_on_where_a_run_is_and_what_is_wanted(phase: Phase, wanted: str, step: Step | None):
    assert state.step(make_run(phase, Wanted(wanted))) == step


def test_a_run_is_forgotten_only_when_its_logs_are_settled_and_no_worker_is_at_it():
    run = make_run(Phase.ENDED, Wanted("absent"))
    assert state.step(run) is None
    assert state.step(replace(run, logs_settled=True, is_preparing=True)) is None
    assert state.step(replace(run, logs_settled=True)) is Step.FORGET


def test_an_end_is_asked_for_once_and_a_task_does_not_start_after_its_lease():
    assert state.step(make_run(Phase.RUNNING, Wanted("stop"), ending_asked=True)) is None
    assert state.step(make_run(Phase.READY), lease_over=True) is None
    assert state.step(make_run(Phase.READY, mode="service"), lease_over=True) is Step.START


def test_what_is_wanted_moves_forwards_only():
    run = state.wanting(make_run(), Wanted("stop"))
    assert state.wanting(run, GO).wanted.phase == "stop"
    assert state.wanting(run, Wanted("absent")).wanted.phase == "absent"


def test_an_end_is_shown_only_when_it_is_whole():
    run = make_run(Phase.FLUSHING, ending=state.ending("completed", "", at=1.0))
    assert (state.report(run)["phase"], state.report(run)["ended"]) == ("finalizing", None)
    assert state.report(replace(run, phase=Phase.ENDED))["ended"]["cause"] == "completed"


def test_an_order_that_cannot_be_read_harms_no_other():
    good = {"phase": "go", "spec": make_spec("true")}
    raw = {"../x": good, "a": good, "b": {"phase": "dance"}, "c": 7, "d": {"phase": "go"}, "e": {"phase": "stop"}}
    orders = {order.key: order for order in desired.read(raw, known={"e"}, gpus=())}
    assert set(orders) == {"a", "b", "c", "d", "e"}
    assert [key for key, order in orders.items() if order.problem] == ["b", "c", "d"]
    assert "dance" in (orders["b"].problem or "")


def test_the_first_rank_that_failed_by_itself_is_the_cause():
    exits = {"0": Exit(143, "SIGTERM"), "1": Exit(7)}
    ended = endings.judge(exits, failed="1", asked=None, oom=None, at=1.0)
    assert (ended["cause"], ended["code"], ended["rank"]) == ("exited", 7, 1)
    ended = endings.judge({"0": Exit(137, "SIGKILL")}, failed="0", asked=None, oom="Too much.", at=1.0)
    assert (ended["cause"], ended["words"], ended["rank"]) == ("out_of_memory", "Too much.", 0)
    ended = endings.judge({"0": Exit(0)}, failed=None, asked=("timeout", "Too long."), oom=None, at=1.0)
    assert (ended["cause"], ended["words"], ended["code"]) == ("timeout", "Too long.", 0)


def test_the_run_that_uses_most_goes_when_the_node_is_full():
    small, big = (make_run(key=key, samples={"memory_bytes": n * MIB}) for key, n in [("small", 10), ("big", 50)])
    assert limits.verdicts([small, big], Node(now=0, lease_until=9, memory_bytes=60 * MIB)) == {}
    found = limits.verdicts([small, big], Node(now=0, lease_until=9, memory_bytes=59 * MIB))
    assert {key: one.cause for key, one in found.items()} == {"big": "out_of_memory"}


def test_the_task_that_wrote_most_goes_when_the_disk_is_full_and_a_service_stays():
    runs = [make_run(key="a"), make_run(key="b"), make_run(key="c", mode="service")]
    node = Node(now=0, lease_until=9, disk=Disk(is_full=True, written={"a": 1 * MIB, "b": 2 * MIB, "c": 3 * MIB}))
    assert {key: one.cause for key, one in limits.verdicts(runs, node).items()} == {"b": "disk_full"}
    assert limits.verdicts(runs, replace(node, disk=replace(node.disk, is_full=False))) == {}


def test_a_full_disk_ends_the_one_that_wrote_most_and_spares_those_who_share_it():
    runs = [make_run(key="a"), make_run(key="b")]
    disk = Disk(is_full=True, written={"a": 2 * MIB, "b": 3 * MIB}, beside_bytes=4 * MIB)
    assert limits.verdicts(runs, Node(now=0, lease_until=9, disk=disk)) == {}
    for now_it in (replace(disk, beside_bytes=3 * MIB), replace(disk, full_s=limits.DISK_PATIENCE_S)):
        assert limits.verdicts(runs, Node(now=0, lease_until=9, disk=now_it)).keys() == {"b"}


def test_a_full_disk_ends_nobody_who_wrote_next_to_nothing():
    disk = Disk(is_full=True, written={"a": MIB - 1}, full_s=1000)
    assert limits.verdicts([make_run(key="a")], Node(now=0, lease_until=9, disk=disk)) == {}


def test_a_time_limit_is_over_once_and_a_run_that_is_ending_has_none():
    run = make_run(limits={"timeout_s": 5}, started_boot_s=100.0)
    assert limits.next_deadline([run]) == 105.0
    assert limits.verdicts([run], Node(now=104.9, lease_until=900)) == {}
    assert limits.verdicts([run], Node(now=105.0, lease_until=900))["k"].cause == "timeout"
    ending = replace(run, ending_asked=True)
    assert limits.verdicts([ending], Node(now=106.0, lease_until=900)) == {}
    assert limits.next_deadline([ending]) is None


def test_the_lease_ends_tasks_and_no_services():
    found = limits.verdicts([make_run(key="t"), make_run(key="s", mode="service")], Node(now=10, lease_until=9))
    assert {key: one.cause for key, one in found.items()} == {"t": "lease"}


def test_places_are_quoted_in_a_command_and_plain_in_variables():
    places = ranks.Places(folder="/run dir/code", python="/py", inputs={"data": "/in put"})
    read = spec.read(make_spec("cat {{input:data}}/x", environment_variables={"D": "{{input:data}}"}))
    node = ranks.Node("a", (), 1.0, {"PATH": "/bin"}, "bash")
    [launch] = ranks.launches("k", read, places, wanted=GO, node=node)
    assert launch.argv == ("bash", "-c", "cat '/in put'/x")
    assert (launch.environment["D"], launch.environment["PATH"]) == ("/in put", "/:/bin")
    with pytest.raises(spec.BadSpec, match=r"names no output of this run. There: none"):
        ranks.fill("{{output:o}}", places)


def test_only_what_a_site_configures_is_inherited():
    everything = {
        "PATH": "/bin",
        "HTTPS_PROXY": "p",
        "PIP_INDEX_URL": "i",
        "AWS_SECRET_ACCESS_KEY": "s",
        "UV_CACHE_DIR": "u",
    }
    assert set(ranks.inherited(everything)) == {"PATH", "HTTPS_PROXY", "PIP_INDEX_URL", "UV_CACHE_DIR"}


def test_only_a_complaint_about_just_this_port_counts():
    assert ports.taken("OSError: [Errno 98] Address already in use: ('::', 4012)", (4000, 4012)) == 4012
    assert ports.taken("OSError: [Errno 98] Address already in use: ('::', 4012)", (401,)) is None
    assert ports.taken("listening on 4012", (4012,)) is None


@pytest.mark.parametrize("files", [{"a": b"", "a/b": b""}, {"../a": b""}, {"a\0": b""}])
def test_a_manifest_whose_paths_meet_or_leave_is_refused(files: dict[str, bytes]):
    with pytest.raises(spec.BadSpec):
        snapshot.read(manifest(files))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"files": 7}', b'{"files": [{}]}', b"\xff"])
def test_what_is_no_manifest_is_refused(content: bytes):
    with pytest.raises(spec.BadSpec):
        snapshot.read(content)


def test_waiting_grows_from_a_tenth_of_a_second_to_five():
    waits = wire.backoff()
    assert [next(waits) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
