"""What Prometheus reads: every metric is documented, and says what is so."""

import asyncio
import time
from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families
from tests.api.conftest import Api
from tests.factories import EPOCH, NOON, make_run
from tools.write_metrics_reference import PAGE

from ultramarine.controllers import lag
from ultramarine.domain.names import NodeKey
from ultramarine.domain.run import Cause, Ending, RunEvent, RunStatus
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.seen import NodeNews
from ultramarine.planning.state import State
from ultramarine.planning.traffic import Latencies, Mirrored, Traffic
from ultramarine.services.measures import COUNTERS, ENDPOINTS, GAUGES, HISTOGRAMS, REPLICAS, Measures

Samples = dict[tuple[str, frozenset[str]], float]


def read(text: str) -> Samples:
    """Samples by name and the values of their labels, whose order is the format's own."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_what_waits_and_what_runs_is_read_off_the_state(api: Api) -> None:
    for name in ("j1", "j2"):
        body = {"command": "echo hello", "environment": "minimal", "compute": "local"}
        assert (await api.ask("PUT", f"/api/v1/workspaces/w/jobs/{name}", json=body)).status_code == 201
    answer = await api.ask("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found = read(answer.text)
    assert found["ultramarine_queue_length", frozenset(["w", "local"])] == 2
    assert found["ultramarine_queue_length", frozenset(["v", "local"])] == 0
    assert found["ultramarine_queue_oldest_wait_seconds", frozenset(["w", "local"])] == 0
    assert found["ultramarine_runs", frozenset(["job", "Queued"])] == 2
    assert found["ultramarine_runner_silence_seconds", frozenset([])] == 0


async def test_every_metric_is_told_under_its_documented_name(api: Api) -> None:
    text = (await api.ask("GET", "/metrics")).text
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert told == {measure.name for measure in (*COUNTERS, *HISTOGRAMS, *GAUGES, *ENDPOINTS, *REPLICAS)}
    page = PAGE.read_text()
    assert [name for name in told if f"`{name}`" not in page] == []


def test_starts_ends_failures_turns_beats_and_lag_are_counted() -> None:
    measures = Measures()
    queued, running = make_run("j1"), make_run("j2", status=RunStatus.RUNNING)
    failed = {"ending": Ending(cause=Cause.OUT_OF_MEMORY)}
    measures.recorded(
        [
            RecordRun(run=queued, event=RunEvent.PLACED),
            RecordRun(run=running, event=RunEvent.CRASHED, changes=failed),
            RecordRun(run=running, event=RunEvent.SUCCEEDED),
            RecordRun(run=running, event=RunEvent.FELL_SILENT),
        ]
    )
    measures.beat()
    measures.turned("runs", 0.02)
    measures.lagged(0.3)
    state = State(epoch=EPOCH, runs=[], computes=[], allocations=[], nodes=[], hosts=[])
    heard = {NodeKey("n"): NodeNews(heard_at=NOON)}
    found = read(measures.text(state, heard, NOON + timedelta(seconds=7), traffic={}).decode())
    assert found["ultramarine_run_starts_total", frozenset(["job"])] == 1
    assert found["ultramarine_run_ends_total", frozenset(["job", "Failed"])] == 1
    assert found["ultramarine_run_ends_total", frozenset(["job", "Completed"])] == 1
    assert found["ultramarine_run_failures_total", frozenset(["job", "out_of_memory"])] == 1
    assert found["ultramarine_runner_beats_total", frozenset([])] == 1
    assert found["ultramarine_turn_seconds_bucket", frozenset(["runs", "0.025"])] == 1
    assert found["ultramarine_event_loop_lag_seconds_count", frozenset([])] == 1
    assert found["ultramarine_runner_silence_seconds", frozenset([])] == 7


def test_what_the_gateway_counts_is_told_by_endpoint_and_deployment() -> None:
    state = State(epoch=EPOCH, runs=[], computes=[], allocations=[], nodes=[], hosts=[])
    seconds = Latencies(bounds=(0.001, 0.01), counts=(1, 2, 4), sum=3.5)
    answers, mirrored = {"2xx": 6, "429": 1}, Mirrored(compared=3, agreed=2)
    blue = Traffic(in_flight=5, queued=2, held=1, up=3, answers=answers, seconds=seconds, mirrored=mirrored)
    told = read(Measures().text(state, {}, NOON, traffic={("w/cancer", "blue"): blue}).decode())
    where = ("w", "cancer", "blue")
    assert told["ultramarine_endpoint_requests_total", frozenset([*where, "2xx"])] == 6
    assert told["ultramarine_endpoint_requests_total", frozenset([*where, "429"])] == 1
    buckets = [
        told["ultramarine_endpoint_request_seconds_bucket", frozenset([*where, bound])]
        for bound in ("0.001", "0.01", "+Inf")
    ]
    assert buckets == [1, 3, 7]
    assert told["ultramarine_endpoint_request_seconds_count", frozenset(where)] == 7
    assert told["ultramarine_endpoint_request_seconds_sum", frozenset(where)] == 3.5
    gauges = ("in_flight", "queued", "held", "replicas_up")
    assert [told[f"ultramarine_endpoint_{name}", frozenset(where)] for name in gauges] == [5, 2, 1, 3]
    assert told["ultramarine_endpoint_mirrored_total", frozenset([*where, "agreed"])] == 2


async def test_an_event_loop_that_is_held_up_is_told_as_late() -> None:
    told: asyncio.Queue[float] = asyncio.Queue()
    watching = asyncio.create_task(lag.forever(told.put_nowait))
    await asyncio.sleep(0)  # it has begun its first sleep
    time.sleep(lag.EACH_S + 0.2)  # noqa: ASYNC251 (this is what holds it up)
    assert await asyncio.wait_for(told.get(), 10) >= 0.15
    watching.cancel()
