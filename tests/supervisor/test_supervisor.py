"""The supervisor over small real programs: what dies is started again, and nothing outlives its owner."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ultramarine.supervision import commands
from ultramarine.supervision.listening import Listening
from ultramarine.supervision.policy import Phase

from .conftest import SRC, Installation, until


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def all_gone(pids: dict[str, int]) -> bool:
    return all(is_gone(pid) for pid in pids.values())


def test_all_parts_become_ready_in_a_home_that_only_its_owner_can_enter(installation: Installation):
    installation.up()
    assert len(installation.pids()) == 3
    for name in ("", "run", "logs", "files", "gateway", "mlflow", "tmp"):
        assert (installation.home / name).stat().st_mode & 0o777 == 0o700, name
    config = json.loads((installation.home / "gateway" / "gateway.json").read_text())
    assert config["listeners"]["api"] == {"host": "127.0.0.1", "port": installation.port}
    assert config["listeners"]["second"]["port"] == installation.port + 1
    assert config["listeners"]["instances"]["port"] == installation.port + 2
    until(lambda: "control listens" in (installation.home / "logs" / "control.log").read_text(), "a line in the log")


def test_a_part_that_is_killed_is_started_again_at_once(installation: Installation):
    installation.up()
    before = installation.pids()
    os.kill(before["control"], signal.SIGKILL)
    killed_at = time.monotonic()
    after = until(lambda: (new := installation.pid("control")) != before["control"] and new, "a new control")
    assert time.monotonic() - killed_at < 5
    assert after != before["control"]
    part = installation.part("control")
    assert part
    assert part.restarts == 1
    assert part.why.startswith("ended by SIGKILL")
    assert installation.pid("gateway") == before["gateway"], "the others are left alone"


def test_ctrl_c_ends_the_parts_in_order(installation: Installation):
    supervisor = installation.up()
    pids = installation.pids()
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(10) == 0
    assert all_gone(pids)
    assert (installation.folder / "ended").read_text().split() == ["gateway", "control", "mlflow"]
    assert {part.phase for part in commands.parts(installation.home)} == {Phase.STOPPED}


def test_a_part_that_does_not_end_is_killed_within_the_grace(installation: Installation):
    installation.tell("control", "stubborn")
    supervisor = installation.up()
    pids = installation.pids()
    supervisor.terminate()
    assert supervisor.wait(8) == 0
    assert all_gone(pids)


def test_when_the_supervisor_is_killed_its_parts_end_with_it(installation: Installation):
    supervisor = installation.up()
    pids = installation.pids()
    supervisor.kill()
    until(lambda: all_gone(pids), "the parts end")
    assert {part.phase for part in commands.parts(installation.home)} == {Phase.STOPPED}


def test_a_new_supervisor_ends_what_a_killed_one_left(installation: Installation):
    installation.tell("gateway", "stubborn")  # keeps the port after its supervisor's death
    first = installation.up()
    left = installation.pids()
    first.kill()
    first.wait()
    installation.up()
    assert installation.pid("gateway") != left["gateway"]
    assert all_gone(left)


def test_a_second_start_in_the_same_home_is_refused_with_the_process_that_holds_it(installation: Installation):
    first = installation.up()
    installation.pids()
    second = installation.up()
    _, said = second.communicate(timeout=10)
    assert second.returncode == 2
    assert str(first.pid) in said
    assert "um down" in said


def test_detached_starts_at_once_and_after_one_another_are_one_installation(installation: Installation):
    several = [installation.up("-d") for _ in range(3)]
    assert [each.wait(30) for each in several] == [0, 0, 0]
    before, found = installation.pids(), commands.running(installation.home)
    assert found is not None
    assert found.port == installation.port
    assert installation.up("-d").wait(10) == 0
    assert (installation.pids(), commands.running(installation.home)) == (before, found)
    assert commands.last_listening(installation.home) == Listening(
        port=installation.port, second_port=installation.port + 1, instances_port=installation.port + 2
    )


def test_detached_where_one_never_becomes_ready_says_so(installation: Installation):
    installation.tell("control", "mute")
    first = installation.up()
    until(lambda: commands.running(installation.home), "it holds the home")
    second = installation.up("-d", "--soon")
    _, said = second.communicate(timeout=20)
    assert second.returncode == 1
    assert "um status" in said
    assert first.poll() is None


def test_a_port_in_use_is_an_error_before_anything_starts(installation: Installation):
    with socket.create_server(("127.0.0.1", installation.port)):
        refused = installation.up()
        _, said = refused.communicate(timeout=10)
    assert refused.returncode == 2
    assert f"Port {installation.port}" in said
    assert "--port" in said
    assert commands.parts(installation.home) == []


def test_a_home_that_cannot_be_written_is_an_error_before_anything_starts(installation: Installation):
    installation.home.touch()  # a file stands where the folder would be; root may write everywhere else
    refused = installation.up()
    _, said = refused.communicate(timeout=10)
    assert refused.returncode == 2
    assert str(installation.home) in said
    assert "um up --home" in said
    installation.home.unlink()


def test_a_home_too_deep_for_unix_sockets_says_so(installation: Installation):
    deep = installation.folder / ("d" * 90)
    installation.home = deep
    refused = installation.up()
    _, said = refused.communicate(timeout=10)
    assert refused.returncode == 2
    assert str(deep) in said
    assert "um up --home" in said
    assert not deep.exists()


def test_detached_it_returns_when_ready_and_stop_ends_it(installation: Installation):
    launcher = installation.up("-d")
    launcher.communicate(timeout=25)
    assert launcher.returncode == 0
    pids = installation.pids()
    assert commands.stop(installation.home, grace_s=8) == 0
    assert all_gone(pids)
    assert commands.stop(installation.home, grace_s=8) == 0, "nothing to do is no error"


def test_detached_it_does_not_wait_for_mlflow(installation: Installation):
    installation.tell("mlflow", "fail")
    launcher = installation.up("-d")
    launcher.communicate(timeout=25)
    assert launcher.returncode == 0


def test_detached_with_a_part_that_cannot_work_shows_the_end_of_its_log_and_leaves_nothing(installation: Installation):
    installation.tell("control", "fail")
    launcher = installation.up("-d")
    _, said = launcher.communicate(timeout=25)
    assert launcher.returncode == 1
    assert "control does not start (ended with 3" in said
    assert "control cannot work: its file says so" in said
    assert {part.phase for part in commands.parts(installation.home)} == {Phase.STOPPED}


def test_detached_after_one_that_was_killed_while_a_part_failed_is_not_judged_by_its_failures(
    installation: Installation,
):
    installation.tell("control", "fail")
    first = installation.up()

    def has_failed() -> bool:
        part = installation.part("control")
        return part is not None and part.failed_starts >= commands.FAILED_STARTS_MAX

    until(has_failed, "control has failed often")
    first.kill()
    first.wait()
    (installation.folder / "control.fail").unlink()

    again = installation.up("-d")
    assert again.wait(30) == 0, again.stderr and again.stderr.read()
    assert len(installation.pids()) == 3


def test_a_part_that_stops_answering_is_shown_as_such(installation: Installation):
    installation.up()
    installation.pids()
    installation.tell("control", "mute")

    def is_shown() -> bool:
        part = installation.part("control")
        return part is not None and part.phase is Phase.NOT_ANSWERING

    until(is_shown, "control is not answering")


def test_starting_costs_a_tenth_of_a_second_and_no_package():
    code = (
        "import sys; import ultramarine.supervisor; "
        "print(*sorted({m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'__main__'}))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["ultramarine"]
