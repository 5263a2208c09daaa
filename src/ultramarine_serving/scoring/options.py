"""The command line of the scoring server."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ultramarine_serving.shares import share

from .collected_files import ROLLING
from .turns import Patience

EXIT_NOT_LOADED = 3  #: as Azure's server: the model or the script's init() failed
EXIT_HANGS = 4  #: a call does not come back, and nobody has replaced this process for it
SEAT = "--seat"  #: said to worker processes by their parent, and to nobody else
_MIB = 1024 * 1024
_NONE_S = float("inf")
_GIB = 1024 * _MIB


@dataclass(frozen=True)
class Collecting:
    """What is kept of requests and answers, and where; the folder is made by whoever starts the server."""

    folder: Path
    collections: Mapping[str, float]  # by name, each with the share of requests
    rolling: str
    source: str  # what the records say that they are of
    headers: frozenset[str]
    bytes_max: int

    @classmethod
    def read(cls, written: str, *, folder: Path) -> Collecting:
        """From a JSON object. Raises ValueError where it makes no sense."""
        given: Mapping[str, Any] = json.loads(written)
        rolling = str(given.get("rolling", "hour"))
        if rolling not in ROLLING:
            raise ValueError(f"rolling: {rolling!r} is none of {', '.join(ROLLING)}")
        return cls(
            folder=folder.absolute(),
            collections={str(name): float(share) for name, share in given["collections"].items()},
            rolling=rolling,
            source=str(given.get("source", "")),
            headers=frozenset(str(name).lower() for name in given.get("headers", ())),
            bytes_max=int(given.get("bytes_max", _GIB)),
        )


@dataclass(frozen=True)
class Options:
    """What the server was asked to do."""

    socket: str  # unix:/path or HOST:PORT
    tls: Path | None  # a PEM file to listen with at HOST:PORT
    secret: bytes  # who asks must say it; empty: nobody is asked
    model_dir: Path
    site: Path | None
    onnx_site: Path | None
    cache: Path | None
    code: Path | None  # the folder of score.py; without it the model folder must hold an MLflow model
    entry: str
    flavor: str
    body_bytes_max: int
    batch_rows_max: int
    waiting_max: int
    concurrent_max: int | None
    patience: Patience
    hang_max_s: float
    inline_max_s: float
    is_smoke_tested: bool
    name: str
    version: str
    deployment: str
    collecting: Collecting | None = None
    workers: int = 1
    seat: str = ""  #: of a worker process, what its parent says

    def of_worker(self, number: int) -> Options:
        """For one of the workers: its part of what the replica may take at once."""
        concurrent = self.concurrent_max
        return replace(
            self,
            waiting_max=share(self.waiting_max, number, self.workers),
            concurrent_max=None if concurrent is None else share(concurrent, number, self.workers),
        )


def read(arguments: Sequence[str]) -> Options:
    """Read the command line; argparse ends the process with code 2 when it makes no sense."""
    parser = argparse.ArgumentParser(prog="serving", description="Answer requests with a model.")
    parser.add_argument("--socket", required=True, help="unix:/path.sock, or HOST:PORT")
    parser.add_argument("--tls", type=Path, help="PEM file with a key and its certificate: HOST:PORT speaks TLS alone")
    parser.add_argument("--secret", type=_content, default=b"", help="file with what each request must say, else 401")
    parser.add_argument("--model-dir", type=Path, required=True, help="becomes AZUREML_MODEL_DIR")
    parser.add_argument(
        "--site", type=Path, help="folder with uvloop, httptools and msgspec, searched after the environment"
    )
    parser.add_argument("--onnx-site", default="", help="folder with onnx and onnxruntime; empty: no ONNX forms")
    parser.add_argument("--cache", type=Path, help="folder that outlives the server, where ONNX forms are kept")
    parser.add_argument("--code", type=Path, help="folder of the scoring script; not needed for MLflow models")
    parser.add_argument("--entry", default="score.py", help="scoring script, relative to --code")
    parser.add_argument("--flavor", default="auto", help="MLflow flavour to load: auto, sklearn, python_function …")
    _add_limits(parser)
    parser.add_argument("--no-smoke-test", action="store_true", help="take requests although the example was not tried")
    parser.add_argument("--name", default="model", help="name of the model, shown by /version")
    parser.add_argument("--version", default="1", help="version of the model, shown by /version")
    parser.add_argument("--deployment", default="", help="name of the deployment, shown by /version")
    parser.add_argument("--collect", help="what to keep of requests and answers, as JSON")
    parser.add_argument("--collect-into", type=Path, default=Path("collected"), help="the folder for that")
    parser.add_argument(SEAT, default="", help=argparse.SUPPRESS)
    read = parser.parse_args(arguments)
    try:
        collecting = Collecting.read(read.collect, folder=read.collect_into) if read.collect else None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        parser.error(f"--collect: {error}")
    return Options(
        socket=read.socket,
        tls=read.tls,
        secret=read.secret,
        model_dir=read.model_dir.absolute(),
        site=read.site and read.site.absolute(),
        onnx_site=Path(read.onnx_site).absolute() if read.onnx_site else None,
        cache=read.cache and read.cache.absolute(),
        code=read.code and read.code.absolute(),
        entry=read.entry,
        flavor=read.flavor,
        body_bytes_max=read.max_body,
        batch_rows_max=read.max_batch_rows,
        waiting_max=read.max_waiting,
        concurrent_max=read.max_concurrent,
        patience=Patience(wait_max_s=read.max_queue_wait_ms, call_max_s=read.request_timeout_ms),
        hang_max_s=read.hang_ms,
        inline_max_s=read.inline_max_ms / 1000,
        is_smoke_tested=not read.no_smoke_test,
        name=read.name,
        version=read.version,
        deployment=read.deployment,
        collecting=collecting,
        # None of them may be left without a part of what may be taken at once.
        workers=min(read.workers, read.max_waiting, read.max_concurrent or read.workers),
        seat=read.seat,
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=_positive, default=1, help="processes that answer, each with the whole model")
    parser.add_argument("--max-body", type=_positive, default=100 * _MIB, help="bytes; a larger body is a 413")
    parser.add_argument("--max-batch-rows", type=_positive, default=256, help="rows; 1 switches batching off")
    parser.add_argument("--max-waiting", type=_positive, default=2048, help="requests; more are a 429")
    parser.add_argument(
        "--max-concurrent",
        type=_positive,
        help="requests that the model works on at once: those of one batch, or of an async run(); without it, no limit",
    )
    parser.add_argument(
        "--max-queue-wait-ms",
        type=_limit_s,
        default=_NONE_S,
        help="one whose turn does not come within it is a 429; 0, the default: no limit",
    )
    parser.add_argument(
        "--request-timeout-ms",
        type=_limit_s,
        default=60,
        help="a call that lasts longer is a 408; 0: no limit",
    )
    parser.add_argument(
        "--hang-ms",
        type=_limit_s,
        default=30,
        help="a call that still goes on so long after its time-out: /health/live fails, after twice that it ends",
    )
    parser.add_argument(
        "--inline-max-ms",
        type=float,
        default=25,
        help="an MLflow model whose calls take longer is called in a thread of its own; 0: always",
    )


def _content(written: str) -> bytes:
    try:
        content = Path(written).read_bytes().strip()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{written} cannot be read: {error.strerror}") from None
    if not content:
        raise argparse.ArgumentTypeError(f"{written} is empty")
    return content


def _positive(written: str) -> int:
    number = int(written)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def _limit_s(written: str) -> float:
    """Milliseconds as seconds; 0 is no limit."""
    number = float(written)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{written} is negative")
    return number / 1000 if number else _NONE_S
