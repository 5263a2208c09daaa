"""Before a replica takes requests, its model answers its own example."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.serving.scoring import servers
from tests.serving.scoring.conftest import StartScript
from tests.serving.scoring.environment import ModelEnvironment
from tests.serving.scoring.servers import Server

from ultramarine_serving.scoring.smoke import INPUT_EXAMPLE, SERVING_EXAMPLE, of_model

READS_A = "import json\ndef init():\n    pass\ndef run(raw_data):\n    return json.loads(raw_data)['a']\n"


@pytest.fixture
def serve(serving_zip: Path, models: ModelEnvironment, started: list[Server], tmp_path: Path):
    """Start a server of the forest with other example files; it may not be ready yet."""

    def start(examples: dict[str, Any], *options: str) -> Server:
        model = shutil.copytree(models.models / "forest", tmp_path / "m")
        for name in (SERVING_EXAMPLE, INPUT_EXAMPLE):
            (model / name).unlink()
        for name, content in examples.items():
            (model / name).write_text(content if isinstance(content, str) else json.dumps(content))
        command = [str(models.python), str(serving_zip), "--site", str(models.site), "--model-dir", str(model)]
        started.append(servers.start([*command, *options], tmp_path, {"PATH": os.environ["PATH"]}))
        return started[-1]

    return start


@pytest.mark.parametrize("name", [SERVING_EXAMPLE, INPUT_EXAMPLE])
def test_a_model_that_answers_its_example_takes_requests(serve: Any, cancer: dict[str, Any], name: str):
    table = {"columns": cancer["columns"], "data": cancer["rows"][:2]}
    server = serve({name: {"dataframe_split": table} if name == SERVING_EXAMPLE else table}).wait_until_ready()
    assert f"answers its own example ({name})" in server.log


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        ({SERVING_EXAMPLE: {"dataframe_split": {"columns": ["a"], "data": [[1]]}}}, "BadBody: Missing columns:"),
        ({INPUT_EXAMPLE: {"columns": ["a"], "data": [[1]]}}, f"({INPUT_EXAMPLE}): BadBody: Missing columns:"),
        ({SERVING_EXAMPLE: "{"}, "BadBody: The body is not JSON"),
        ({INPUT_EXAMPLE: [[1, 2]]}, "Rows have 2 values where the model takes 30"),
    ],
)
def test_one_that_does_not_ends_with_code_3_and_says_why_last(serve: Any, examples: dict[str, Any], says: str):
    server = serve(examples)
    assert server.wait() == 3
    last = server.log.splitlines()[-1]
    assert "does not answer its own example" in last
    assert says in last
    assert last.endswith("smoke_test_enabled: false in the deployment (--no-smoke-test).")


def test_the_smoke_test_can_be_left_out(serve: Any):
    serve({SERVING_EXAMPLE: "{"}, "--no-smoke-test").wait_until_ready()


def test_an_example_that_is_no_table_and_no_array_is_left_alone(tmp_path: Path):
    (tmp_path / INPUT_EXAMPLE).write_text('{"question": "why?"}')
    assert of_model(tmp_path) is None


def with_sample(source: str, sample: str) -> str:
    """The script, which writes its sample request beside itself when it is imported."""
    write = "import pathlib\npathlib.Path(__file__).with_name('sample_request.json').write_text(" + repr(sample) + ")\n"
    return write + source


def test_a_script_is_tried_with_its_sample_request(start_script: StartScript):
    server = start_script(with_sample(READS_A, '{"a": 1}')).wait_until_ready()
    assert "answers its sample request (sample_request.json)" in server.log


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (READS_A, "run() raised KeyError"),
        (READS_A.replace("json.loads(raw_data)['a']", "object()"), "cannot be sent: a object has no JSON form"),
    ],
)
def test_a_script_that_does_not_answer_it_ends_with_code_3(start_script: StartScript, source: str, says: str):
    server = start_script(with_sample(source, '{"b": 1}'))
    assert server.wait() == 3
    last = server.log.splitlines()[-1]
    assert "The scoring script score.py does not answer its own example (sample_request.json)" in last
    assert says in last


def test_a_script_may_leave_it_out_too(start_script: StartScript):
    server = start_script(with_sample(READS_A, '{"b": 1}'), "--no-smoke-test").wait_until_ready()
    assert server.post("/score", {"a": 5}).json == 5
