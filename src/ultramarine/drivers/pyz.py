"""Our programs as one file each: what is put on a machine that need not have anything but a Python."""

from pathlib import Path

from ultramarine.packing import MAIN, kept, packed, sources
from ultramarine_runner import cgroups, machine, trees

_ROOT = Path(__file__).parents[2]  #: all packages of ours are beside each other
_RUNNER, _SERVING, _INSTANCE = (_ROOT / f"ultramarine_{name}" for name in ("runner", "serving", "instance"))
_RUNNER_MAIN = b"""\
import sys
from ultramarine_runner.__main__ import leave, main

leave(main(sys.argv))
"""
_SERVING_MAIN = b"""\
import sys
from ultramarine_serving.scoring.__main__ import main

sys.exit(main(sys.argv[1:]))
"""
_INSTANCE_MAIN = b"""\
import sys
from ultramarine_instance.__main__ import main

sys.exit(main(sys.argv[1:]))
"""
_OF_DOORS = ("__init__.py", "http")
_OF_SCORING = ("__init__.py", "parent.py", "shares.py", "http", "scoring")  #: the gateway is not for replicas


def build(target: Path) -> Path:
    """Pack the runner into the folder `target`, or find it there; its path. Not compressed: it starts sooner.

    Raises OSError when it cannot be written, as the others do.
    """
    content = packed([(MAIN, _RUNNER_MAIN), *sources(_RUNNER)], is_compressed=False)
    return kept(target, "runner.pyz", content)


def serving(target: Path) -> Path:
    """Pack the scoring server, as replicas get it; its path."""
    return kept(target, "serving.zip", packed([(MAIN, _SERVING_MAIN), *sources(_SERVING, parts=_OF_SCORING)]))


def instance(target: Path) -> Path:
    """Pack what runs inside a compute instance; its path.

    The runner's code is in it: a kernel's environment is built by the very code that builds a job's. So is what its
    door has in common with the gateway.
    """
    inside = [*sources(_INSTANCE, kinds=("*.py", "*.js")), *sources(_RUNNER), *sources(_SERVING, parts=_OF_DOORS)]
    return kept(target, "instance.zip", packed([(MAIN, _INSTANCE_MAIN), *inside]))


def pythons(cache: Path) -> tuple[str, ...]:
    """The Pythons (x.y) that the runner finds on this machine; kept in `cache`, so that a node need not look."""
    return tuple(machine.pythons(cache))


def carriers(name: str, value: str) -> list[int]:
    """Every living process of this machine that was started with `name=value`, as the runner finds them."""
    return trees.carriers(name, value)


def sweep(allocation: str, *, patience_s: float) -> list[int]:
    """End every process of this machine that carries the allocation's key, as the runner ends what is its own.

    With it goes what is in its control groups, which has hidden whose it is, and the groups. The pids that were
    signalled. Raises `TimeoutError` when some are left after `patience_s` seconds.
    """
    ended = trees.sweep(allocation, patience_s=patience_s)
    cgroups.sweep(allocation, patience_s=patience_s)
    return ended
