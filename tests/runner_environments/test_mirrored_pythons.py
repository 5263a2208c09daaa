"""A node that lacks a Python gets it from where the site keeps uv's own: here one made of the one that runs us."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.runner_environments.building import HERE, UV, building, lock_of
from tests.runner_environments.index import Index

from ultramarine_runner import builds
from ultramarine_runner.environments import EnvironmentFailed, Recipe, ensure

WHERE = "https://github.com/astral-sh/python-build-standalone/releases/download"  #: what a mirror stands in for
RELEASE, FULL = "20240107", platform.python_version()
NAME = f"cpython-{FULL}+{RELEASE}-{os.uname().machine}-unknown-linux-gnu-install_only.tar.gz"
LEFT_OUT = ("test", "tests", "site-packages", "dist-packages", "__pycache__", "idlelib", "tkinter", "config-*")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As uv's own Pythons are packed."""
    tree = tmp_path_factory.mktemp("tree") / "python"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(Path(getattr(sys, "_base_executable", sys.executable)).resolve(), tree / "bin" / f"python{HERE}")
    stdlib = tree / "lib" / f"python{HERE}"
    shutil.copytree(sysconfig.get_path("stdlib"), stdlib, ignore=shutil.ignore_patterns(*LEFT_OUT))
    with tarfile.open(made := tree.with_name(NAME), "w:gz", compresslevel=1) as packed:
        packed.add(tree, "python")
    return made


@pytest.fixture
def mirror(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is one. The node has no Python but an old one."""
    place = tmp_path / "mirror" / RELEASE / NAME
    place.parent.mkdir(parents=True)
    os.link(archive, place)
    monkeypatch.setattr(builds, "find_python", lambda _: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(builds, "find_pythons", lambda: {"3.8": "/usr/bin/python3.8"})
    return place.parents[1]


def listed(folder: Path, archive: Path, *, sha256: str = "") -> str:
    """The URL of a list with this one Python, as uv has one of all."""
    major, minor, patch = FULL.split(".")
    one = {
        "name": "cpython",
        "arch": {"family": os.uname().machine, "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": int(major),
        "minor": int(minor),
        "patch": int(patch),
        "prerelease": "",
        "url": f"{WHERE}/{RELEASE}/{quote(NAME)}",
        "sha256": sha256 or hashlib.sha256(archive.read_bytes()).hexdigest(),
        "variant": None,
        "build": RELEASE,
    }
    file = folder / "list.json"
    file.write_text(json.dumps({f"cpython-{FULL}-linux-{os.uname().machine}-gnu": one}))
    return file.as_uri()


def build(cache: Path, index: Index, options: Mapping[str, Any], *, digest: str = "d1") -> Path:
    recipe = Recipe(digest=digest, lock=lock_of(index, "alpha"), python=HERE)
    return ensure(cache, recipe, options={"index_url": index.url, **options}, uv=UV, progress=lambda _: None)


def test_an_environment_has_the_python_that_its_node_fetched_and_the_next_one_asks_no_mirror(
    index: Index, tmp_path: Path, archive: Path, mirror: Path
):
    cache = tmp_path / "cache"
    options = {"python_mirror": mirror.as_uri(), "python_list": listed(tmp_path, archive)}
    home = build(cache, index, options)
    ask = "import sys, alpha; print('%d.%d.%d' % sys.version_info[:3], sys.base_prefix, alpha.VERSION)"
    shown = subprocess.run([home / "bin" / "python", "-c", ask], capture_output=True, text=True, check=True)
    version, prefix, alpha = shown.stdout.split()
    assert (version, alpha) == (FULL, "1.0")
    assert Path(prefix).parent == (cache / "pythons").resolve()
    shutil.rmtree(mirror)
    second = build(cache, index, options, digest="d2")
    assert (second / "bin" / "python").resolve() == (home / "bin" / "python").resolve()


def test_one_that_the_mirror_does_not_have_is_refused_with_those_that_are_there(
    index: Index, tmp_path: Path, archive: Path, mirror: Path
):
    shutil.rmtree(mirror)
    with pytest.raises(EnvironmentFailed) as refused:
        build(tmp_path / "cache", index, {"python_mirror": mirror.as_uri(), "python_list": listed(tmp_path, archive)})
    absent = f"Python {HERE} is not on this machine; there is: 3.8. "
    assert str(refused.value).startswith(f"{absent}Nor has the site's mirror given it: ")
    assert building(tmp_path / "cache") == []


def test_one_with_another_hash_is_not_taken(index: Index, tmp_path: Path, archive: Path, mirror: Path):
    wrong = listed(tmp_path, archive, sha256="0" * 64)
    with pytest.raises(EnvironmentFailed, match="Nor has the site's mirror given it") as refused:
        build(tmp_path / "cache", index, {"python_mirror": mirror.as_uri(), "python_list": wrong})
    assert "0" * 64 in str(refused.value)
    assert not list((tmp_path / "cache" / "pythons").glob("cpython-*"))


def test_without_a_mirror_nothing_is_fetched(index: Index, tmp_path: Path, archive: Path, mirror: Path):
    with pytest.raises(EnvironmentFailed, match="Install it, or choose one of those in the environment"):
        build(tmp_path / "cache", index, {"python_list": listed(tmp_path, archive)})
    assert not (tmp_path / "cache" / "pythons").exists()
