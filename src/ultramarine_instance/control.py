"""The control plane, as an instance asks it: of environments, what each is made from, and of itself.

What an environment is made from is asked once and then kept in the home: a kernel whose environment was built starts
when the control plane does not answer, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ultramarine_runner.environments import Recipe

TIMEOUT_S = 5.0
PAGE = 200
BODY_BYTES_MAX = 64 * 1024**2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
URL, TOKEN, CA_FILE, WORKSPACE = (
    "ULTRAMARINE_URL",
    "ULTRAMARINE_TOKEN",
    "ULTRAMARINE_CA_FILE",
    "ULTRAMARINE_WORKSPACE",
)
GPUS = "CUDA_VISIBLE_DEVICES"  #: the runner names here what the instance has
CPU, CUDA = "cpu", "cuda"  #: accelerators, as the control plane calls them
READY = "Succeeded"


class NoAnswer(Exception):
    """The control plane does not answer, or not with what was asked for; in words."""


class NotThere(NoAnswer):
    """It answers that there is no such thing."""


@dataclass(frozen=True)
class Environment:
    """One that is there to be used."""

    name: str
    version: str
    python: str
    digest: str
    description: str = ""
    is_curated: bool = False

    @property
    def label(self) -> str:
        """As it is written everywhere."""
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class Made:
    """What an environment is made from; without a recipe it is the machine's own Python."""

    python: str
    digest: str
    recipe: Recipe | None


class Control:
    def __init__(self, url: str, token: str, *, workspace: str, ca_file: str = "", accelerator: str = CPU) -> None:
        self._root = f"{url.rstrip('/')}/api/v1/workspaces/{urllib.parse.quote(workspace, safe='')}"
        self._token, self._accelerator = token, accelerator
        context = ssl.create_default_context(cafile=ca_file or None)
        # No proxy: the way to the control plane is a direct one, as it is for the runner.
        self._open = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect()
        ).open

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Control:
        """By what every instance is given. Raises NoAnswer."""
        if not variables.get(URL) or not variables.get(TOKEN):
            raise NoAnswer(f"{URL} and {TOKEN} say where the control plane is, and are not set.")
        if not variables[URL].startswith(("http://", "https://")):
            raise NoAnswer(f"{URL} is {variables[URL]!r}, and no address that begins with http:// or https://.")
        workspace = variables.get(WORKSPACE) or "default"
        return cls(
            variables[URL],
            variables[TOKEN],
            workspace=workspace,
            ca_file=variables.get(CA_FILE) or "",
            accelerator=CUDA if variables.get(GPUS) else CPU,
        )

    def environments(self) -> list[Environment]:
        """The newest version of each that can be used. Raises NoAnswer."""
        found: list[Environment] = []
        after = ""
        while True:
            page = self._ask(f"/environments?{urllib.parse.urlencode({'limit': PAGE, 'after': after})}")
            found += [self._read(one) for one in page.get("value", ()) if one.get("status") == READY]
            after = str(page.get("next") or "")
            if not after:
                return found

    def environment(self, name: str, version: str) -> Environment:
        """Raises NoAnswer; NotThere also when it cannot be used."""
        view = self._ask(_path(name, version))
        if view.get("status") != READY:
            raise NotThere(f"The environment {name}:{version} is {view.get('status')}: {view.get('reason') or 'wait'}")
        return self._read(view)

    def made_from(self, name: str, version: str) -> Made:
        """Raises NoAnswer."""
        view = self._ask(f"{_path(name, version)}/lock?{urllib.parse.urlencode({'accelerator': self._accelerator})}")
        python, digest, lock = str(view["python"]), str(view["digest"]), str(view["lock"])
        is_empty = not any(line and not line.startswith("#") for line in lock.splitlines())
        return Made(python, digest, None if is_empty else Recipe(digest=digest, lock=lock.encode(), python=python))

    def instance(self, name: str) -> Mapping[str, Any]:
        """How the instance of this name stands. Raises NoAnswer."""
        return _of_instance(self._ask(f"/computes/{urllib.parse.quote(name, safe='')}"))

    def keep_awake(self, name: str, *, hours: float) -> Mapping[str, Any]:
        """It does not stop for want of use before so many hours from now; how it stands. Raises NoAnswer."""
        path = f"/computes/{urllib.parse.quote(name, safe='')}/keep-awake"
        return _of_instance(self._ask(path, json.dumps({"hours": hours}).encode()))

    def _read(self, view: Mapping[str, Any]) -> Environment:
        """Of one that has a lock for each accelerator, that for ours."""
        ours: Mapping[str, Any] = view.get("accelerators", {}).get(self._accelerator, view)
        return Environment(
            name=str(view["name"]),
            version=str(view["version"]),
            python=str(view.get("python") or ""),
            digest=str(ours.get("digest") or ""),
            description=str(view.get("description") or ""),
            is_curated=bool(view.get("is_curated")),
        )

    def _ask(self, path: str, body: bytes | None = None) -> Mapping[str, Any]:
        """With a body it is posted."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 (looked at when it was set)
            self._root + path, data=body, headers=headers
        )
        try:
            with self._open(request, timeout=TIMEOUT_S) as answer:
                said: Any = json.loads(answer.read(BODY_BYTES_MAX))
        except urllib.error.HTTPError as error:
            raise (NotThere if error.code == 404 else NoAnswer)(_said(error)) from None
        except (OSError, ValueError) as error:
            why = error.reason if isinstance(error, urllib.error.URLError) else error
            raise NoAnswer(f"The control plane does not answer: {why}") from None
        if not isinstance(said, dict):
            raise NoAnswer("The control plane answers with what is no object.")
        return cast("Mapping[str, Any]", said)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token is for one address alone."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _path(name: str, version: str) -> str:
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(version):
        raise NotThere(f"{name}:{version} is no name of an environment.")
    return f"/environments/{name}/versions/{version}"


def _of_instance(compute: Mapping[str, Any]) -> Mapping[str, Any]:
    view = compute.get("instance")
    if not isinstance(view, dict):
        raise NoAnswer("The control plane answers with a compute that is no instance.")
    return cast("Mapping[str, Any]", view)


def _said(error: urllib.error.HTTPError) -> str:
    """The words of a refusal, else its number."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        problem: Any = json.loads(error.read(BODY_BYTES_MAX))
        if words := " ".join(str(problem[part]) for part in ("detail", "hint") if problem.get(part)):
            return words
    return f"The control plane answers with {error.code}."


class Kept:
    """What was learnt of environments, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def made_from(self, name: str, version: str, *, digest: str, variables: Mapping[str, str]) -> Made:
        """From here where it is of that digest, else from the control plane. Raises NoAnswer."""
        _path(name, version)
        file = self._folder / f"{name}--{version}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = _unfolded(json.loads(file.read_bytes()))
            if digest in ("", known.digest):
                return known
        made = Control.from_variables(variables).made_from(name, version)
        with contextlib.suppress(OSError):  # the next one asks again
            self._keep(file, made)
        return made

    def _keep(self, file: Path, made: Made) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = None if made.recipe is None else made.recipe.lock.decode()
        handle, fresh = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "w") as stream:
            json.dump({"python": made.python, "digest": made.digest, "lock": lock}, stream)
        os.replace(fresh, file)


def _unfolded(raw: Mapping[str, Any]) -> Made:
    python, digest, lock = str(raw["python"]), str(raw["digest"]), raw["lock"]
    return Made(python, digest, None if lock is None else Recipe(digest=digest, lock=lock.encode(), python=python))
