"""Errors as the protocol writes them: `{"error": "…"}`."""

from __future__ import annotations

import json

from ultramarine_serving.http.server import Response

from ..scorer import JSON


def error(status: int, words: str) -> Response:
    """An error in words."""
    return Response(status, JSON, json.dumps({"error": words}).encode())


def of_problem(problem: Response) -> Response:
    """The same refusal as elsewhere (`http.problem`), in the protocol's form; its headers stay."""
    assert isinstance(problem.body, bytes), "a problem is whole"
    said = json.loads(problem.body)
    answer = error(problem.status, f"{said['detail']} {said['hint']}")
    answer.headers = [*JSON, *(each for each in problem.headers if each[0] != b"content-type")]
    return answer
