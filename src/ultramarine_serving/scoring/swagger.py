"""The OpenAPI document of a deployment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from .options import Options
from .scorer import INVOCATIONS, Scorer

_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
#: What scoring may answer besides 200, and why.
_REFUSALS = {
    "400": "The body cannot be scored",
    "408": "The model took too long",
    "413": "The body is too large",
    "415": "The body is of another content type",
    "429": "Too many requests wait",
    "500": "The model or script failed",
    "503": "The model is being loaded, or hangs",
}
_PROBLEM_SCHEMA: Mapping[str, object] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "hint"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
    },
}


def document(options: Options, scorer: Scorer) -> bytes:
    """OpenAPI 3 as JSON: the `swagger.json` in the code folder, as in Azure, else one made from the signature."""
    written = _written(options.code)
    if written is not None:
        return written
    asked, answered = scorer.schemas()
    output: Mapping[str, object] = {"$ref": "#/components/schemas/ServiceOutput"}
    is_script = options.code is not None
    predictions = {"type": "object", "required": ["predictions"], "properties": {"predictions": output}}
    described = {
        "openapi": "3.0.3",
        "info": {
            "title": options.name,
            "version": options.version,
            "description": "The same model answers the Open Inference Protocol below /v2, unless it is a script.",
        },
        "paths": {
            "/score": _scoring("score", scorer, output),
            INVOCATIONS: _scoring("invocations", scorer, output if is_script else predictions),
            "/": {"get": _health("health", "Whether requests are taken", _REFUSALS["503"])},
            "/ping": {"get": _health("ping", "The same", _REFUSALS["503"])},
            "/health/ready": {"get": _health("ready", "The same", _REFUSALS["503"])},
            "/health/live": {"get": _health("live", "Whether the process does its work", "A call hangs")},
            "/version": {"get": _version()},
        },
        "components": {"schemas": {"ServiceInput": asked, "ServiceOutput": answered, "Problem": _PROBLEM_SCHEMA}},
    }
    return json.dumps(described).encode()


def _scoring(name: str, scorer: Scorer, output: Mapping[str, object]) -> Mapping[str, object]:
    asked, _ = scorer.schemas()
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/ServiceInput"}}}
    answered = {"description": "What the model answered", "content": {"application/json": {"schema": output}}}
    responses = {"200": answered, **_refused(_REFUSALS)}
    described: dict[str, object] = {}
    for method in scorer.methods:
        if method == "POST":
            # A script that says nothing of its data may be content with none.
            ways: Mapping[str, object] = {"requestBody": {"required": bool(asked), "content": body}}
        else:
            ways = {"parameters": _parameters(asked)}
        described[method.lower()] = {
            "operationId": name if method == "POST" else f"{name}-by-{method.lower()}",
            "summary": f"Score the data of the {'body' if method == 'POST' else 'query'}",
            **ways,
            "responses": responses,
        }
    return described


def _parameters(asked: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """The arguments of `run()` in a query. Each value is JSON where it can be, else text."""
    needed = cast("Sequence[str]", asked.get("required", ()))
    named = cast("Mapping[str, object]", asked.get("properties", {}))
    return [
        {"name": name, "in": "query", "required": name in needed, "content": {"application/json": {"schema": schema}}}
        for name, schema in named.items()
    ]


def _health(name: str, summary: str, why_not: str) -> Mapping[str, object]:
    responses = {"200": {"description": "Yes", "content": _TEXT}, **_refused({"503": why_not})}
    return {"operationId": name, "summary": summary, "responses": responses}


def _version() -> Mapping[str, object]:
    names = ("name", "version", "deployment")
    shown = {"type": "object", "required": names, "properties": {name: {"type": "string"} for name in names}}
    answered = {"description": "The model and its deployment", "content": {"application/json": {"schema": shown}}}
    return {"operationId": "version", "summary": "What is served here", "responses": {"200": answered}}


def _refused(reasons: Mapping[str, str]) -> Mapping[str, object]:
    return {status: {"description": why, "content": _PROBLEM} for status, why in reasons.items()}


def _written(code: Path | None) -> bytes | None:
    path = code / "swagger.json" if code is not None else None
    return path.read_bytes() if path is not None and path.is_file() else None
