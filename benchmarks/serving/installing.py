"""Environments of the servers, each from its lock: `python -m benchmarks.serving.installing [NAME …]` renews the locks.

They are made on demand in a cache folder outside the repository, with the models that were trained in them.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.serving.contenders import HERE, PACKAGES, REQUIREMENTS
from ultramarine import curated
from ultramarine.locks.site import site_options
from ultramarine_runner.environments import Recipe, ensure

UV = str(Path(sys.executable).with_name("uv"))


def site(cache: Path, name: str) -> Path:
    """The folder of one of our own curated environments, as a node makes it."""
    one = curated.load()[name]
    lock = one.lock(python=f"3.{sys.version_info.minor}", platform=f"linux-{os.uname().machine}")
    recipe = Recipe(digest=lock.digest, lock=lock.text.encode(), python=lock.python)
    home = ensure(cache, recipe, options=site_options().to_json(), uv=UV, progress=lambda _: None)
    return next(home.glob("lib/python3*/site-packages"))


def environment(cache: Path, name: str) -> Path:
    """A folder with the environment (`env`) and its models (`models`), made once for each lock."""
    lock, train = REQUIREMENTS / f"{name}.txt", HERE / "train.py"
    digest = hashlib.sha256(lock.read_bytes() + train.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache / f"{name}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            call(UV, "venv", "-q", "--python", sys.executable, str(folder / "env"))
            python = str(folder / "env" / "bin" / "python")
            call(UV, "pip", "install", "-q", "--require-hashes", "--python", python, "-r", str(lock))
            call(python, str(train), str(folder / "models"))
            (folder / "done").touch()
    return folder


def call(*command: str) -> str:
    """What a program printed; RuntimeError with its last words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def main() -> None:
    for name in sys.argv[1:] or PACKAGES:
        compile_it = (UV, "--no-config", "pip", "compile", "-", "--generate-hashes", "--no-annotate", "--no-header")
        done = subprocess.run(
            (*compile_it, "--quiet", "--python-version", "3.11"),
            input="\n".join(PACKAGES[name]),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        if "://" in done.stdout:
            raise SystemExit(f"{name}: the lock names a URL, and would hold on one machine only.")
        (REQUIREMENTS / f"{name}.txt").write_text(done.stdout, encoding="utf-8")
        print(f"{name}: locked anew")


if __name__ == "__main__":
    main()
