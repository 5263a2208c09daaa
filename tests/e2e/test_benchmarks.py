"""Every benchmark runs in its quick mode and prints figures; what one keeps leaves the others' figures as they are."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from benchmarks.kept import keep

ROOT = Path(__file__).parents[2]


def test_a_part_that_is_kept_again_takes_the_place_of_the_last_one_alone(tmp_path: Path):
    file = tmp_path / "RESULTS.md"
    keep("main path", "1 ms", file=file)
    keep("growth", "2 ms", file=file)
    keep("main path", "3 ms", file=file)
    text = file.read_text()
    assert text.count("<!-- main path: begin -->\n3 ms\n<!-- main path: end -->") == 1
    assert "2 ms" in text
    assert "1 ms" not in text


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("program", "figure"),
    [
        ("benchmarks", "| no-op jobs through the whole system |"),
        ("benchmarks.growth", "| 400 | 20 |"),
        ("benchmarks.four_nodes", "| wait of 20 queued no-op jobs on 4 virtual nodes |"),
        ("benchmarks.from_zero", "| from no replica → first answer: linear, its ONNX form |"),
        ("benchmarks.instances", "| 2 cycles of stop and start, a cell after each | 0 failed;"),
        ("benchmarks.on_ray", "| no-op jobs on nodes of Ray, submitted at once |"),
        # Without its peers, whose environments are large.
        ("benchmarks.serving --servers ours,echo --models linear --cache {cache}", "| linear | ours |"),
    ],
)
def test_a_benchmark_runs_in_its_quick_mode(program: str, figure: str, cache: Path):
    with tempfile.TemporaryDirectory(prefix="umb") as folder:  # short: the sockets of homes lie below it
        done = subprocess.run(
            [sys.executable, "-m", *program.format(cache=cache).split(), "--quick"],
            cwd=ROOT,
            env={**os.environ, "ULTRAMARINE_TEST_CACHE": str(cache), "TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert figure in done.stdout
