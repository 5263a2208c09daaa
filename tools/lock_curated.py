"""Renew the locks of the curated environments: `python tools/lock_curated.py [NAME …]`.

The newest versions that fit are taken from uv's default index (or UV_DEFAULT_INDEX) and from the `find_links` that
`environment.toml` names, never from this machine's other sources; `--find-links FOLDER` takes the place of those, where
they are not reached. Where a lock changes, its version is
counted up, for a version that was given out stays what it was. `--keep-version` leaves it: for a lock that was never
released.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ultramarine.curated import Curated, load, lock_file
from ultramarine.domain.environment import Accelerator
from ultramarine.locks.lock import PLATFORMS

HOME = Path(__file__).resolve().parent.parent / "src" / "ultramarine" / "curated"
OPTIONS = (
    "--generate-hashes",
    "--only-binary",
    ":all:",
    "--no-annotate",
    "--no-header",
    "--upgrade",
    "--quiet",
)


def locked(curated: Curated, accelerator: Accelerator, *, find_links: str | None) -> str:
    """The newest lock of an environment for an accelerator, for all its Pythons and platforms."""
    if not curated.requirements:
        return ""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UV_", "PIP_")) or name in {"UV_DEFAULT_INDEX", "UV_CACHE_DIR"}
    }
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as left_out:
        left_out.writelines(f"{name} ; python_version < '0'\n" for name in curated.provided)
        left_out.flush()
        fixed = ("--python-version", curated.pythons[0], "--overrides", left_out.name, *_platforms(curated))
        if accelerator in curated.find_links:
            fixed += ("--no-emit-find-links", "--find-links", find_links or curated.find_links[accelerator])
        done = subprocess.run(
            ("uv", "--no-config", "pip", "compile", "-", *OPTIONS, *fixed),
            input="\n".join(curated.requirements),
            env=clean,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=600,
        )
    if "://" in done.stdout:
        raise SystemExit(f"{curated.name}: the lock names a URL, and would hold on one machine only.")
    return done.stdout


def _platforms(curated: Curated) -> tuple[str, ...]:
    if tuple(PLATFORMS) == curated.platforms:
        return ("--universal",)
    (only,) = curated.platforms
    return ("--python-platform", PLATFORMS[only])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--keep-version", action="store_true")
    parser.add_argument("--find-links", metavar="FOLDER")
    given = parser.parse_args()
    for name, curated in load().items():
        if given.names and name not in given.names:
            continue
        texts = {each: locked(curated, each, find_links=given.find_links) for each in curated.texts}
        if texts == curated.texts:
            sys.stdout.write(f"{name} {curated.version}: as it was\n")
            continue
        for each, text in texts.items():
            (HOME / name / lock_file(each)).write_text(text, encoding="utf-8")
        version = curated.version if given.keep_version else str(int(curated.version) + 1)
        about = HOME / name / "environment.toml"
        about.write_text(
            re.sub(r'^version = ".*"', f'version = "{version}"', about.read_text(encoding="utf-8"), count=1),
            encoding="utf-8",
        )
        sys.stdout.write(f"{name} {version}: locked anew\n")


if __name__ == "__main__":
    main()
