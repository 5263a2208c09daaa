"""How fast the command line feels: `um --version`, `um job list` and `um status`, each beside `python -c pass`.

.venv/bin/python -m benchmarks.commands [--rounds 15]
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import measure
from benchmarks.installation import UM, Installation, ended, installation, job
from benchmarks.measure import Row

GOALS = {("--version",): 5.0, ("job", "list"): 12.0}
LISTED = 20


def rows(here: Installation, *, rounds: int) -> Sequence[Row]:
    workspace = here.client()
    names = [workspace.jobs.create(job("true"))["name"] for _ in range(LISTED)]
    ended(workspace, names[-1])
    variables = {**here.variables, "ULTRAMARINE_HOME": str(here.home)}

    def run(*words: str) -> float:
        return measure.ms(lambda: subprocess.run(words, env=variables, stdout=subprocess.DEVNULL, check=True))

    found: list[Row] = []
    for words, goal in GOALS.items():
        ours, peer = measure.paired(
            lambda words=words: run(str(UM), *words), lambda: run(sys.executable, "-c", "pass"), rounds=rounds
        )
        ratio = ours.median / peer.median
        found.append(
            Row(
                what=f"`um {' '.join(words)}`" + (f" of {LISTED} jobs" if words == ("job", "list") else ""),
                figure=str(ours),
                beside=f"python -c pass {peer}",
                ratio=f"{ratio:.1f}×",
                goal=f"≤ {goal:g}×",
                is_met=ratio <= goal,
            )
        )
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    with installation() as here:
        measure.show(rows(here, rounds=arguments.parse_args().rounds))


if __name__ == "__main__":
    main()
