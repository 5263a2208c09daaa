"""/swagger.json is true: a tool that knows nothing but it finds no answer that it does not allow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serving.scoring import servers
from tests.serving.scoring.environment import ModelEnvironment
from tests.serving.scoring.servers import Server, wait_for

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES_MAX = 30

PLAIN = """
import json
def init():
    pass
def run(raw_data):
    try:
        return json.loads(raw_data)
    except ValueError:
        return None
"""
TYPED = """
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

def init():
    pass

@input_schema("word", StandardPythonParameterType("a"))
@input_schema("is_loud", StandardPythonParameterType(True))
@output_schema(StandardPythonParameterType({"word": "A"}))
def run(word, is_loud):
    return {"word": word.upper() if is_loud else word}
"""


@pytest.fixture
def serve(serving_zip: Path, models: ModelEnvironment, started: list[Server], tmp_path: Path):
    """Start a model or a script on a port; where it is."""

    def start(*, model: str = "", script: str = "") -> str:
        command = [str(models.python), str(serving_zip), "--site", str(models.site)]
        command += ["--model-dir", str(models.models / model if model else tmp_path)]
        if script:
            (tmp_path / "score.py").write_text(script)
            command += ["--code", str(tmp_path)]
        server = servers.start(command, tmp_path, {"PATH": "/usr/bin"}, address="127.0.0.1:0")
        started.append(server)
        wait_for(lambda: "Ready." in server.log, words="the server to be ready", log=lambda: server.log)
        return f"http://{server.port_address}"

    return start


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "served",
    [{"model": "forest"}, {"model": "linear"}, {"model": "tensors"}, {"script": PLAIN}, {"script": TYPED}],
    ids=["forest", "linear", "tensors", "plain script", "typed script"],
)
def test_nothing_is_answered_that_the_description_does_not_allow(
    serve: Callable[..., str], served: dict[str, str], tmp_path: Path
):
    address = serve(**served)
    command = [str(SCHEMATHESIS), "run", f"{address}/swagger.json", "--url", address, "--no-color", "--seed", "1"]
    command += ["--max-examples", str(EXAMPLES_MAX), "--checks", "all", "--generation-database", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
