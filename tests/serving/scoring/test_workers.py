"""Several worker processes in a replica: real ones, which are killed, hang, fail and drain."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.scoring.conftest import StartModel, StartScript
from tests.serving.scoring.servers import Answer, Server, UnixConnection, wait_for

from ultramarine_serving.scoring import options as command_line

#: Each process is told by its number; what a request says is done.
SCRIPT = """
import json, os, pathlib, time

folder = pathlib.Path(os.environ["AZUREML_MODEL_DIR"])


def wait_for(name):
    while not (folder / name).exists():
        time.sleep(0.01)


def init():
    (folder / f"began-{os.getpid()}").touch()
    if (folder / "fail").exists():
        raise ValueError("the weights are gone")
    if (folder / "slow").exists():
        wait_for("go")


def run(raw_data):
    asked = json.loads(raw_data)
    if asked == "slow":
        (folder / f"slow-{os.getpid()}").touch()
        wait_for("go")
    return os.getpid()
"""
FIRST_IS_QUICK = SCRIPT.replace(
    'if (folder / "slow").exists():',
    "try:\n        os.close(os.open(folder / 'first', os.O_CREAT | os.O_EXCL))\n    except FileExistsError:",
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="um-workers-") as made:
        yield Path(made)


def model(server: Server) -> Path:
    return server.socket.parent / "model"


def children(server: Server) -> set[int]:
    pid = server.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended while this was read
        return True


def both(start: StartScript, source: str = SCRIPT, *options: str) -> Server:
    return start(source, "--workers", "2", *options)


class Load:
    """Clients that ask one after the other, each request on a connection of its own, and count what they get."""

    def __init__(self, server: Server, clients: int = 4) -> None:
        self._server = server
        self._stop = threading.Event()
        self.pids: Counter[int] = Counter()
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                answer = self._server.post("/score", "quick")
            except ConnectionError as error:  # found broken when the request is written, or when its answer is read
                self.failures.append(f"Connection broke: {error!r}")
                continue
            except OSError as error:
                self.failures.append(repr(error))
                continue
            if answer.status == 200:
                self.pids[answer.json] += 1
            else:
                self.failures.append(f"{answer.status} {answer.body!r}")

    def wait_until_answered_by(self, pids: set[int]) -> None:
        wait_for(lambda: pids <= self.pids.keys(), words=f"answers of {pids}", log=lambda: self._server.log)


def slow(server: Server) -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    client = threading.Thread(target=lambda: answers.append(server.post("/score", "slow")))
    client.start()
    return client, answers


def wait_for_slow(server: Server, count: int) -> list[int]:
    """The processes whose call goes on."""

    def found() -> list[int]:
        return [int(path.name.partition("-")[2]) for path in model(server).glob("slow-*")]

    wait_for(lambda: len(found()) == count, words=f"{count} calls", log=lambda: server.log)
    return found()


def test_all_answer_at_one_socket_and_connections_are_shared_among_them(start_script: StartScript):
    server = both(start_script).wait_until_ready()
    pids = children(server)
    assert len(pids) == 2
    connections = [UnixConnection(server.socket) for _ in range(16)]
    with contextlib.ExitStack() as stack:
        answered: Counter[int] = Counter()
        for connection in connections:  # all open at the same time
            stack.callback(connection.close)
            connection.request("POST", "/score", b'"quick"')
            answered[json.loads(connection.getresponse().read())] += 1
    assert set(answered) == pids
    assert min(answered.values()) >= 4, answered


def test_one_worker_is_no_child(start_script: StartScript):
    server = start_script(SCRIPT, "--workers", "1").wait_until_ready()
    assert children(server) == set()
    assert server.post("/score", "quick").json == server.process.pid


def test_it_is_ready_when_all_are_and_alive_before(start_script: StartScript):
    server = both(start_script, FIRST_IS_QUICK).wait_until_it_says("Ready.")
    assert (server.get("/health/live").status, server.get("/health/ready").status) == (200, 503)
    assert server.get("/").status == 503
    (model(server) / "go").touch()
    server.wait_until_ready()


def test_one_that_is_killed_under_load_is_started_again_and_the_others_go_on(start_script: StartScript):
    server = both(start_script).wait_until_ready()
    before = children(server)
    with Load(server) as load:
        load.wait_until_answered_by(before)
        (model(server) / "slow").touch()  # the next one loads until it is let go
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: len(list(model(server).glob("began-*"))) == 3, words="another", log=lambda: server.log)
        survivor = max(before)
        answered = load.pids[survivor]
        wait_for(lambda: load.pids[survivor] > answered + 50, words="more answers")
        assert server.get("/health/ready").status == server.get("/health/live").status == 200
        (model(server) / "go").touch()
        (fresh,) = children(server) - before
        load.wait_until_answered_by({fresh})
    assert len(load.failures) <= 4, "each client had one request there at most"
    assert all("Connection" in failure or "Remote" in failure for failure in load.failures), load.failures
    assert "Worker 0 ended (SIGKILL)" in server.log or "Worker 1 ended (SIGKILL)" in server.log


def test_an_init_that_fails_at_first_ends_the_replica_with_its_words(start_script: StartScript):
    source = SCRIPT.replace('(folder / "fail").exists()', 'folder.joinpath("x") and True')
    server = both(start_script, source)
    assert server.wait() == 3
    last = server.log.splitlines()[-1]
    assert last.endswith("The scoring script score.py failed in init(): ValueError: the weights are gone")
    assert "Traceback" in server.log
    assert not server.socket.exists()


def test_one_that_is_killed_while_it_loads_at_first_ends_the_replica(start_script: StartScript):
    server = both(start_script, FIRST_IS_QUICK).wait_until_it_says("Ready.")
    os.kill(max(children(server)), signal.SIGKILL)
    assert server.wait() == 128 + signal.SIGKILL
    assert "was ended by SIGKILL before the replica was ready." in server.log.splitlines()[-1]


def test_one_that_cannot_load_any_more_is_tried_again_while_another_answers(start_script: StartScript):
    server = both(start_script).wait_until_ready()
    (model(server) / "fail").touch()
    before = children(server)
    os.kill(min(before), signal.SIGKILL)
    server.wait_until_it_says("failed in init(): ValueError: the weights are gone")
    wait_for(lambda: "ended (code 3)" in server.log, words="its end", log=lambda: server.log)
    assert server.post("/score", "quick").json == max(before)
    assert server.get("/health/ready").status == 200
    os.kill(max(before), signal.SIGKILL)
    assert server.wait() == 3, "nobody is left to answer"
    assert server.log.splitlines()[-1].endswith("the weights are gone")


def test_what_is_under_way_in_each_is_answered_before_they_end(start_script: StartScript):
    server = both(start_script).wait_until_ready()
    clients = [slow(server) for _ in range(6)]
    wait_for_slow(server, 2)

    def under_way() -> int:
        load = server.get("/load").json
        return load["waiting"] + load["in_work"]

    wait_for(lambda: under_way() == 6, words="all to be under way", log=lambda: server.log)
    server.terminate()
    wait_for(lambda: not server.socket.exists(), words="the socket to go")
    (model(server) / "go").touch()
    for client, _ in clients:
        client.join(30)
    assert {answers[0].status for _, answers in clients} == {200}
    assert server.wait() == 0, server.log


def test_they_end_with_their_parent(start_script: StartScript):
    server = both(start_script).wait_until_ready()
    pids = children(server)
    server.process.kill()
    server.wait()
    wait_for(lambda: all(is_gone(pid) for pid in pids), words="them to end")


def test_one_whose_call_hangs_gets_no_connections_and_is_replaced_alone(start_script: StartScript):
    server = both(start_script, SCRIPT, "--request-timeout-ms", "100", "--hang-ms", "1000").wait_until_ready()
    before = children(server)
    client, answers = slow(server)
    client.join(30)
    assert answers[0].status == 408
    (hung,) = wait_for_slow(server, 1)
    server.wait_until_it_says("A call goes on after its time-out")
    with Load(server) as load:
        wait_for(lambda: is_gone(hung), words="it to end", log=lambda: server.log)
        assert server.get("/health/ready").status == server.get("/health/live").status == 200
        wait_for(lambda: len(children(server) - before) == 1, words="another")
        load.wait_until_answered_by(children(server))
    assert "after its time-out. This process ends for it." in server.log
    assert "ended (code 4)" in server.log
    assert before - children(server) == {hung}
    assert load.failures == []


def test_one_that_says_nothing_any_more_is_ended(start_script: StartScript):
    server = both(start_script, SCRIPT, "--request-timeout-ms", "100", "--hang-ms", "100").wait_until_ready()
    stopped = min(children(server))
    os.kill(stopped, signal.SIGSTOP)
    server.wait_until_it_says("has said nothing for too long: a call hangs.")
    wait_for(lambda: len(children(server) - {stopped}) == 2, words="another", log=lambda: server.log)
    assert is_gone(stopped)


def collected(folder: Path) -> tuple[str, ...]:
    asked = {"collections": {"request": 1.0}, "source": "/workspaces/w"}
    return "--collect-into", str(folder), "--collect", json.dumps(asked)


def test_what_each_collects_is_in_files_of_its_own_and_counted_together(start_script: StartScript, folder: Path):
    server = both(start_script, SCRIPT, *collected(folder)).wait_until_ready()
    with Load(server) as load:
        load.wait_until_answered_by(children(server))
    count = sum(load.pids.values())

    def figures() -> Any:
        return server.get("/collected").json

    # Of the others a worker knows what they told last: each figure is right a moment later.
    expected = {"state": "collecting", "written": {"request": count}, "left_out": 0, "waiting": 0}
    wait_for(lambda: figures() == expected, words=f"{count} lines", log=lambda: str(figures()))
    files = list(folder.rglob("*.jsonl"))
    assert {int(file.name.partition("-")[0]) for file in files} == load.pids.keys()
    assert sum(len(file.read_text().splitlines()) for file in files) == count


def test_a_model_answers_in_all_of_them_as_in_one(start_model: StartModel, cancer: dict[str, Any]):
    one, several = start_model("linear"), start_model("linear", "--workers", "2")
    body = {"input_data": {"columns": cancer["columns"], "data": cancer["rows"][:8]}}
    answers = [several.post("/score", body).json for _ in range(8)]
    assert answers == [one.post("/score", body).json] * 8
    assert several.log.count("The model answers its own example") in (0, 2)


def options_of(*arguments: str) -> command_line.Options:
    return command_line.read(["--socket", "unix:/s", "--model-dir", "/m", *arguments])


@given(workers=st.integers(1, 64), waiting=st.integers(1, 5000), concurrent=st.none() | st.integers(1, 300))
def test_what_workers_may_take_adds_up_to_what_was_asked(workers: int, waiting: int, concurrent: int | None):
    more = () if concurrent is None else ("--max-concurrent", str(concurrent))
    whole = options_of("--workers", str(workers), "--max-waiting", str(waiting), *more)
    parts = [whole.of_worker(number) for number in range(whole.workers)]
    assert whole.workers == min(workers, waiting, concurrent or workers)
    assert_parts([part.waiting_max for part in parts], waiting)
    if concurrent is None:
        assert {part.concurrent_max for part in parts} == {None}
    else:
        assert_parts([part.concurrent_max or 0 for part in parts], concurrent)


def assert_parts(parts: list[int], whole: int) -> None:
    assert sum(parts) == whole
    assert min(parts) >= 1
    assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize("written", ["0", "-1", "many"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(written: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        options_of("--workers", written)
    assert "--workers" in capsys.readouterr().err


def test_an_address_that_is_taken_is_said_before_anything_is_loaded(start_script: StartScript, folder: Path):
    first = start_script(SCRIPT, address="127.0.0.1:0").wait_until_it_says("Listening on")
    second = start_script(SCRIPT, "--workers", "2", address=first.port_address)
    assert second.wait() == 1
    assert "Cannot listen on" in second.log
