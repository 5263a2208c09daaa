"""How long others wait while one client uploads a gigabyte.

    .venv/bin/python -m benchmarks.upload [--bytes 1000000000]

The event loop's lag is seen from outside: a question that needs no database (`/healthz`) is asked on the control
plane's own socket every 5 ms; what it takes longer than when nothing happens is the lag. The peer of the upload is the
disk: as many bytes written and synced.
"""

import argparse
import hashlib
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import measure
from benchmarks.installation import Installation, installation
from benchmarks.measure import Row

LAG_GOAL_MS = 50.0
PIECE = 1 << 20
QUIET_S = 3.0


def written_mb_per_s(folder: Path, size: int) -> float:
    piece = os.urandom(PIECE)
    begin = time.perf_counter()
    with (folder / "peer").open("wb") as file:
        for _ in range(size // PIECE):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begin
    (folder / "peer").unlink()
    return size / 1e6 / seconds


def answers_ms(control: Path, is_over: Callable[[], bool]) -> list[float]:
    """How long each answer took, one after the other on one connection, until it is over."""
    found: list[float] = []
    question = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(control))
        while not is_over():
            begin = time.perf_counter()
            connection.sendall(question)
            answer = b""
            while not answer.endswith(b"ok\n"):
                if not (more := connection.recv(65536)):
                    raise RuntimeError(f"The control plane answered {answer!r}.")
                answer += more
            found.append((time.perf_counter() - begin) * 1000)
            time.sleep(0.005)
    return found


def rows(here: Installation, *, size: int) -> Sequence[Row]:
    control = here.home / "run" / "control.sock"
    with tempfile.TemporaryDirectory(prefix="um-bench-") as folder:
        source = Path(folder, "source")
        digest = _fill(source, size)
        quiet_until = time.monotonic() + QUIET_S
        quiet = answers_ms(control, lambda: time.monotonic() > quiet_until)
        seconds: list[float] = []
        upload = threading.Thread(target=lambda: seconds.append(_upload(here, source, digest)))
        upload.start()
        busy = answers_ms(control, lambda: not upload.is_alive())
        upload.join()
        disk = written_mb_per_s(Path(folder), size)
    rate, rest = size / 1e6 / seconds[0], statistics.median(quiet)
    p99 = statistics.quantiles(busy, n=100)[98] - rest
    rest_p99 = statistics.quantiles(quiet, n=100)[98]
    return [
        Row(
            what=f"event-loop lag while {size / 1e9:g} GB is uploaded, p99",
            figure=f"{measure.number(p99)} ms (p50 {measure.number(statistics.median(busy) - rest)}, longest "
            f"{measure.number(max(busy) - rest)})",
            beside=f"quiet answers p50 {measure.number(rest)} ms, p99 {measure.number(rest_p99)} ms",
            goal=f"≤ {LAG_GOAL_MS:g} ms",
            is_met=p99 <= LAG_GOAL_MS,
        ),
        Row(
            what="upload through the gateway",
            figure=f"{measure.number(rate)} MB/s",
            beside=f"written and synced {measure.number(disk)} MB/s",
            ratio=f"{rate / disk:.2f}×",
        ),
    ]


def _fill(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // PIECE):
            piece = os.urandom(PIECE)
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _upload(here: Installation, source: Path, digest: str) -> float:
    """The seconds that it took."""
    client = here.client().jobs.client
    begin = time.perf_counter()
    with source.open("rb") as file:
        headers = {"Content-Length": str(source.stat().st_size), "Content-Type": "application/octet-stream"}
        client.send("PUT", f"/api/v1/workspaces/default/blobs/{digest}", file, headers=headers)
    return time.perf_counter() - begin


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--bytes", type=int, default=1_000_000_000)
    with installation() as here:
        measure.show(rows(here, size=arguments.parse_args().bytes))


if __name__ == "__main__":
    main()
