"""An endpoint as this worker knows it: which deployment is next."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ultramarine_serving.gateway.deployments import DeploymentState
from ultramarine_serving.gateway.mirroring import Mirroring
from ultramarine_serving.gateway.served import Endpoint
from ultramarine_serving.gateway.unroutable import NoTraffic, UnknownDeployment
from ultramarine_serving.gateway.weights import SmoothWeights


class EndpointState:
    """Outlives a reload of the table, with all its counts."""

    def __init__(self, name: str, *, on_held: Callable[[str, DeploymentState], None]) -> None:
        """`on_held`: told the endpoint's name and a deployment that is waited for though none of its replicas is up."""
        self.name = name
        self.deployments: dict[str, DeploymentState] = {}
        self.requests = 0
        self._on_held = on_held
        self.mirroring = Mirroring()
        self._weights = SmoothWeights()

    def update(self, endpoint: Endpoint, *, worker: int, workers: int) -> None:
        """Take over a new table."""
        if not hasattr(self, "spec") or self.spec.traffic != endpoint.traffic:
            self._weights.forget()
        self.spec = endpoint
        for name in self.deployments.keys() - endpoint.deployments.keys():
            self.deployments.pop(name).leave()
        for name, deployment in endpoint.deployments.items():
            if name not in self.deployments:
                self.deployments[name] = DeploymentState(name, on_held=partial(self._on_held, self.name))
            self.deployments[name].update(deployment, worker=worker, workers=workers)

    def leave(self) -> None:
        """The endpoint is no longer in the table."""
        for state in self.deployments.values():
            state.leave()
        self.deployments = {}

    def choose(self, pin: str) -> DeploymentState:
        """The deployment for the next request. Raises UnknownDeployment, NoTraffic.

        One none of whose replicas answers gets no traffic as long as another has some that do; but one that is asleep
        keeps its share, or it would never wake.
        """
        if pin:
            state = self.deployments.get(pin)
            if state is None:
                raise UnknownDeployment(pin)
            return state
        traffic = self.spec.traffic
        states = self.deployments
        if len(traffic) == 1 and states:
            return states[next(iter(traffic))]
        usable = [name for name in traffic if name in states and (states[name].is_up or states[name].is_asleep)]
        chosen = self._weights.choose(traffic, usable or states)
        if chosen is None:
            raise NoTraffic
        return states[chosen]

    def told(self) -> dict[str, Any]:
        """For `GET /status`."""
        states = self.deployments
        return {
            "in_flight": sum(state.in_flight for state in states.values()),
            "queued": sum(state.queued for state in states.values()),
            "requests": self.requests,
            "deployments": {name: state.told() for name, state in states.items()},
        }
