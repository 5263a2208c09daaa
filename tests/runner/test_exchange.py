"""When a report is sent."""

import queue
from typing import Any

from ultramarine_runner.exchange import Reporter
from ultramarine_runner.wire import Answer

LONG_S = 600.0


class Channel:
    """Answers every request at once."""

    def request(self, method: str, path: str, body: bytes, *, content_type: str) -> Answer:
        return Answer(200, b"{}")


def make_reporter() -> "tuple[Reporter, queue.SimpleQueue[int]]":
    """One that never reports by time alone, and the versions that were accepted."""
    accepted: queue.SimpleQueue[int] = queue.SimpleQueue()
    channel: Any = Channel()
    reporter = Reporter(
        channel,
        body=dict,
        answered=lambda sent, answer, version: accepted.put(version),
        dismissed=lambda error: None,
        beat_s=LONG_S,
        linger_s=LONG_S,
    )
    return reporter, accepted


def test_what_nobody_waits_for_goes_with_the_next_that_somebody_does():
    reporter, accepted = make_reporter()
    reporter.start()
    assert accepted.get(timeout=20) == 1, "the first word is awaited"
    for _ in range(3):
        reporter.changed(is_urgent=False)
    last = reporter.changed(is_urgent=True)
    assert accepted.get(timeout=20) == last
    assert accepted.empty()
