"""Trains a forest on scikit-learn's breast cancer data, on two nodes.

Each node cross-validates its share of the candidates and node 0 hears the scores of the others over the network;
then node 0 trains the best candidate, and MLflow's autolog records parameters, metrics and the model.
"""

import argparse
import json
import os
import time
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score, train_test_split

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
MASTER = (os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "29500")))
KEY = os.environ.get("ULTRAMARINE_RUN_KEY", "alone").encode()
CANDIDATES = [{"max_depth": depth, "max_features": features} for depth in (4, 8) for features in ("sqrt", None)]
CONNECT_S = 60


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--trees", type=int, default=60)
    arguments.add_argument("--sample", type=Path, required=True, help="folder for a few rows to predict later")
    given = arguments.parse_args()
    data, target = load_breast_cancer(as_frame=True, return_X_y=True)
    seen, unseen, seen_target, unseen_target = train_test_split(data, target, random_state=0)

    scores = {}
    for number in range(RANK, len(CANDIDATES), WORLD):
        forest = RandomForestClassifier(n_estimators=given.trees, random_state=0, **CANDIDATES[number])
        scores[number] = float(cross_val_score(forest, seen, seen_target, cv=3).mean())
        print(f"candidate {number} {CANDIDATES[number]}: {scores[number]:.4f}", flush=True)
    if RANK != 0:
        send(scores)
        return
    for others in hear(WORLD - 1):
        scores |= others
    best = CANDIDATES[max(scores, key=lambda number: scores[number])]
    print(f"the best of {len(scores)} candidates: {best}", flush=True)

    import mlflow  # only the node that trains needs it

    mlflow.autolog(silent=True)
    forest = RandomForestClassifier(n_estimators=given.trees, random_state=0, **best).fit(seen, seen_target)
    accuracy = forest.score(unseen, unseen_target)
    mlflow.log_metric("accuracy", accuracy)
    print(f"accuracy on unseen data: {accuracy:.4f}", flush=True)

    rows = unseen.head(5)
    given.sample.mkdir(parents=True, exist_ok=True)
    request = {
        "input_data": {"columns": list(rows.columns), "index": list(range(len(rows))), "data": rows.to_numpy().tolist()}
    }
    (given.sample / "request.json").write_text(json.dumps(request))
    (given.sample / "expected.json").write_text(json.dumps(forest.predict(rows).tolist()))


def send(scores: dict[int, float]) -> None:
    deadline = time.monotonic() + CONNECT_S
    while True:
        try:
            with Client(MASTER, authkey=KEY) as connection:
                connection.send(scores)
                return
        except ConnectionRefusedError:  # node 0 is not there yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def hear(count: int) -> list[dict[int, float]]:
    if count == 0:
        return []
    with Listener(MASTER, backlog=count, authkey=KEY) as listener:
        return [_received(listener.accept()) for _ in range(count)]


def _received(connection: Connection) -> dict[int, float]:
    with connection:
        return connection.recv()


if __name__ == "__main__":
    main()
