"""What goes wrong with a job: it ends with the reason in words, and nothing of it is left."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.installation import Installation, carriers, command_line, end, processes, until

from .conftest import Install

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
#: Ignores TERM, as do its children: one in a session of its own, one that carries nothing of ours.
STUBBORN = """
trap '' TERM
setsid sh -c "trap '' TERM; while true; do sleep 98761; done" &
env -i setsid sh -c "trap '' TERM; while true; do sleep 98762; done" &
echo begun
while true; do sleep 98763; done
"""


@pytest.fixture(scope="module")
def it(install: Install) -> Iterator[Installation]:
    with install() as made:
        made.up()
        made.cluster(nodes=2)
        yield made


def is_gone(it: Installation, job: dict[str, Any]) -> None:
    assert carriers(f"ULTRAMARINE_RUN_KEY={it.run_key(job)}") == []


def failed(it: Installation, name: str) -> dict[str, Any]:
    job = it.comes_to(name, "Failed")
    is_gone(it, job)
    return job


def test_a_job_that_takes_too_much_memory_ends_with_that_reason(it: Installation):
    it.submit("greedy", "python -c 'held = bytearray(600 * 2**20); import time; time.sleep(60)'", retries=0)
    job = failed(it, "greedy")
    assert job["ending"]["cause"] == "out_of_memory"
    assert "memory" in job["reason"]
    assert job["attempt"] == 1


def test_a_job_that_takes_too_long_ends_with_that_reason(it: Installation):
    it.submit("slow", "echo begun; sleep 98764", limits={"timeout": 2})
    job = failed(it, "slow")
    assert job["ending"]["cause"] == "timeout"
    assert "2 s" in job["reason"]
    assert it.log("slow", 1) == "begun\n"


def test_a_job_that_fails_is_tried_as_often_as_it_says(it: Installation):
    it.submit("unlucky", "echo again; exit 7", retries=2)
    until(lambda: it.job("unlucky")["attempt"] == 3, "the third attempt")
    job = failed(it, "unlucky")
    assert (job["attempt"], job["ending"]["code"]) == (3, 7)
    assert it.endings("unlucky") == ["Failed", "Failed", "Failed"]
    assert [it.log("unlucky", attempt) for attempt in (1, 2, 3)] == ["again\n"] * 3


def test_a_lost_node_does_not_count_as_one_of_the_retries(it: Installation):
    mark = it.home.with_name("mark")
    it.submit("unhappy", f"[ -e {mark} ] && exit 7; touch {mark}; sleep 98765", retries=1)
    node = it.comes_to("unhappy", "Running")["nodes"][0]
    until(mark.exists, "it has begun")
    for pid in it.runner(node):
        end(pid)
    until(lambda: it.job("unhappy")["attempt"] == 3, "one attempt for the lost node, one for the failure")
    job = failed(it, "unhappy")
    assert (job["attempt"], job["ending"]["code"]) == (3, 7)
    assert not sleepers()


def test_an_environment_that_cannot_be_resolved_fails_the_job_in_words(it: Installation):
    environment = {"requirements": ["ultramarine-has-no-such-package==1.0"]}
    it.submit("lost", "true", environment=environment)
    job = failed(it, "lost")
    assert job["ending"]["cause"] == "environment"
    assert "ultramarine-has-no-such-package" in job["reason"]


def test_a_job_that_ignores_term_is_canceled_with_all_its_children(it: Installation):
    it.submit("stubborn", STUBBORN)
    it.comes_to("stubborn", "Running")
    until(lambda: it.log("stubborn", 1) == "begun\n", "it has begun")
    until(lambda: len(sleepers()) == 3, "its children sleep")
    it.workspace.jobs.cancel("stubborn")
    job = it.comes_to("stubborn", "Canceled")
    is_gone(it, job)
    assert sleepers() == []


def sleepers() -> list[int]:
    return [pid for pid in processes() if command_line(pid).startswith("sleep 9876")]
