"""The command line and the Python client: `um` on the PATH of all that is begun here, `import ultramarine` in kernels.

Their source comes along as one file, and is laid out anew for each run, as a folder, so that its byte code is kept.
What it imports is the curated environment `client`, of the Python that imports it. Where the control plane is stands in
the variables.
"""

from __future__ import annotations

import os
import shlex
import sys
import zipfile
from collections.abc import MutableMapping
from pathlib import Path

from ultramarine_instance import cached
from ultramarine_instance.settings import Settings

ZIP = "client.zip"  #: beside the settings
LAID_OUT = ".client"  #: beside the settings; no script that came along has such a name
_UM = "import sys; sys.argv[0] = 'um'; sys.path.append(sys.argv.pop(1)); from ultramarine.cli.app import main; main()"
# A login shell sets PATH anew on most systems: so the owner's own shell begins after it, with our folder in front.
_TERMINAL = 'export PATH="$0:$PATH"; exec "${SHELL:-bash}"'


def here(settings: Settings) -> Path | None:
    """The environment `client` for the Python that runs us, where the settings name one. Raises EnvironmentFailed."""
    recipe = settings.client.get(cached.PYTHON)
    return None if recipe is None else cached.place(cached.cache_of(sys.prefix), recipe.digest)


def lay_out(files: Path, environment: Path) -> None:
    """Unpack the source, and write `um`, which runs in `environment`. `files`: the folder of the settings."""
    with zipfile.ZipFile(files / ZIP) as packed:
        packed.extractall(_source(files))
    um = _programs(files) / "um"
    um.parent.mkdir(exist_ok=True)
    # Isolated: PYTHONPATH is that of a kernel, and what lies in the folder where it is typed is not to be imported.
    command = shlex.join([str(environment / "bin" / "python"), "-I", "-c", _UM, str(_source(files))])
    um.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    um.chmod(0o755)


def add_to_path(files: Path, variables: MutableMapping[str, str]) -> None:
    """What is begun with these variables finds `um`."""
    variables["PATH"] = os.pathsep.join([str(_programs(files)), variables.get("PATH", os.defpath)])


def terminal(files: Path) -> list[str]:
    """The shell of a terminal, which finds `um`."""
    return ["bash", "-l", "-c", _TERMINAL, str(_programs(files))]


def behind(files: Path, environment: Path) -> list[str]:
    """What stands behind the path of a kernel for `import ultramarine`. Raises EnvironmentFailed."""
    return [str(_source(files)), cached.site(environment)]


def _source(files: Path) -> Path:
    return files / LAID_OUT / "lib"


def _programs(files: Path) -> Path:
    return files / LAID_OUT / "bin"
