"""Who is measured: how each is installed, started and asked."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements"
MODELS = ("forest", "linear", "network")
#: What each environment is locked from (`python -m benchmarks.serving.installing`); its name is the lock's.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "ours": ("scikit-learn", "pandas", "mlflow-skinny"),
    "mlserver": ("mlserver", "mlserver-sklearn", "scikit-learn", "pandas"),
    "litserve": ("litserve", "scikit-learn", "pandas"),
    "bentoml": ("bentoml", "scikit-learn", "pandas"),
    "mlflow": ("mlflow", "scikit-learn", "pandas"),
    "azureml": ("azureml-inference-server-http", "scikit-learn", "pandas"),
    "ray": ("ray[serve]", "scikit-learn", "pandas"),
}


def _table(row: Mapping[str, Any]) -> Any:
    return {"input_data": {"columns": row["columns"], "index": [0], "data": [row["row"]]}}


def _split(row: Mapping[str, Any]) -> Any:
    return {"dataframe_split": {"columns": row["columns"], "data": [row["row"]]}}


def _data(row: Mapping[str, Any]) -> Any:
    return {"data": [row["row"]]}


def _tensor(row: Mapping[str, Any]) -> Any:
    return {"inputs": [{"name": "x", "shape": [1, len(row["row"])], "datatype": "FP64", "data": row["row"]}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to serve a model. In `command` {bin}, {folder}, {here} and {port} stand for what they say, and our own
    server's {zip}, {site}, {onnx} and {cache}."""

    name: str
    environment: str
    command: str
    path: str = "/score"
    ready: str = "/health"
    body: Callable[[Mapping[str, Any]], Any] = _data
    is_peer: bool = True
    says: str = ""  # in its log when it has made what its next starts begin with


_OURS = "{bin}/python {zip} --site {site} --socket 127.0.0.1:{port}"
_MODEL = f"{_OURS} --model-dir {{folder}}/mlflow"
_OWN: Mapping[str, Any] = {"environment": "ours", "ready": "/health/ready", "is_peer": False}
CONTENDERS = (
    Contender(name="ours", command=_MODEL, body=_table, **_OWN),
    Contender(
        name="ours ONNX",
        command=f"{_MODEL} --onnx-site {{onnx}} --cache {{cache}}",
        says="Serves the ONNX form",
        body=_table,
        **_OWN,
    ),
    Contender(name="ours in a thread", command=f"{_MODEL} --inline-max-ms 0", body=_table, **_OWN),
    Contender(name="ours without batches", command=f"{_MODEL} --max-batch-rows 1", body=_table, **_OWN),
    Contender(
        name="ours score.py",
        command=f"{_OURS} --model-dir {{folder}} --code {{here}}/scripts",
        **_OWN,
    ),
    Contender(name="echo", environment="", command="{python} {here}/echo.py {port}", ready="/", is_peer=False),
    Contender(
        name="mlserver",
        environment="mlserver",
        command="{bin}/mlserver start {folder}",
        path="/v2/models/m/infer",
        ready="/v2/models/m/ready",
        body=_tensor,
    ),
    Contender(
        name="litserve",
        environment="litserve",
        command="{bin}/python {here}/scripts/on_litserve.py {folder} {port}",
        path="/predict",
    ),
    Contender(
        name="bentoml",
        environment="bentoml",
        command="{bin}/bentoml serve --host 127.0.0.1 --port {port} --working-dir {here}/scripts on_bentoml:Served",
        ready="/readyz",
    ),
    Contender(
        name="mlflow",
        environment="mlflow",
        command="{bin}/mlflow models serve -m {folder}/mlflow --env-manager local -h 127.0.0.1 -p {port}",
        path="/invocations",
        body=_split,
    ),
    Contender(
        name="azureml",
        environment="azureml",
        command="{bin}/azmlinfsrv --entry_script {here}/scripts/score.py --model_dir {folder} --port {port}",
        ready="/",
    ),
    Contender(
        name="ray",
        environment="ray",
        command="{bin}/python {here}/scripts/on_ray.py {folder} {port}",
        path="/",
        ready="/",
    ),
)


def served_folder(work: Path, models: Path, contender: Contender, model: str) -> Path:
    """A fresh copy of the model's folder with what the server wants beside it."""
    folder = work / contender.name.replace(" ", "-").replace(".", "-") / model
    if not folder.exists():
        shutil.copytree(models / model, folder)
    return folder


def write_settings(folder: Path, ports: tuple[int, int, int]) -> None:
    """mlserver reads where to listen, and what the model is, from files."""
    settings = {"http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2], "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps({**settings, "host": "127.0.0.1"}))
    # Its own batching, as favourable as it was found to be.
    batches = {"max_batch_size": 64, "max_batch_time": 0.002}
    model = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", **batches}
    (folder / "model-settings.json").write_text(json.dumps({**model, "parameters": {"uri": str(folder / "model.pkl")}}))
