"""The counts of the gateway's workers as one that never goes back."""

from collections.abc import Collection, Mapping
from functools import reduce
from typing import Any

from ultramarine.planning.traffic import Latencies, Mirrored, Traffic

Deployment = tuple[str, str]  # workspace/endpoint, deployment


class Totals:
    """A worker that starts again counts from zero; what the one before it had counted is kept here.

    A worker that does not answer counts with what it said last.
    """

    def __init__(self) -> None:
        self._last: dict[str, dict[Deployment, Traffic]] = {}  #: by worker
        self._pids: dict[str, int] = {}
        self._before: dict[Deployment, Traffic] = {}  #: of those that are gone

    def take(self, worker: str, status: Mapping[str, Any]) -> None:
        """What a worker says now (docs/reference/route-table.md)."""
        now = {
            (endpoint, name): _traffic(figures)
            for endpoint, said in status["endpoints"].items()
            for name, figures in said["deployments"].items()
        }
        is_another = self._pids.get(worker) != status["pid"]
        for deployment, traffic in self._last.get(worker, {}).items():
            if is_another or deployment not in now or now[deployment].requests < traffic.requests:
                self._keep(deployment, traffic)
        self._last[worker], self._pids[worker] = now, status["pid"]

    def keep_only(self, workers: Collection[str]) -> None:
        """Those that there are. What others had counted stays, as long as its deployment does."""
        for gone in self._last.keys() - set(workers):
            for deployment, traffic in self._last.pop(gone).items():
                self._keep(deployment, traffic)
        there = {deployment for said in self._last.values() for deployment in said}
        self._before = {deployment: kept for deployment, kept in self._before.items() if deployment in there}

    def _keep(self, deployment: Deployment, traffic: Traffic) -> None:
        self._before[deployment] = self._before.get(deployment, Traffic()).plus(traffic)

    def traffic(self) -> Mapping[Deployment, Traffic]:
        """By deployment, of those that the gateway has in its table."""
        each: dict[Deployment, list[Traffic]] = {}
        for said in self._last.values():
            for deployment, traffic in said.items():
                each.setdefault(deployment, []).append(traffic)
        return {
            deployment: reduce(Traffic.plus, parts).counted(self._before.get(deployment, Traffic()))
            for deployment, parts in each.items()
        }


def _traffic(said: Mapping[str, Any]) -> Traffic:
    mirrored = said["mirrored"]
    return Traffic(
        in_flight=said["in_flight"],
        queued=said["queued"],
        held=said["held"],
        up=said["up"],
        requests=said["requests"],
        answers=said["answers"],
        seconds=_latencies(said["seconds"]),
        mirrored=Mirrored(
            compared=mirrored["compared"],
            agreed=mirrored["agreed"],
            failed=mirrored["failed"],
            dropped=mirrored["dropped"],
            seconds=_latencies(mirrored["seconds"]),
        ),
    )


def _latencies(said: Mapping[str, Any]) -> Latencies:
    return Latencies(bounds=tuple(said["bounds"]), counts=tuple(said["counts"]), sum=said["sum"])
