"""Environments on this node: built once from a lock by uv, read-only, shared by all runs of the host.

`<cache>/environments/<digest>/` is whole or not there: it is built aside and renamed. Builders of the same digest
queue at a file lock and share one build;
what a killed builder leaves (its folder, its uv) is cleared by the next. Several digests share `<cache>/uv`, from
which files are hard-linked. What is used is held (`unused.py`), so that nobody deletes it.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from ultramarine_runner import unused
from ultramarine_runner.builds import (
    MIRROR,
    TURN_S,
    Build,
    EnvironmentFailed,
    Recipe,
    about,
    clear_leftovers,
    delete,
    lock_of,
)
from ultramarine_runner.pythons import find_pythons
from ultramarine_runner.trees import ALLOCATION

__all__ = ["EnvironmentFailed", "Recipe", "Use", "ensure", "find_pythons", "use"]

TIMEOUT_S = 1800.0  #: for a build, its waiting for another builder included
_WHOLE = re.compile(r"^[0-9a-f]{64}\Z")  # what is built or deleted has a dot in front, what is beside it an ending
_DIGEST = re.compile(r"^[A-Za-z0-9_-]{1,120}\Z")
_PINNED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]*\])?==[A-Za-z0-9.+!_-]+(\s*;[^\\]*)?\s*\\?$")
_HASH = re.compile(r"^\s+--hash=[a-z0-9]+:[0-9a-f]+\s*\\?$")
_PASSED_ON = re.compile(r"^(UV_.*|.*_proxy|SSL_CERT_.*|PATH|HOME|LANG|LC_ALL|TMPDIR|NETRC)$", re.IGNORECASE)


@dataclass(frozen=True)
class Use:
    """An environment that stays there until `over` is called, or until this process has ended."""

    home: Path
    over: Callable[[], None]


def there(cache: Path) -> list[str]:
    """The digests of those that are whole."""
    try:
        names = os.listdir(cache / "environments")
    except OSError:
        return []
    return sorted(name for name in names if _WHOLE.match(name))


def use(cache: Path, recipe: Recipe, *, options: Mapping[str, Any], uv: str, progress: Callable[[str], None]) -> Use:
    """The environment as `ensure` makes it, held from before it is looked for."""
    home = _place(cache, recipe.digest)
    try:
        handle = unused.hold(home)
    except OSError as error:
        raise EnvironmentFailed(about(error, cache)) from None
    try:
        return Use(ensure(cache, recipe, options=options, uv=uv, progress=progress), lambda: unused.let_go(handle))
    except BaseException:
        unused.let_go(handle)
        raise


def ensure(
    cache: Path, recipe: Recipe, *, options: Mapping[str, Any], uv: str, progress: Callable[[str], None]
) -> Path:
    """The environment's folder, built if it is not there yet.

    `options` are the site's (`index_url`, `extra_index_urls`, `find_links`, `cert`, `trusted_hosts`,
    `offline`, `no_index`, `python_mirror`, `python_list`) and `timeout_s`.
    `progress` gets words several times a second while it takes time; what it raises cancels the build, which then
    leaves nothing.
    Raises EnvironmentFailed.
    """
    digest = recipe.digest
    home = _place(cache, digest)
    if _is_whole(home):
        return home
    home = home.absolute()  # uv is started elsewhere
    cache = cache.absolute()
    deadline = time.monotonic() + float(options.get("timeout_s", TIMEOUT_S))
    pinned = _checked(recipe.lock, digest)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with _alone(lock_of(home), deadline, progress):
            if not _is_whole(home):
                clear_leftovers(home)
                if home.exists():  # its Python is gone
                    delete(home)
                with_uv = (uv, _variables(cache, options), bool(options.get("no_index")))
                Build(home, deadline, progress).make(recipe, pinned, with_uv)
    except OSError as error:
        raise EnvironmentFailed(about(error, cache)) from None
    return home


def _place(cache: Path, digest: str) -> Path:
    if not _DIGEST.match(digest):
        raise EnvironmentFailed(f"{digest!r} is no name of an environment.")
    return cache / "environments" / digest


def _is_whole(home: Path) -> bool:
    """Its last file is there, and its Python has not been taken away since."""
    try:
        os.stat(home / "ultramarine.json")
        os.stat(home / "bin" / "python")
    except OSError:
        return False
    return True


def _checked(lock: bytes, digest: str) -> int:
    """How many packages it pins. A line that is neither a pinned name nor a hash (an option, a path, a URL) is
    refused."""
    pinned = 0
    for number, line in enumerate(lock.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#") or _HASH.match(line):
            continue
        if not _PINNED.match(line):
            raise EnvironmentFailed(
                f"Line {number} of the lock of {digest[:12]} is no pinned requirement: {line[:80]!r}."
            )
        pinned += 1
    return pinned


def _variables(cache: Path, options: Mapping[str, Any]) -> dict[str, str]:
    """uv's environment: what the site says goes over what this node has."""
    found = {name: value for name, value in os.environ.items() if _PASSED_ON.match(name) or name == ALLOCATION}
    for name, key in (
        ("UV_DEFAULT_INDEX", "index_url"),
        ("SSL_CERT_FILE", "cert"),
        (MIRROR, "python_mirror"),
        ("UV_PYTHON_DOWNLOADS_JSON_URL", "python_list"),
    ):
        if options.get(key):
            found[name] = str(options[key])
    for name, key, between in (
        ("UV_INDEX", "extra_index_urls", " "),
        ("UV_FIND_LINKS", "find_links", ","),
        ("UV_INSECURE_HOST", "trusted_hosts", " "),
    ):
        if options.get(key):
            found[name] = between.join(str(value) for value in options[key])
    if options.get("offline"):
        found["UV_OFFLINE"] = "1"
    # Every file is checked against its hash, so any index may give it: the same set of indexes the lock was made from.
    fixed = {
        "UV_CACHE_DIR": str(cache / "uv"),
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
    }
    return {**found, **fixed}


@contextlib.contextmanager
def _alone(file: Path, deadline: float, progress: Callable[[str], None]) -> Generator[None, None, None]:
    """Hold the lock file; others wait, with words. The kernel gives it back when its holder dies."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress("environment: another run on this machine is building it")
            if time.monotonic() > deadline:
                raise EnvironmentFailed(
                    "Another run on this machine has been building this environment for longer than the time limit."
                )
            time.sleep(TURN_S)
        yield
    finally:
        os.close(handle)
