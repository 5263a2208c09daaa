"""A supervisor over three small parts, as a program: `installation.py HOME PORT FOLDER [-d [--soon]]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ultramarine.supervision import commands
from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.listening import Listening
from ultramarine.supervision.programs import Program

HOME, PORT, FOLDER = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])


def small_table(home: Path, listening: Listening) -> Sequence[Program]:
    assert (listening.second_port, listening.instances_port) == (listening.port + 1, listening.port + 2)

    def program(name: str, address: Path | tuple[str, int], *, is_essential: bool = True) -> Program:
        where = str(address) if isinstance(address, Path) else str(address[1])
        argv = (sys.executable, "-S", str(Path(__file__).with_name("part.py")), where, str(FOLDER), name)
        return Program(name=name, argv=argv, address=address, is_essential=is_essential)

    return (
        program("gateway", ("127.0.0.1", listening.port)),
        program("control", home / "run" / "control.sock"),
        program("mlflow", home / "run" / "mlflow.sock", is_essential=False),
    )


def main() -> int:
    if "-d" in sys.argv:
        argv = [sys.executable, *(word for word in sys.argv if word not in ("-d", "--soon"))]
        try:
            return commands.start_detached(HOME, argv, ready_within_s=1 if "--soon" in sys.argv else 20)
        except CannotStart as error:
            print(f"{error}\n{error.hint}", file=sys.stderr)
            return 2
    listening = Listening(port=PORT, second_port=PORT + 1, instances_port=PORT + 2)
    return commands.start(HOME, listening, detach=False, grace_s=3, table=small_table)


sys.exit(main())
