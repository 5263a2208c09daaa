"""How the engine of the driver for Ray is kept running: one that Ray does not take in time has longer the next time."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from ultramarine.drivers.ray import EngineSettings, keep, process

# An engine that writes down its patience, and ends as the file beside it says.
TOLD = """
import pathlib, sys
socket, patience_s = pathlib.Path(sys.argv[3]), sys.argv[5]
lives = socket.with_name("lives")
with lives.open("a") as file:
    file.write(patience_s + "\\n")
codes = socket.with_name("codes").read_text().split()
sys.exit(int(codes[min(len(lives.read_text().split()), len(codes)) - 1]))
"""
WITHIN_S = 60.0


@pytest.mark.parametrize(
    ("codes", "patience"),
    [
        pytest.param(["75", "75", "75", "1"], ["20.0", "40.0", "80.0", "160.0", "20.0"], id="late, and killed"),
        pytest.param(["1"], ["20.0", "20.0"], id="killed"),
        pytest.param(["75"], ["20.0", "40.0", "80.0", "160.0", "160.0"], id="always late"),
    ],
)
async def test_each_life_that_ray_did_not_take_in_time_has_twice_the_patience_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codes: list[str], patience: list[str]
) -> None:
    engine = tmp_path / "engine.py"
    engine.write_text(TOLD)
    (tmp_path / "codes").write_text(" ".join(codes))
    monkeypatch.setattr(process, "ENGINE", engine)
    monkeypatch.setattr(process, "RETRY_S", 0.0)
    monkeypatch.setattr(process, "RETRY_S_MAX", 0.0)
    monkeypatch.setattr(process, "ensure_environment", _this_python)
    settings = EngineSettings(
        address="127.0.0.1:1", token=None, namespace="um", socket=tmp_path / "socket", environments=tmp_path
    )
    keeping = asyncio.create_task(keep(settings))
    deadline = time.monotonic() + WITHIN_S
    while len(lives := _lines(tmp_path / "lives")) < len(patience):
        assert time.monotonic() < deadline, lives
        await asyncio.sleep(0.05)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert lives[: len(patience)] == patience


def _this_python(*_: object) -> Path:
    return Path(sys.executable)


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
