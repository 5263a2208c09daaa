"""The command in this process, against one real control plane."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.sdk.served import Served, served

from ultramarine.cli.dispatch import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    code: int
    out: str
    err: str


Um = Callable[..., Said]


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="um-cli-") as folder, served(Path(folder) / "home") as found:
        yield found


@pytest.fixture
def um(capfd: pytest.CaptureFixture[str]) -> Um:
    """Run `um` with these words."""

    def call(*words: str) -> Said:
        code = run([str(word) for word in words])
        out, err = capfd.readouterr()
        return Said(code=code, out=out, err=err)

    return call


@pytest.fixture
def signed_in(server: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The environment of somebody who uses the server; the current folder is theirs."""
    monkeypatch.setenv("ULTRAMARINE_URL", server.url)
    monkeypatch.setenv("ULTRAMARINE_TOKEN", server.token)
    monkeypatch.setenv("ULTRAMARINE_HOME", str(tmp_path / "no-home"))
    monkeypatch.delenv("ULTRAMARINE_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
