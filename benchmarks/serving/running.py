"""One server under load: started, asked by `wrk` over so many connections, and ended."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.serving.contenders import HERE, Contender, write_settings
from benchmarks.serving.installing import call

READY_MAX_S = 180.0
WARM_S = 1
# wrk sends the same body again and again.
_LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = [==[{body}]==]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What wrk saw over some connections, and what the server's processes used meanwhile."""

    rate: float  #: requests a second
    p50_ms: float
    p99_ms: float
    cpu_us: float  #: a request
    failed: int  #: answers that were no success


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One server with one model, in one round."""

    start_s: float  #: until it is ready
    pss_mb: float  #: of all its processes, after the load
    figures: Mapping[int, Figure]  #: by connections


def seen(
    contender: Contender, folder: Path, names: Mapping[str, str], *, connections: Sequence[int], seconds: int
) -> Seen:
    """Start it, load it over each number of connections, end it."""
    port = _free_port()
    begun = time.monotonic()
    with _running(contender, folder, names, port) as pid:
        start_s = time.monotonic() - begun
        script = folder / "post.lua"
        row = json.loads(Path(names["row"]).read_text())
        script.write_text(_LUA.format(body=json.dumps(contender.body(row))))
        url = f"http://127.0.0.1:{port}{contender.path}"
        _load(url, script, pid, connections=4, seconds=WARM_S)
        figures = {count: _load(url, script, pid, connections=count, seconds=seconds) for count in connections}
        memory = sum(_pss_mb(one) for one in (pid, *measure.children(pid)))
    return Seen(start_s=start_s, pss_mb=memory, figures=figures)


def prepare(contender: Contender, folder: Path, names: Mapping[str, str]) -> None:
    """Start it once before it is measured: it keeps what it makes at its first start, and says when it is made."""
    if contender.says:
        with _running(contender, folder, names, _free_port()):
            pass


@contextmanager
def _running(contender: Contender, folder: Path, names: Mapping[str, str], port: int) -> Generator[int]:
    write_settings(folder, (port, _free_port(), _free_port()))
    filled = contender.command.format(**names, folder=folder, port=port, here=HERE, python=sys.executable)
    variables = {
        **os.environ,
        "PATH": f"{names['bin']}:{os.environ['PATH']}",
        "AZUREML_MODEL_DIR": str(folder),
        "MODEL": str(folder),
        "HOME": str(folder),
        "BENTOML_DO_NOT_TRACK": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    log = folder / "log.txt"
    with log.open("wb") as stream:
        server = subprocess.Popen(filled.split(), stdout=stream, stderr=stream, env=variables, start_new_session=True)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}{contender.ready}", contender, server, log)
        yield server.pid
    finally:
        left = measure.children(server.pid)  # peers leave workers behind, some in sessions of their own
        for end in (
            partial(os.killpg, server.pid, signal.SIGKILL),
            *(partial(os.kill, pid, signal.SIGKILL) for pid in left),
        ):
            with suppress(ProcessLookupError):
                end()
        server.wait()


def _load(url: str, script: Path, pid: int, *, connections: int, seconds: int) -> Figure:
    pids = (pid, *measure.children(pid))
    before = measure.cpu_ms(pids)
    said = _asked(url, script, connections=connections, seconds=seconds)
    used = measure.cpu_ms(pids) - before
    percentiles = dict(re.findall(r"^ +(50|99)% +([0-9.]+[a-z]+) *$", said, re.MULTILINE))
    requests = int(re.findall(r"(\d+) requests in", said)[0])
    if set(percentiles) != {"50", "99"} or not requests:
        raise RuntimeError(f"wrk measured nothing:\n{said}")
    refused = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", said)))
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    return Figure(
        # What was refused is no answer: one that refuses everything is quick.
        rate=float(re.findall(r"Requests/sec: +([0-9.]+)", said)[0]) * (1 - refused / requests),
        p50_ms=_milliseconds(percentiles["50"]),
        p99_ms=_milliseconds(percentiles["99"]),
        cpu_us=used * 1000 / requests,
        failed=refused + (sum(map(int, broken.groups())) if broken else 0),
    )


def _asked(url: str, script: Path, *, connections: int, seconds: int) -> str:
    """What wrk says. One that answers nobody in that time is given ten times as long."""
    for longer in (1, 10):
        at = (f"-c{connections}", f"-d{seconds * longer}s", "--timeout", f"{10 * longer}s")
        said = call("wrk", "-t1", *at, "--latency", "-s", str(script), url)
        if "\n  0 requests in" not in said:
            break
    return said


def _milliseconds(written: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)([a-z]+)", written).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit]


def _pss_mb(pid: int) -> float:
    try:
        return measure.pss_mb(pid)
    except OSError:  # it ended meanwhile
        return 0.0


def _wait_until_ready(url: str, contender: Contender, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_MAX_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                if contender.says in log.read_text(errors="replace"):
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.02)
    raise RuntimeError(f"{contender.name} did not become ready:\n{log.read_text(errors='replace')[-3000:]}")


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]
