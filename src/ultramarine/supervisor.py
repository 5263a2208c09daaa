"""`python -m ultramarine.supervisor`: keep an installation's parts running, as `um up` does. Standard library only."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ultramarine.supervision import commands


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 ended as asked (with -d: ready), 1 a part fails, 2 nothing was started."""
    parser = argparse.ArgumentParser(prog="python -m ultramarine.supervisor", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the installation's folder")
    parser.add_argument("--port", type=int, required=True, help="where everything is reached")
    parser.add_argument("--second-port", type=int, required=True, help="the second origin: MLflow's pages")
    parser.add_argument("--instances-port", type=int, required=True, help="the origin of compute instances")
    parser.add_argument("--listen", default="", help="what is listened on for other machines: ADDRESS[:PORT],…")
    parser.add_argument("--grace-s", type=float, default=commands.GRACE_S, help="seconds that the parts have to end")
    parser.add_argument("-d", "--detach", action="store_true", help="in a session of its own; returns when ready")
    given = parser.parse_args(arguments)
    listening = commands.Listening.parse(
        given.listen, port=given.port, second_port=given.second_port, instances_port=given.instances_port
    )
    return commands.start(given.home, listening, detach=given.detach, grace_s=given.grace_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
