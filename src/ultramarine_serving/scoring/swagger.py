"""The OpenAPI document of a deployment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from .options import Options
from .scorer import Scorer


def document(options: Options, scorer: Scorer) -> bytes:
    """OpenAPI 3 as JSON: the `swagger.json` in the code folder, as in Azure, else one made from the signature."""
    written = _written(options.code)
    if written is not None:
        return written
    asked, answered = scorer.schemas()
    score = {
        "operationId": "score",
        "summary": "Score the model with the data of the body",
        "requestBody": {"required": True, "content": _content("application/json", asked)},
        "responses": {
            "200": {"description": "What the model answered", "content": _content("application/json", answered)},
            "400": {"description": "The body cannot be scored", "content": _content("application/problem+json", {})},
            "500": {"description": "The model failed", "content": _content("application/problem+json", {})},
        },
    }
    health = {
        "operationId": "health",
        "summary": "Whether the deployment takes requests",
        "responses": {"200": {"description": "It does", "content": _content("text/plain", {"type": "string"})}},
    }
    described = {
        "openapi": "3.0.3",
        "info": {"title": options.name, "version": options.version},
        "paths": {"/": {"get": health}, "/score": {"post": score}},
    }
    return json.dumps(described).encode()


def _content(content_type: str, schema: Mapping[str, object]) -> Mapping[str, object]:
    return {content_type: {"schema": schema}}


def _written(code: Path | None) -> bytes | None:
    path = code / "swagger.json" if code is not None else None
    return path.read_bytes() if path is not None and path.is_file() else None
