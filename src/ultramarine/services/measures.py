"""What a Prometheus server is told: counters that grow as things happen, gauges that are read off the state when asked.

`docs/reference/metrics.md` is made of this file.
"""

from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ultramarine.domain.names import NodeKey
from ultramarine.domain.run import RUN, Cause, RunEvent, RunStatus
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.lately import ReplicaLoad
from ultramarine.planning.seen import NodeNews
from ultramarine.planning.state import State
from ultramarine.planning.traffic import Traffic

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One metric: what it is called, what it says, and its labels."""

    name: str
    words: str
    labels: tuple[str, ...] = ()


STARTS = Measure(name="ultramarine_run_starts_total", words="Runs that were placed on nodes.", labels=("noun",))
ENDS = Measure(
    name="ultramarine_run_ends_total",
    words="Runs that have ended, by status; but for those that were canceled while they waited.",
    labels=("noun", "status"),
)
FAILURES = Measure(
    name="ultramarine_run_failures_total", words="Runs that have failed, by cause.", labels=("noun", "cause")
)
BEATS = Measure(name="ultramarine_runner_beats_total", words="Reports of runners that were taken.")
TURNS = Measure(name="ultramarine_turn_seconds", words="How long a turn of a loop took, in seconds.", labels=("loop",))
LAG = Measure(
    name="ultramarine_event_loop_lag_seconds",
    words="How much later than it should the server's event loop came to a task, in seconds.",
)
QUEUE = Measure(
    name="ultramarine_queue_length", words="Runs that wait for nodes, by compute.", labels=("workspace", "compute")
)
WAIT = Measure(
    name="ultramarine_queue_oldest_wait_seconds",
    words="How long the run that has waited longest has done so, in seconds.",
    labels=("workspace", "compute"),
)
NODES = Measure(
    name="ultramarine_nodes",
    words="Nodes, by the status of their allocation.",
    labels=("workspace", "compute", "status"),
)
RUNS = Measure(name="ultramarine_runs", words="Runs that have not ended, by status.", labels=("noun", "status"))
SILENCE = Measure(
    name="ultramarine_runner_silence_seconds",
    words="Seconds since the last report of the runner that was not heard of for longest; 0 without runners.",
)
DEPLOYMENT = ("workspace", "endpoint", "deployment")
REQUESTS = Measure(
    name="ultramarine_endpoint_requests_total",
    words="Requests to deployments that were answered, by class of status; 429 on its own, 499: the client went first.",
    labels=(*DEPLOYMENT, "code"),
)
REQUEST_SECONDS = Measure(
    name="ultramarine_endpoint_request_seconds",
    words="From a request's head to its answer's, at the gateway, in seconds. "
    "Upper bounds from 0.0005 to 65.5 s, each √2 of the one before.",
    labels=DEPLOYMENT,
)
IN_FLIGHT = Measure(name="ultramarine_endpoint_in_flight", words="Requests at replicas.", labels=DEPLOYMENT)
QUEUED = Measure(name="ultramarine_endpoint_queued", words="Requests that wait for a place.", labels=DEPLOYMENT)
HELD = Measure(name="ultramarine_endpoint_held", words="Requests that wait for the first replica.", labels=DEPLOYMENT)
UP = Measure(
    name="ultramarine_endpoint_replicas_up", words="Replicas that the gateway reaches and uses.", labels=DEPLOYMENT
)
MIRRORED = Measure(
    name="ultramarine_endpoint_mirrored_total",
    words="Copies of requests that are mirrored to a deployment: compared, agreed (of these), failed, dropped.",
    labels=(*DEPLOYMENT, "outcome"),
)
REPLICA = (*DEPLOYMENT, "replica")
REPLICA_REQUESTS = Measure(
    name="ultramarine_replica_requests_total",
    words="Requests that a replica's model was called for. Over its calls: how many share one.",
    labels=REPLICA,
)
REPLICA_CALLS = Measure(name="ultramarine_replica_calls_total", words="Calls of a replica's model.", labels=REPLICA)
REPLICA_WAITING = Measure(
    name="ultramarine_replica_waiting", words="Requests that wait in a replica for its model.", labels=REPLICA
)
REPLICA_CPU = Measure(
    name="ultramarine_replica_cpu_percent", words="What a replica uses, in percent of one CPU.", labels=REPLICA
)
REPLICA_MEMORY = Measure(
    name="ultramarine_replica_memory_bytes", words="What a replica holds of memory.", labels=REPLICA
)
ENDPOINTS = (REQUESTS, REQUEST_SECONDS, IN_FLIGHT, QUEUED, HELD, UP, MIRRORED)
REPLICAS = (REPLICA_REQUESTS, REPLICA_CALLS, REPLICA_WAITING, REPLICA_CPU, REPLICA_MEMORY)
COUNTERS = (STARTS, ENDS, FAILURES, BEATS)
HISTOGRAMS = (TURNS, LAG)
GAUGES = (QUEUE, WAIT, NODES, RUNS, SILENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFigures:
    """`place`: workspace, endpoint, deployment and the replica's run; None: it has not told that."""

    place: tuple[str, str, str, str]
    load: ReplicaLoad | None
    cpu_percent: float | None = None
    memory_bytes: float | None = None

    def values(self) -> Mapping[Measure, float | None]:
        load = self.load
        return {
            REPLICA_REQUESTS: None if load is None else load.requests,
            REPLICA_CALLS: None if load is None else load.calls,
            REPLICA_WAITING: None if load is None else load.waiting,
            REPLICA_CPU: self.cpu_percent,
            REPLICA_MEMORY: self.memory_bytes,
        }


class Measures:
    """Counted since the start of this server."""

    def __init__(self) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry()
        self._counters = {m: Counter(m.name, m.words, m.labels, registry=self._registry) for m in COUNTERS}
        self._histograms = {
            m: Histogram(m.name, m.words, m.labels, registry=self._registry, buckets=SECONDS) for m in HISTOGRAMS
        }

    def recorded(self, records: Iterable[object]) -> None:
        """Moves of runs that were written."""
        for record in records:
            if not isinstance(record, RecordRun):
                continue
            noun, status = record.run.owner_noun.value, RUN.next(record.run.status, record.event)
            if record.event is RunEvent.PLACED:
                self._counters[STARTS].labels(noun).inc()
            if status in RUN.final:
                self._counters[ENDS].labels(noun, status.value).inc()
            if status is RunStatus.FAILED:
                self._counters[FAILURES].labels(noun, _cause(record).value).inc()

    def beat(self) -> None:
        self._counters[BEATS].inc()

    def turned(self, loop: str, seconds: float) -> None:
        self._histograms[TURNS].labels(loop).observe(seconds)

    def lagged(self, seconds: float) -> None:
        self._histograms[LAG].observe(seconds)

    def text(
        self,
        state: State,
        heard: Mapping[NodeKey, NodeNews],
        now: datetime,
        *,
        traffic: Mapping[tuple[str, str], Traffic],
        replicas: Sequence[ReplicaFigures] = (),
    ) -> bytes:
        """All of it, in Prometheus' text format. `traffic`: by `workspace/endpoint` and deployment."""
        gauges = CollectorRegistry()
        for measure, values in _gauges(state, heard, now).items():
            gauge = Gauge(measure.name, measure.words, measure.labels, registry=gauges)
            for labels, value in values.items():
                (gauge.labels(*labels) if labels else gauge).set(value)
        gauges.register(_Endpoints(traffic))
        gauges.register(_Replicas(replicas))
        return generate_latest(self._registry) + generate_latest(gauges)


class _Endpoints(Collector):
    """What the gateway has counted, which does so by itself."""

    def __init__(self, traffic: Mapping[tuple[str, str], Traffic]) -> None:
        self._traffic = traffic

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(REQUESTS.name, REQUESTS.words, labels=REQUESTS.labels)
        seconds = HistogramMetricFamily(REQUEST_SECONDS.name, REQUEST_SECONDS.words, labels=DEPLOYMENT)
        mirrored = CounterMetricFamily(MIRRORED.name, MIRRORED.words, labels=MIRRORED.labels)
        gauges = {m: GaugeMetricFamily(m.name, m.words, labels=DEPLOYMENT) for m in (IN_FLIGHT, QUEUED, HELD, UP)}
        for (endpoint, deployment), figures in self._traffic.items():
            labels = (*endpoint.split("/", 1), deployment)
            for code, count in figures.answers.items():
                requests.add_metric((*labels, code), count)
            sums = accumulate(figures.seconds.counts)
            bounds = [*(f"{bound:g}" for bound in figures.seconds.bounds), "+Inf"]
            seconds.add_metric(labels, list(zip(bounds, sums, strict=False)), figures.seconds.sum)
            now = {IN_FLIGHT: figures.in_flight, QUEUED: figures.queued, HELD: figures.held, UP: figures.up}
            for measure, value in now.items():
                gauges[measure].add_metric(labels, value)
            for outcome in ("compared", "agreed", "failed", "dropped"):
                mirrored.add_metric((*labels, outcome), getattr(figures.mirrored, outcome))
        return [requests, seconds, mirrored, *gauges.values()]


class _Replicas(Collector):
    """What replicas say of themselves, and what their nodes say of them."""

    def __init__(self, replicas: Sequence[ReplicaFigures]) -> None:
        self._replicas = replicas

    def collect(self) -> Iterable[Metric]:
        families: dict[Measure, CounterMetricFamily | GaugeMetricFamily] = {
            m: (CounterMetricFamily if m.name.endswith("_total") else GaugeMetricFamily)(
                m.name, m.words, labels=m.labels
            )
            for m in REPLICAS
        }
        for replica in self._replicas:
            for measure, value in replica.values().items():
                if value is not None:
                    families[measure].add_metric(replica.place, value)
        return families.values()


def _cause(record: RecordRun) -> Cause:
    ending = record.changes.get("ending")
    return ending.cause if ending is not None else Cause.IMPOSSIBLE


def _gauges(
    state: State, heard: Mapping[NodeKey, NodeNews], now: datetime
) -> Mapping[Measure, Mapping[tuple[str, ...], float]]:
    computes = {compute.id: (compute.workspace, compute.name) for compute in state.computes}
    # A compute without a queue is told as 0: what is not there cannot be told from what is not asked.
    queue: Tally[tuple[str, ...]] = Tally(dict.fromkeys(computes.values(), 0))
    wait: dict[tuple[str, ...], float] = dict.fromkeys(computes.values(), 0.0)
    for run in state.queued:
        where = computes.get(run.compute, (run.workspace, ""))
        queue[where] += 1
        wait[where] = max(wait.get(where, 0.0), (now - run.created_at).total_seconds())
    silences = [(now - news.heard_at).total_seconds() for news in heard.values()]
    return {
        QUEUE: queue,
        WAIT: wait,
        NODES: Tally((a.workspace, a.compute_name, a.status.value) for a in state.allocations),
        RUNS: Tally((run.owner_noun.value, run.status.value) for run in state.runs),
        SILENCE: {(): max([0.0, *silences])},
    }
