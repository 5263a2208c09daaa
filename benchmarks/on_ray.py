"""A job's warm start on a node that a Ray cluster gave, beside a node of this machine and beside Ray's own jobs.

    .venv/bin/python -m benchmarks.on_ray [--quick] [--keep]

One real Ray with its dashboard, whose job server is the peer: it is asked by REST, as `ray job submit` and its
`JobSubmissionClient` do, without the second that those take to start. All three run the same command, in turn; the
command takes a time stamp when it runs, so neither polling nor the shipping of logs counts. Jobs a second: all are
submitted at once over one connection, until the last has ended. The first run installs ray[default] and takes minutes;
ULTRAMARINE_TEST_CACHE keeps it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.contracts.ray_cluster import started_node

from benchmarks import kept, measure
from benchmarks.first_line import COMMAND, submit_ms
from benchmarks.four_nodes import rate
from benchmarks.installation import cluster, installation, three_ports, until
from benchmarks.measure import Row, Series
from ultramarine.drivers.ray.process import LOCK

NEAR, FAR = 1.2, 10.0  #: at most so many times a node of this machine; at least so many times as quick as Ray's jobs
WHOLE = "cpu-1"  #: on a part of a CPU most of a start is waiting for the next share of it, and a Python takes several
FINAL = ("SUCCEEDED", "FAILED", "STOPPED")
START_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ray:
    address: str
    jobs: httpx.Client  #: of its job server

    def submit(self, command: str) -> str:
        answer = self.jobs.post("/api/jobs/", json={"entrypoint": command})
        answer.raise_for_status()
        return str(answer.json()["submission_id"])

    def wait(self, id: str) -> None:
        """Raises RuntimeError with what it said when it has failed."""

        def final() -> dict[str, Any]:
            view: dict[str, Any] = self.jobs.get(f"/api/jobs/{id}").json()
            return view if view["status"] in FINAL else {}

        view = until(final, f"Ray's job {id} has ended", seconds=300, every_s=0.05)
        if view["status"] != "SUCCEEDED":
            raise RuntimeError(f"Ray's job {id}: {view}")

    def start_ms(self) -> float:
        begin = time.time()
        self.wait(id := self.submit(COMMAND))
        logs = str(self.jobs.get(f"/api/jobs/{id}/logs").json()["logs"])
        stamp = next(line for line in reversed(logs.splitlines()) if line.replace(".", "").isdigit())
        return (float(stamp) - begin) * 1000

    def per_s(self, count: int) -> float:
        begin = time.perf_counter()
        for id in [self.submit("true") for _ in range(count)]:
            self.wait(id)
        return count / (time.perf_counter() - begin)


def peer_python(folder: Path) -> Path:
    """The Python of an environment with Ray of our version, and its dashboard."""
    version = next(line.split()[0] for line in LOCK.read_text().splitlines() if line.startswith("ray=="))
    place = folder / version.replace("==", "-default-")
    if not (place / "whole").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)], check=True)
        wanted = version.replace("ray", "ray[default]")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(place / "bin" / "python"), wanted], check=True)
        (place / "whole").touch()
    return place / "bin" / "python"


@contextmanager
def ray_with_jobs(environments: Path) -> Generator[Ray]:
    """On loopback. All its processes are ended with it."""
    program, port = peer_python(environments).with_name("ray"), three_ports()
    # Ray's own sockets lie deep below this folder, and their paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="umr", dir="/tmp", ignore_cleanup_errors=True) as name:
        plain = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        command = [str(program), "start", "--head", "--block", "--port", str(port), "--temp-dir", name]
        command += ["--node-ip-address", "127.0.0.1", "--num-cpus", "8", "--object-store-memory", str(100 << 20)]
        command += ["--include-dashboard", "true", "--dashboard-host", "127.0.0.1", "--dashboard-port", str(port + 1)]
        with (
            started_node(command, Path(name, "head.log"), plain | {"RAY_USAGE_STATS_ENABLED": "0"}),
            httpx.Client(base_url=f"http://127.0.0.1:{port + 1}", timeout=60, trust_env=False) as jobs,
        ):
            until(lambda: _answers(jobs), "Ray's job server answers", seconds=START_S, every_s=0.2)
            yield Ray(address=f"127.0.0.1:{port}", jobs=jobs)


def _answers(jobs: httpx.Client) -> bool:
    try:
        return jobs.get("/api/jobs/").status_code == 200
    except httpx.TransportError:
        return False


def rows(cache: Path, *, rounds: int, count: int) -> Sequence[Row]:
    with (
        ray_with_jobs(cache / "ray") as ray,
        installation(ULTRAMARINE_RAY_ADDRESS=ray.address, ULTRAMARINE_CACHE=str(cache)) as here,
    ):
        workspace = here.client()
        cluster(workspace, "here", size=WHOLE, nodes=1, nodes_min=1, idle_s=3600)
        cluster(workspace, "four", size=WHOLE, nodes=2, nodes_min=1, idle_s=3600, provider="ray")
        for name in ("here", "four"):
            until(lambda name=name: workspace.computes.get(name)["nodes"]["idle"], f"{name} is up", seconds=300)
        starts = {
            "here": lambda: submit_ms(workspace, "here"),
            "four": lambda: submit_ms(workspace, "four"),
            "ray": ray.start_ms,
        }
        measure.in_turn(starts, rounds=2)  # what is not warm yet
        found = measure.in_turn(starts, rounds=rounds)
        names = [f"on-ray-{at}" for at in range(count)]
        return _rows(found, rate(here, names), ray.per_s(count))


def _rows(starts: dict[str, Series], ours: float, peer: float) -> Sequence[Row]:
    near, far = starts["four"].median / starts["here"].median, starts["ray"].median / starts["four"].median
    return [
        Row(
            what="warm start on a node of Ray",
            figure=str(starts["four"]),
            beside=f"on a node of this machine {starts['here']}",
            ratio=f"{near:.2f}×",
            goal=f"≤ {NEAR:g}×",
            is_met=near <= NEAR,
        ),
        Row(
            what="warm start on a node of Ray",
            figure=str(starts["four"]),
            beside=f"a job of Ray's own {starts['ray']}",
            ratio=f"{far:.1f}× as quick",
            goal=f"≥ {FAR:g}×",
            is_met=far >= FAR,
        ),
        Row(
            what="no-op jobs on nodes of Ray, submitted at once",
            figure=f"{measure.number(ours)} /s",
            beside=f"jobs of Ray's own {measure.number(peer)} /s",
            ratio=f"{ours / peer:.1f}×",
            goal="> 1×",
            is_met=ours > peer,
        ),
    ]


def measured(is_quick: bool) -> str:
    with tempfile.TemporaryDirectory(prefix="um-cache-") as fresh:
        cache = Path(os.environ.get("ULTRAMARINE_TEST_CACHE") or fresh)
        return measure.table(rows(cache, rounds=1, count=2) if is_quick else rows(cache, rounds=15, count=20))


def main() -> None:
    kept.main("on Ray", measured, about=__doc__)


if __name__ == "__main__":
    main()
