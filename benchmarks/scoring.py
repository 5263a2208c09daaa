"""Our scoring server beside its peers, in one run on one machine: requests a second, and how many times the peers'.

    .venv/bin/python benchmarks/scoring.py [--seconds 3] [--connections 1,16,64]

One row of the breast cancer data a request, to a forest of 100 trees and to a linear pipeline. Peers are installed from
the package index into a cache folder. The load comes from `wrk` (Debian: apt-get install wrk), on loopback. A machine's
noise is fair only to servers that are measured in turn: each round asks every server once, and the best round counts.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultramarine_serving.pack import build

UV = Path(sys.executable).with_name("uv")
MODELS = ("forest", "linear")
#: Each environment trains its own models, so that all can be read.
PACKAGES = {
    "site": ("uvloop", "httptools"),
    "ours": ("scikit-learn", "pandas", "mlflow-skinny"),
    "azureml": ("azureml-inference-server-http", "scikit-learn", "pandas"),
    "mlserver": ("mlserver", "mlserver-sklearn", "scikit-learn", "pandas"),
}
TRAIN = """
import json, pickle, sys
from pathlib import Path
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

folder = Path(sys.argv[1])
table, target = load_breast_cancer(return_X_y=True, as_frame=True)
linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
for name, model in {"forest": RandomForestClassifier(100, random_state=0), "linear": linear}.items():
    place = folder / name
    place.mkdir(parents=True)
    if sys.argv[2] == "ours":
        import mlflow
        from mlflow.models import infer_signature
        model.fit(table, target)
        signature = infer_signature(table, model.predict(table))
        form = "cloudpickle"
        mlflow.sklearn.save_model(model, place / "model", signature=signature, serialization_format=form,
                                  input_example=table.head(1), pip_requirements=["scikit-learn"])
    else:
        model.fit(table.to_numpy(), target)
        (place / "model.pkl").write_bytes(pickle.dumps(model))
row = {"columns": list(table.columns), "row": table.iloc[0].tolist()}
(folder / "row.json").write_text(json.dumps(row))
"""
SCRIPT = """
import json, os, pickle
import numpy

def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.pkl"), "rb") as stream:
        model = pickle.load(stream)

def run(raw_data):
    return model.predict(numpy.array(json.loads(raw_data)["data"])).tolist()
"""


# wrk sends the same body again and again.
LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = [==[{body}]==]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to serve a model. In `command` stand {bin}, {zip}, {site}, {folder} and {port} for what they say."""

    name: str
    environment: str
    command: str
    path: str
    ready: str
    body: Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What wrk saw: requests a second, milliseconds, and answers that were no success."""

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int


def _table(row: Mapping[str, Any]) -> Any:
    return {"input_data": {"columns": row["columns"], "index": [0], "data": [row["row"]]}}


def _data(row: Mapping[str, Any]) -> Any:
    return {"data": [row["row"]]}


def _tensor(row: Mapping[str, Any]) -> Any:
    return {"inputs": [{"name": "x", "shape": [1, len(row["row"])], "datatype": "FP64", "data": row["row"]}]}


OURS = "{bin}/python {zip} --site {site} --socket 127.0.0.1:{port}"
OWN = {"path": "/score", "ready": "/health/ready"}
MODEL = f"{OURS} --model-dir {{folder}}/model"
CONTENDERS = (
    Contender(name="ours", environment="ours", command=MODEL, body=_table, **OWN),
    Contender(name="ours, in a thread", environment="ours", command=f"{MODEL} --inline-max-ms 0", body=_table, **OWN),
    Contender(name="ours, no batches", environment="ours", command=f"{MODEL} --max-batch-rows 1", body=_table, **OWN),
    Contender(
        name="ours, score.py",
        environment="azureml",
        command=f"{OURS} --model-dir {{folder}} --code {{folder}}",
        body=_data,
        **OWN,
    ),
    Contender(
        name="azureml, score.py",
        environment="azureml",
        command="{bin}/azmlinfsrv --entry_script {folder}/score.py --model_dir {folder} --port {port}",
        path="/score",
        ready="/",
        body=_data,
    ),
    Contender(
        name="mlserver",
        environment="mlserver",
        command="{bin}/mlserver start {folder}",
        path="/v2/models/m/infer",
        ready="/v2/models/m/ready",
        body=_tensor,
    ),
)


def main() -> int:
    """Measure, print, and return 1 when a server answered anything but success."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--connections", default="1,16,64")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ultramarine-benchmarks")
    chosen = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed. On Debian: apt-get install wrk", file=sys.stderr)
        return 2
    failed = 0
    with tempfile.TemporaryDirectory(prefix="um-bench-") as made:
        work = Path(made)
        served = build(work)
        environments = {name: _environment(chosen.cache.absolute() / name, name) for name in PACKAGES}
        for model in chosen.models.split(","):
            for connections in (int(text) for text in chosen.connections.split(",")):
                figures: dict[str, Figure] = {}
                for contender in [each for _ in range(chosen.rounds) for each in CONTENDERS]:
                    figure = _measure(
                        contender,
                        folder=_served_folder(work, environments[contender.environment], contender, model),
                        names={
                            "bin": environments[contender.environment] / "env" / "bin",
                            "zip": served,
                            "site": environments["site"],
                        },
                        connections=connections,
                        seconds=chosen.seconds,
                    )
                    failed += figure.failed
                    before = figures.get(contender.name)
                    figures[contender.name] = figure if before is None or figure.rate > before.rate else before
                _show(model, connections, figures)
    return 1 if failed else 0


def _environment(folder: Path, name: str) -> Path:
    """The environment with its trained models, made once."""
    done = folder / "done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if name == "site":
            _call(str(UV), "pip", "install", "-q", "--python", sys.executable, "--target", str(folder), *PACKAGES[name])
        else:
            _call(str(UV), "venv", "-q", "--python", sys.executable, str(folder / "env"))
            python = str(folder / "env" / "bin" / "python")
            _call(str(UV), "pip", "install", "-q", "--python", python, *PACKAGES[name])
            _call(python, "-c", TRAIN, str(folder / "models"), name)
        done.touch()
    return folder


def _served_folder(work: Path, environment: Path, contender: Contender, model: str) -> Path:
    """A fresh copy of the model's folder with what the server wants beside it."""
    folder = work / contender.name.replace(" ", "-").replace(",", "") / model
    if not folder.exists():
        shutil.copytree(environment / "models" / model, folder)
        shutil.copy(environment / "models" / "row.json", folder)
        (folder / "score.py").write_text(SCRIPT)
    return folder


def _measure(
    contender: Contender, *, folder: Path, names: Mapping[str, Path], connections: int, seconds: int
) -> Figure:
    port = _free_port()
    _write_mlserver_settings(folder, port)
    filled = contender.command.format(**names, folder=folder, port=port)
    variables = {**os.environ, "PATH": f"{names['bin']}:{os.environ['PATH']}", "AZUREML_MODEL_DIR": str(folder)}
    log = folder / "log.txt"
    with log.open("wb") as stream:
        server = subprocess.Popen(filled.split(), stdout=stream, stderr=stream, env=variables, start_new_session=True)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}{contender.ready}", server, log)
        script = folder / "post.lua"
        script.write_text(LUA.format(body=json.dumps(contender.body(json.loads((folder / "row.json").read_text())))))
        url = f"http://127.0.0.1:{port}{contender.path}"
        _load(url, script, connections=connections, seconds=1)  # warm
        return _load(url, script, connections=connections, seconds=seconds)
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # peers leave workers behind
        server.wait()


def _load(url: str, script: Path, *, connections: int, seconds: int) -> Figure:
    said = _call(
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency", "-s", str(script), url
    )
    percentiles = dict(re.findall(r"^ +(50|99)% +([0-9.]+[a-z]+) *$", said, re.MULTILINE))
    if set(percentiles) != {"50", "99"}:
        raise RuntimeError(f"wrk measured nothing:\n{said}")
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Figure(
        rate=float(re.findall(r"Requests/sec: +([0-9.]+)", said)[0]),
        p50_ms=_milliseconds(percentiles["50"]),
        p99_ms=_milliseconds(percentiles["99"]),
        failed=int(failed[1]) if failed else 0,
    )


def _milliseconds(written: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)([a-z]+)", written).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def _show(model: str, connections: int, figures: Mapping[str, Figure]) -> None:
    peers = {name: figure for name, figure in figures.items() if not name.startswith("ours")}
    best = max(peers, key=lambda name: peers[name].rate)
    print(f"\n{model}, {connections} connections (ratio: to {best})")
    for name, figure in figures.items():
        ratio = figure.rate / peers[best].rate
        spread = f"p50 {figure.p50_ms:8.2f} ms  p99 {figure.p99_ms:8.2f} ms"
        failed = f"  {figure.failed} FAILED" if figure.failed else ""
        print(f"  {name:20} {figure.rate:9.0f} req/s  {spread}  x{ratio:.2f}{failed}", flush=True)


def _write_mlserver_settings(folder: Path, port: int) -> None:
    settings = {"http_port": port, "grpc_port": _free_port(), "metrics_port": _free_port(), "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps({**settings, "host": "127.0.0.1"}))
    # Its own batching, as favourable as it was found to be.
    model = {
        "name": "m",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "max_batch_size": 64,
        "max_batch_time": 0.002,
    }
    (folder / "model-settings.json").write_text(json.dumps({**model, "parameters": {"uri": str(folder / "model.pkl")}}))


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"{url} did not become ready:\n{log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def _call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
