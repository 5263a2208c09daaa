"""The smoke test: a model answers its own example before it gets a request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from .bodies import KEYS

# MLflow writes the first for its own servers; the second is older, and holds the table without a key around it.
SERVING_EXAMPLE = "serving_input_example.json"
INPUT_EXAMPLE = "input_example.json"
#: In the folder of a scoring script: the body of one request.
SAMPLE_REQUEST = "sample_request.json"


class SmokeTestFailed(Exception):
    """The model or script does not answer its own example; the message says why and what to change."""

    def __init__(self, who: str, example: str, why: str) -> None:
        super().__init__(
            f"{who} does not answer its own example ({example}): {why.rstrip('.')}. Correct the one that is wrong, or "
            "leave the test out: smoke_test_enabled: false in the deployment (--no-smoke-test)."
        )


@dataclass(frozen=True)
class Example:
    """One request's body, and the file it is from."""

    name: str
    body: bytes


def of_model(folder: Path) -> Example | None:
    """The example that was saved with an MLflow model, as a body for /score; None where there is none to send."""
    serving = folder / SERVING_EXAMPLE
    if serving.is_file():
        return Example(name=SERVING_EXAMPLE, body=serving.read_bytes())
    written = folder / INPUT_EXAMPLE
    if not written.is_file():
        return None
    body = _as_request(written.read_bytes())
    return None if body is None else Example(name=INPUT_EXAMPLE, body=body)


def of_script(folder: Path) -> Example | None:
    """The sample request beside a scoring script, if any."""
    path = folder / SAMPLE_REQUEST
    return Example(name=SAMPLE_REQUEST, body=path.read_bytes()) if path.is_file() else None


def _as_request(written: bytes) -> bytes | None:
    """What MLflow's older example file says, with the key that a request has; None for what is no table and no array.

    What is not JSON is given back as it is: the model's refusal names the file.
    """
    try:
        document: object = json.loads(written)
    except ValueError:
        return written
    if isinstance(document, list):
        return json.dumps({"instances": document}).encode()
    if not isinstance(document, dict):
        return None
    fields = cast("dict[str, object]", document)
    if any(key in fields for key in KEYS):
        return written
    return json.dumps({"dataframe_split": fields}).encode() if "data" in fields else None
