"""A job that can be held to account: numbered lines in its log, numbered metrics in MLflow, a file of all of them.

`counting.py LINES PAUSE_S LEDGER EACH`: LEDGER is a file outside of the installation, where each start adds a line;
a metric is logged each EACH lines (0: none is, and MLflow is not waited for).
"""

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

LINES, PAUSE_S, LEDGER = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
METRIC_EACH = int(sys.argv[4])
PATIENCE_S = 60.0


def main() -> None:
    with LEDGER.open("a") as ledger:
        ledger.write(f"{os.environ['ULTRAMARINE_RUN_KEY']}\n")
    numbers: list[int] = []
    for number in range(LINES):
        sys.stdout.write(f"line {number}\n")
        sys.stdout.flush()
        numbers.append(number)
        if METRIC_EACH and number % METRIC_EACH == 0:
            mlflow("runs/log-metric", {"key": "number", "value": number, "step": number, "timestamp": number + 1})
        time.sleep(PAUSE_S)
    Path("outputs").mkdir(exist_ok=True)
    Path("outputs", "numbers.json").write_text(json.dumps(numbers))
    if METRIC_EACH:
        check_metrics()


def check_metrics() -> None:
    told = mlflow(f"metrics/get-history?run_id={os.environ['MLFLOW_RUN_ID']}&metric_key=number")["metrics"]
    steps = sorted(int(metric.get("step", 0)) for metric in told)
    wanted = list(range(0, LINES, METRIC_EACH))
    if steps != wanted:
        sys.exit(f"MLflow has the steps {steps} and not {wanted}")


def mlflow(path: str, body: "dict[str, object] | None" = None) -> "dict[str, Any]":
    """Ask again as MLflow's own client does, for as long as no answer comes."""
    deadline = time.monotonic() + PATIENCE_S
    content = json.dumps({"run_id": os.environ["MLFLOW_RUN_ID"], **body}).encode() if body else None
    while True:
        request = urllib.request.Request(
            f"{os.environ['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/{path}",
            content,
            {
                "Authorization": f"Bearer {os.environ['MLFLOW_TRACKING_TOKEN']}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code < 500 or time.monotonic() > deadline:
                sys.exit(f"{path}: {error.code} {error.read()[:300]!r}")
        except (OSError, ValueError, http.client.HTTPException) as error:  # refused, or broken off
            if time.monotonic() > deadline:
                sys.exit(f"{path}: {error}")
        time.sleep(0.1)


main()
