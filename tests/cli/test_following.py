"""A followed job: its log on stdout, how far its preparation is in few words."""

from typing import Any

import pytest

from ultramarine.cli.stream import LOG, _Followed  # pyright: ignore[reportPrivateUsage]
from ultramarine.cli.talk import Talk
from ultramarine.sdk.sse import Event

JOB: dict[str, Any] = {"name": "one", "status": "Queued"}


def log(text: str, *, file: str = "runner.txt", rank: str = "n0") -> Event:
    return Event(kind="log", data={"rank": rank, "file": file, "text": text})


def followed(*events: Event, is_watched: bool) -> None:
    talk = Talk()
    talk.is_watched = is_watched
    told = _Followed(JOB, talk)
    for event in events:
        told.tell(event)
    talk.make_way()


COUNTED = [log(f"environment: fetching, {count} of 81 packages\n") for count in range(5)]


def test_without_a_terminal_a_step_is_one_line(capsys: pytest.CaptureFixture[str]):
    followed(log("environment: making it\n"), *COUNTED, is_watched=False)
    assert capsys.readouterr().err == ("[n0] environment: making it\n[n0] environment: fetching, 0 of 81 packages\n")


def test_without_a_terminal_each_node_tells_its_own_steps(capsys: pytest.CaptureFixture[str]):
    two = [log(f"environment: fetching, {at} of 9 packages\n", rank=f"n{at % 2}") for at in range(6)]
    followed(*two, is_watched=False)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_on_a_terminal_the_preparation_is_one_line_that_is_gone_before_the_log(capsys: pytest.CaptureFixture[str]):
    followed(*COUNTED, log("hello\n", file=LOG, rank="0"), is_watched=True)
    said = capsys.readouterr()
    assert "\n" not in said.err
    assert said.err.endswith("4 of 81 packages\r\x1b[K")
    assert said.out == "hello\n"


def test_a_line_said_in_passing_fits_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "20")
    followed(log("environment: fetching, 1 of 81 packages\n"), is_watched=True)
    shown = capsys.readouterr().err.split("\x1b[K")[1]
    assert len(shown.rstrip("\r")) <= 19


def test_what_is_said_while_something_turns_stands_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]):
    talk = Talk()
    talk.is_watched = True
    with talk.spinning("Ending") as words:
        while "Ending" not in (shown := capsys.readouterr().err):
            assert words == ["Ending"]
        talk.say("a job")
        shown = capsys.readouterr().err
    assert "\x1b[Ka job\n" in shown
