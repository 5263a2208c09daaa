from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runner_environments.index import Index, alone


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with alone(tmp_path / "wheels", monkeypatch) as index:
        yield index
