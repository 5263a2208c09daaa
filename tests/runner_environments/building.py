"""Builds of environments from an index of our own."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.runner_environments.index import Index, make_wheel

from ultramarine_runner import environments
from ultramarine_runner.environments import Recipe, ensure

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "uv"
SOURCES = Path(environments.__file__).parent.parent


def lock_of(index: Index, *names: str, filler: int = 0) -> bytes:
    """Of packages that are made for it, each with so many bytes more."""
    hashes = {name: make_wheel(index.folder, name, filler=filler) for name in names}
    return "".join(f"{name}==1.0 \\\n    --hash=sha256:{sha256}\n" for name, sha256 in hashes.items()).encode()


def build(
    cache: Path,
    lock: bytes,
    index: Index,
    *,
    digest: str = "d1",
    progress: Callable[[str], None] = lambda _: None,
    **more: object,
) -> Path:
    recipe = Recipe(digest=digest, lock=lock, python=HERE)
    return ensure(cache, recipe, options={"index_url": index.url, **more}, uv=UV, progress=progress)


def until(true: Callable[[], object], *, within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def building(cache: Path) -> list[Path]:
    return list((cache / "environments").glob(".building-*"))
