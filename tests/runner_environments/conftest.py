import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runner_environments.index import Index, serving


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with serving(tmp_path / "wheels") as index:
        yield index
