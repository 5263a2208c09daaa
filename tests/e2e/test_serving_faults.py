"""What goes wrong with requests and replicas while others flow: the right status code, and nobody else is harmed."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .installation import carriers, end, until
from .odd import BODY, RATE, Site, odd

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
RUN = "\n\ndef run(raw_data):\n    return 1\n"


@pytest.fixture(scope="module")
def site(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with odd(cache, tmp_path_factory.mktemp("faults")) as made:
        yield made


def test_odd_answers_and_odd_bodies_have_their_status_and_harm_nobody(site: Site):
    with site.load() as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        assert site.mode("nan") == (200, b"[null,1.0]")
        assert json.loads(site.mode("numpy")[1]) == {"whole": 3, "many": [0, 1, 2], "yes": True}
        assert [site.mode(mode)[0] for mode in ("object", "raise")] == [500, 500]
        assert [site.ask(body)[0] for body in (b"\xff\xfe\x00", b"", b"{")] == [400, 500, 500]
        with site.open() as large:
            large.sendall(site.head(101 * 2**20))
            assert large.recv(100).startswith(b"HTTP/1.1 413 ")
        for _ in range(20):  # clients that go in the middle
            with site.open() as gone:
                gone.sendall(site.head(100) + b"{")
        until(lambda: len(load.answers) > 5 * RATE, "the others go on")
    assert not load.failed, f"{load.told()}\n{site.it.told()}"


def test_clients_that_send_slowly_are_sent_away_and_harm_nobody(site: Site):
    slow = [site.open() for _ in range(30)]
    began = time.monotonic()
    with site.load() as load:
        left = list(slow)
        while left and time.monotonic() < began + 40:
            for each in list(left):
                try:
                    each.sendall(b"P" if time.monotonic() - began < 0.2 else b"O")
                except OSError:
                    left.remove(each)
            time.sleep(0.5)
    for each in slow:
        each.close()
    assert not left
    assert not load.failed, f"{load.told()}\n{site.it.told()}"


def test_a_run_that_hangs_is_504_and_the_other_replica_answers(site: Site):
    with site.load() as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        began = time.monotonic()
        assert site.mode("hang", seconds=15)[0] == 504
        assert time.monotonic() - began < 5
        time.sleep(5)
        after = time.monotonic()
        until(lambda: len(load.since(after)) > 3 * RATE, "the other answers")
    print(load.told())
    behind = [answer for answer in load.failed if answer.at < began + 3]
    assert load.failed == behind, f"only who was behind it is harmed: {load.told()}\n{site.it.told()}"
    assert len(behind) <= 3 * RATE
    until(lambda: len(site.answering()) == 2, "it is back", seconds=60)


def test_ten_times_the_load_is_429_for_what_is_too_much_and_then_all_is_well(site: Site):
    with site.load(rate=60 * RATE) as flood:
        time.sleep(4)
    statuses = flood.statuses()
    print(flood.told())
    assert statuses[200] > 4 * RATE
    assert set(statuses) <= {200, 429}, flood.told()
    with site.load() as load:
        time.sleep(2)
    assert not load.failed, load.told()


def test_fifty_changes_of_the_configuration_cost_no_request(site: Site):
    with site.load() as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        for number in range(50):
            wait_ms = {"request_settings": {"max_queue_wait_ms": 2000 + number}}
            site.it.workspace.online_deployments.update("blue", "odd", wait_ms)
    print(load.told())
    assert not load.failed, f"{load.told()}\n{site.it.told()}"


def test_a_killed_replica_costs_what_it_had_in_hand(site: Site):
    until(lambda: len(site.answering()) == 2, "both answer", seconds=60)
    with site.load() as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        [victim, _] = site.answering()
        for pid in carriers(f"ULTRAMARINE_RUN_KEY={victim}"):
            end(pid)
        until(lambda: victim not in site.answering() and len(site.answering()) == 2, "it is replaced", seconds=60)
    print(load.told())
    assert len(load.failed) <= 4, f"{load.told()}\n{site.it.told()}"


def test_an_init_that_raises_fails_its_deployment_alone(site: Site, tmp_path: Path):
    (tmp_path / "score").mkdir()
    (tmp_path / "score" / "score.py").write_text("def init():\n    raise OSError('no luck today')\n" + RUN)
    with site.load() as load:
        made = site.deploy("cut", folder=tmp_path, instance_count=1)
        assert made["provisioning_state"] == "Failed"
        assert "init(): OSError: no luck today" in made["reason"]
        site.remove("cut")
    assert not load.failed, f"{load.told()}\n{site.it.told()}"


def test_a_deployment_that_is_deleted_while_it_serves_by_name_says_404_from_then_on(site: Site, tmp_path: Path):
    (tmp_path / "score").mkdir()
    (tmp_path / "score" / "score.py").write_text("def init():\n    pass\n" + RUN)
    there = site.it.workspace.online_deployments
    assert site.deploy("brief", folder=tmp_path, instance_count=1)["provisioning_state"] == "Succeeded"
    seen: list[int] = []
    is_over = threading.Event()

    def ask_on() -> None:
        while not is_over.is_set():
            seen.append(site.ask(BODY, **{"azureml-model-deployment": "brief"})[0])

    asking = threading.Thread(target=ask_on)
    asking.start()
    with site.load() as load:
        until(lambda: len(seen) > 10, "it answers")
        there.delete("brief", "odd")
        until(lambda: seen[-1] == 404, "it is gone")
        there.wait_gone("brief", "odd", timeout_s=60)
    is_over.set()
    asking.join()
    first = seen.index(404)
    assert set(seen[:first]) == {200}
    assert set(seen[first:]) == {404}
    assert not load.failed, f"{load.told()}\n{site.it.told()}"
