"""The first answer of a deployment that has no replica, beside its model's own load in the same Python by hand.

    .venv/bin/python -m benchmarks.from_zero [--quick] [--keep]

The model's files and its environment are on the node. What is timed is one request by HTTP, from before it is sent to
its answer: the gateway holds it, a replica is placed and started, loads the model, answers its input example, and is
reached. By hand is a new process of the same environment's Python that unpickles the model and predicts one row. Both
are done in turn. A scikit-learn model answers from its ONNX form too, which the node has kept from a replica before.
"""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import kept, measure
from benchmarks.installation import Installation, ended, installation, output, until
from benchmarks.measure import Row, Series
from ultramarine.sdk import Workspace

TRAIN = Path(__file__).with_name("serving") / "train.py"
ENVIRONMENT = "azureml:sklearn@latest"
MORE_GOAL_MS, ONNX_GOAL_MS = 1000.0, 2000.0
IDLE_S = 1
BY_HAND = """
import json, pickle, sys
import pandas
row = json.load(open(sys.argv[2]))
model = pickle.load(open(sys.argv[1], "rb"))
print(model.predict(pandas.DataFrame([row["row"]], columns=row["columns"])))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    folder: Path  #: with a folder for each model, and a row to ask
    python: str  #: of the environment they were trained in, which is that of their replicas

    def by_hand_ms(self, model: str) -> float:
        words = [self.python, "-c", BY_HAND, str(self.folder / model / "model.pkl"), str(self.folder / "row.json")]
        return measure.ms(lambda: subprocess.run(words, check=True, capture_output=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A deployment that keeps no replica for longer than it is asked."""

    here: Installation
    endpoint: str
    request: urllib.request.Request

    def first_answer_ms(self) -> float:
        deployments = self.here.client().online_deployments

        def is_away() -> bool:
            view = deployments.get("blue", self.endpoint)
            return view["instance_count"] == 0 and not view["replicas"]

        until(is_away, "no replica is left", seconds=120, every_s=0.1)
        time.sleep(IDLE_S)  # what its end leaves to be done is done
        return measure.ms(self._ask)

    def _ask(self) -> None:
        with urllib.request.urlopen(self.request, timeout=120) as answer:
            answer.read()


def trained(workspace: Workspace, folder: Path) -> Trained:
    """By a job here: so its environment is on the node."""
    shutil.copy(TRAIN, folder)
    command = "python train.py ${{outputs.models}} && python -c 'import sys; print(sys.executable)'"
    body = {"command": command, "code": ".", "environment": ENVIRONMENT, "compute": "local"}
    name = workspace.jobs.create({**body, "outputs": {"models": {"type": "uri_folder"}}}, folder=folder)["name"]
    ended(workspace, name, seconds=600)
    list(workspace.jobs.download(name, folder / "got", output_name="models"))
    [row] = (folder / "got").rglob("row.json")
    return Trained(folder=row.parent, python=output(workspace, name).split()[-1])


def served(here: Installation, models: Trained, model: str, *, onnx: bool) -> Served:
    workspace, endpoint = here.client(), f"{model}-{'onnx' if onnx else 'original'}"
    workspace.online_endpoints.create_or_update({"name": endpoint})
    scale = {"type": "target_utilization", "min_instances": 0, "idle_time_before_scale_down": 600, "cooldown": 0}
    body: dict[str, Any] = {
        "name": "blue",
        "endpoint_name": endpoint,
        "model": {"path": str(models.folder / model / "mlflow"), "type": "mlflow_model"},
        "environment": ENVIRONMENT,
        "onnx_enabled": onnx,
        "scale_settings": scale,
        "request_settings": {"request_timeout_ms": 2000},
    }
    deployments = workspace.online_deployments
    deployments.create_or_update(body)
    made = deployments.wait("blue", endpoint, timeout_s=600)
    if made["provisioning_state"] != "Succeeded":
        raise RuntimeError(f"Deployment of {model}: {made}")
    if onnx:
        words = "Serves the ONNX form"
        until(lambda: words in deployments.logs("blue", endpoint), "the ONNX form is kept", seconds=300, every_s=0.2)
    deployments.update("blue", endpoint, {"scale_settings": {**scale, "idle_time_before_scale_down": IDLE_S}})
    workspace.online_endpoints.update(endpoint, {"traffic": {"blue": 100}})
    row = json.loads((models.folder / "row.json").read_text())
    asked = {"input_data": {"columns": row["columns"], "index": [0], "data": [row["row"]]}}
    key = workspace.online_endpoints.credentials(endpoint)["primaryKey"]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    uri = workspace.online_endpoints.get(endpoint)["scoring_uri"]
    return Served(
        here=here, endpoint=endpoint, request=urllib.request.Request(uri, json.dumps(asked).encode(), headers)
    )


def rows(here: Installation, folder: Path, *, models: Sequence[str], rounds: int) -> list[Row]:
    until(here.are_ready, "MLflow answers", seconds=900, every_s=0.2)
    made = trained(here.client(), folder)
    found: list[Row] = []
    for model in models:
        for onnx in (False, True):
            one = served(here, made, model, onnx=onnx)
            ours, by_hand = measure.paired(
                one.first_answer_ms, lambda model=model: made.by_hand_ms(model), rounds=rounds
            )
            found.append(_row(f"{model}, {'its ONNX form' if onnx else 'the original'}", ours, by_hand, onnx=onnx))
    return found


def _row(what: str, ours: Series, by_hand: Series, *, onnx: bool) -> Row:
    more = ours.median - by_hand.median
    return Row(
        what=f"from no replica → first answer: {what}",
        figure=str(ours),
        beside=f"loaded by hand {by_hand}",
        ratio=f"{ours.median / by_hand.median:.2f}×, {more:.0f} ms more",
        goal=f"≤ {ONNX_GOAL_MS:g} ms" if onnx else f"≤ {MORE_GOAL_MS:g} ms more",
        is_met=ours.median <= ONNX_GOAL_MS if onnx else more <= MORE_GOAL_MS,
    )


def measured(is_quick: bool) -> str:
    models = ("linear",) if is_quick else ("forest", "linear")
    with tempfile.TemporaryDirectory() as folder, installation() as here:
        return measure.table(rows(here, Path(folder), models=models, rounds=2 if is_quick else 8))


if __name__ == "__main__":
    kept.main("first answer from no replica", measured, about=__doc__)
