"""Lines on stderr that say what the start is doing; the supervisor keeps them as MLflow's log."""

import sys


def say(words: str) -> None:
    print(f"mlflow: {words}", file=sys.stderr, flush=True)
