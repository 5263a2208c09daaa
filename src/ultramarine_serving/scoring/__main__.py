"""`python serving.zip --socket … --model-dir …`: runs in the environment of the model."""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence

from .options import Options, read

log = logging.getLogger("scoring")


def main(arguments: Sequence[str]) -> int:
    """Serve one model until SIGTERM.

    Returns:
        The exit code: 0 when stopped, 1 when it could not listen, 3 when the model or `init()` failed.
    """
    options = read(arguments)
    _prepare(options)
    try:
        if options.workers > 1 and not options.seat:
            return importlib.import_module("ultramarine_serving.scoring.processes").run(options, arguments)
        return _serve(options)
    except OSError as error:
        log.error("Cannot listen on %s: %s. Choose another --socket.", options.socket, error)
        return 1


def _prepare(options: Options) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    who = f" [{options.seat.partition(',')[0]}]" if options.seat else ""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)s %(name)s{who} %(message)s")
    os.environ["AZUREML_MODEL_DIR"] = str(options.model_dir)
    if options.site is not None:
        sys.path.append(str(options.site))  # behind the environment: its own uvloop, if any, comes first


def _serve(options: Options) -> int:
    # Imported only now: uvloop, httptools and msgspec may come from --site, and numpy is needed for MLflow models only.
    app, seat = importlib.import_module("ultramarine_serving.scoring.app"), None
    if options.seat:
        seat = importlib.import_module("ultramarine_serving.scoring.seat").Seat.take(options.seat)
        options = options.of_worker(seat.number)
    if options.code is not None:
        make = importlib.import_module("ultramarine_serving.scoring.script_scorer").ScriptScorer
    else:
        make = importlib.import_module("ultramarine_serving.scoring.model_scorer").ModelScorer
    loop = importlib.import_module("uvloop").new_event_loop()
    try:
        return loop.run_until_complete(app.run(options, make, seat))
    finally:
        loop.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
