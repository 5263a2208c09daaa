"""`python -m ultramarine_serving.scoring.exporting`: makes the ONNX form of a scikit-learn model, and tries it.

A program of its own, so that a crash or a hang of it does no harm to the server that goes on with the original. It
runs in the environment of the model, with onnx and onnxruntime from --site in front.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Write the folder --into, whole or not at all, unless it is there. It also says why there is no ONNX form."""
    parser = argparse.ArgumentParser(prog="exporting", description="Make the ONNX form of a scikit-learn model.")
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True, help="folder for the ONNX form and what it came out as")
    parser.add_argument("--site", type=Path, required=True, help="folder with onnx and onnxruntime")
    given = parser.parse_args(arguments)
    _give_way()
    _end_with_parent()
    given.into.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with given.into.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several servers of one model, one exports and the others wait
        if not given.into.exists():
            sys.path.insert(0, str(given.site))  # its protobuf must be the one that its onnx was made for
            # Imported only now: they need what the site holds.
            importlib.import_module("ultramarine_serving.scoring.onnx_export").export(given.model_dir, given.into)
    return 0


def _give_way() -> None:
    """The server needs its time now, and when memory is short the kernel is to take us."""
    os.nice(10)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _end_with_parent() -> None:
    """The parent holds the other end of our standard input for as long as it lives."""

    def watch() -> None:
        os.read(0, 1)  # not sys.stdin: its lock would be held when the interpreter ends
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
