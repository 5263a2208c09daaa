"""Answers for requests to endpoints that reach no replica, or get nothing from it."""

from __future__ import annotations

import math

from ultramarine_serving.gateway import unroutable
from ultramarine_serving.gateway.deployments import PIN
from ultramarine_serving.gateway.endpoints import EndpointState
from ultramarine_serving.gateway.holding import BadTimeout
from ultramarine_serving.http.client import TooSlow, UpstreamError
from ultramarine_serving.http.messages import Request, Response, problem
from ultramarine_serving.http.wire import Headers


def no_endpoint(request: Request) -> Response:
    hint = "Look up the scoring URI: um online-endpoint show."
    return problem(404, "No such endpoint", f"Nothing is served at {request.path}.", hint=hint)


def unroutable_answer(error: unroutable.Unroutable, state: EndpointState, *, wait_s: float, id: bytes) -> Response:
    """`wait_s`: how long the request was ready to wait for a replica."""
    said = [(b"x-request-id", id)]
    retry = [*said, (b"retry-after", b"%d" % min(30, max(1, math.ceil(wait_s))))]
    name = state.name
    if isinstance(error, unroutable.UnknownDeployment):
        known = ", ".join(state.deployments) or "none"
        hint = f"Deployments of it: {known}. Leave the header {PIN.decode()} out to follow the traffic."
        detail = f"Endpoint {name} has no deployment {str(error)!r}."
        return problem(404, "No such deployment", detail, hint=hint, headers=said)
    if isinstance(error, unroutable.NoTraffic):
        hint = "Give a deployment traffic: um online-endpoint update --traffic."
        return problem(503, "No traffic", f"No deployment of {name} has traffic.", hint=hint, headers=retry)
    if isinstance(error, unroutable.NoReplica):
        hint = "Send it again after Retry-After; um online-deployment get-logs shows why a replica does not start."
        return problem(503, "No replica answers", f"Endpoint {name}: {error}.", hint=hint, headers=retry)
    hint = "Send it again after Retry-After, fewer at a time; or add instances."
    waited = f"no replica was free within {wait_s:g} s"
    detail = f"Endpoint {name}: {error if isinstance(error, unroutable.QueueFull) else waited}."
    return problem(429, "Too many requests", detail, hint=hint, headers=retry)


def bad_timeout(error: BadTimeout) -> Response:
    detail = f"X-Scale-Up-Timeout is {str(error)[:60]!r}."
    return problem(400, "Bad time-out", detail, hint="Send a number of seconds, 0 to 600, or leave the header out.")


def failed_answer(error: UpstreamError, said: Headers) -> Response:
    """`said`: which deployment it was, and the request's id."""
    if isinstance(error, TooSlow):
        hint = "Send less at a time, or raise request_settings.request_timeout_ms of the deployment."
        return problem(504, "Replica too slow", f"The replica gave {error}.", hint=hint, headers=said)
    hint = "It may have been worked on: send it again only if that does no harm."
    return problem(502, "Replica broke off", f"The replica took the request, then {error}.", hint=hint, headers=said)
