"""Versioned assets: environments, data, models."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultramarine.domain.errors import InvalidInput
from ultramarine.sdk.collection import Versioned, until
from ultramarine.sdk.http import View, part

if TYPE_CHECKING:
    from ultramarine.sdk.collection import Given


class Environments(Versioned):
    noun, plural = "environment", "environments"

    def wait(
        self, name: str, version: str, *, timeout_s: float = 600, tell: Callable[[View], None] | None = None
    ) -> View:
        """Until its packages are resolved or refused."""
        return until(
            lambda: self.get(name, version), lambda view: view["status"] != "Resolving", timeout_s=timeout_s, tell=tell
        )

    def check(self, given: "Given", *, folder: Path | None = None) -> View:
        """What would be in an environment that was made of this. Raises for what cannot be."""
        return self.client.call("POST", f"{self.workspace_path}/environment-check", self._prepared(given, folder))

    def lock(self, name: str, version: str = "latest", *, accelerator: str = "cpu") -> View:
        """Its exact packages, and the lock with hashes: of where runs have such an `accelerator`, "cpu" or "cuda"."""
        return self.client.get(f"{self._version(name, version)}/lock", accelerator=accelerator)


class Data(Versioned):
    noun, plural = "data", "data"

    def download(self, name: str, version: str, folder: Path) -> Iterator[Path]:
        """Write its files under `folder`; gives each."""
        # imported late: see Collection._prepared
        from ultramarine.sdk.snapshots import download

        return download(self.client, self.workspace_path, self.get(name, version)["snapshot"], folder=folder)


class Models(Versioned):
    noun, plural = "model", "models"

    def _put(self, name: str, version: str, body: dict[str, Any]) -> View:
        """Models are numbered by the registry; a version of the user's own goes along in the body."""
        return self.client.call("POST", f"{self.at(name)}/versions", body)

    def files(self, name: str, version: str = "latest") -> list[View]:
        return self.client.get(f"{self._version(name, version)}/files")["files"]

    def download(self, name: str, version: str, folder: Path) -> Iterator[Path]:
        """Write its files under `folder`; gives each."""
        root = folder.resolve()
        for file in self.files(name, version):
            target = (root / file["path"]).resolve()
            if not target.is_relative_to(root):
                raise InvalidInput(
                    f"The model names {file['path']!r}, outside of {root}.",
                    hint="It was not written. Tell the one who made it.",
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            address = "/".join(part(step) for step in str(file["path"]).split("/"))
            with (
                self.client.opened(f"{self._version(name, version)}/files/{address}") as answer,
                target.open("wb") as stream,
            ):
                while chunk := answer.read(1 << 20):
                    stream.write(chunk)
            yield target
