"""What the collections of a workspace have in common: a noun, an address, and how things in them are named."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ultramarine.domain.errors import InvalidInput, NotFound, UltramarineError, Unavailable
from ultramarine.sdk.http import Client, View, part

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ultramarine.sdk.preparation import Uploads
    from ultramarine.sdk.snapshots import Progress

    Given = Mapping[str, Any] | BaseModel
WAIT_MIN_S, WAIT_MAX_S, AWAY_MAX_S = 0.1, 2.0, 30.0


class Collection:
    """The things of one noun in one workspace. A view is what the server answers: the specification, and more."""

    noun: ClassVar[str]
    plural: ClassVar[str]

    def __init__(self, client: Client, *, progress: "Progress | None" = None) -> None:
        self.client = client
        self.progress = progress
        self.workspace_path = f"/api/v1/workspaces/{part(client.connection.workspace)}"

    @property
    def path(self) -> str:
        return f"{self.workspace_path}/{self.plural}"

    def at(self, name: str) -> str:
        return f"{self.path}/{part(name)}"

    def _prepared(self, given: "Given", folder: Path | None) -> dict[str, Any]:
        """The body to send: checked, with local paths (from `folder` on, or the current one) uploaded."""
        # imported late: pydantic costs more than all the rest of a list or show
        from ultramarine.sdk.preparation import PREPARE

        body = given if isinstance(given, Mapping) else given.model_dump(mode="json", exclude_unset=True, by_alias=True)
        return PREPARE[self.noun](body, self._uploads(folder))

    def _uploads(self, folder: Path | None) -> "Uploads":
        # imported late: as above
        from ultramarine.sdk.preparation import Uploads

        return Uploads(
            client=self.client, workspace_path=self.workspace_path, folder=folder or Path.cwd(), progress=self.progress
        )


class Named(Collection):
    """Things with a name, one of each."""

    def list(self) -> Iterator[View]:
        return self.client.pages(self.path)

    def get(self, name: str) -> View:
        return self.client.get(self.at(name))

    def create_or_update(self, given: "Given", *, folder: Path | None = None) -> View:
        body = self._prepared(given, folder)
        return self.client.call("PUT", self.at(body["name"]), body)

    def update(self, name: str, changes: Mapping[str, Any]) -> View:
        """Change the fields named, leave the others."""
        return self.client.call("PATCH", self.at(name), dict(changes))

    def delete(self, name: str) -> None:
        """Ask for its end; `wait_gone` waits for it."""
        self.client.call("DELETE", self.at(name))

    def wait_gone(self, name: str, *, timeout_s: float = 300) -> None:
        """Wait until a deleted one is gone."""
        until_gone(lambda: self.get(name), name, timeout_s=timeout_s)


class Versioned(Collection):
    """Assets: named, versioned, never changed."""

    def list(self, name: str = "") -> Iterator[View]:
        """The newest version of each, or every version of one."""
        return self.client.pages(f"{self.at(name)}/versions" if name else self.path)

    def get(self, name: str, version: str = "latest") -> View:
        return self.client.get(self._version(name, version))

    def create_or_update(self, given: "Given", *, folder: Path | None = None) -> View:
        """Register it. Without a version it gets the next number; one that is there must have the same content."""
        body = self._prepared(given, folder)
        name, version = body.get("name"), body.get("version")
        if not name:
            raise InvalidInput(f"The {self.noun} has no name.", hint="Write name: in the file, or give --name NAME.")
        if version is None:
            return self.client.call("POST", f"{self.at(name)}/versions", body)
        return self._put(name, str(version), body)

    def _put(self, name: str, version: str, body: dict[str, Any]) -> View:
        return self.client.call("PUT", self._version(name, version), body)

    def _version(self, name: str, version: str) -> str:
        return f"{self.at(name)}/versions/{part(version)}"


def until_gone(look: Callable[[], View], name: str, *, timeout_s: float) -> None:
    """Look until it is not found any more, or says that it is deleted."""

    def or_gone() -> View:
        try:
            return look()
        except NotFound:
            return {"name": name, "provisioning_state": "Deleted"}

    until(or_gone, lambda view: view["provisioning_state"] == "Deleted", timeout_s=timeout_s)


def until(
    look: Callable[[], View],
    is_over: Callable[[View], bool],
    *,
    timeout_s: float,
    pause_max_s: float = WAIT_MAX_S,
    tell: Callable[[View], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> View:
    """Look again and again, less and less often, until it is over. Raises after `timeout_s`.

    A server that is being started again is waited for; one that stays away is not.
    """
    deadline, pause = time.monotonic() + timeout_s, WAIT_MIN_S
    away_at: float | None = None
    while True:
        try:
            view, away_at = look(), None
        except Unavailable:
            away_at = away_at or time.monotonic()
            if time.monotonic() - away_at > AWAY_MAX_S:
                raise
            sleep(pause)
            continue
        if tell is not None:
            tell(view)
        if is_over(view):
            return view
        if time.monotonic() >= deadline:
            status = view.get("provisioning_state") or view.get("status")
            raise UltramarineError(
                f"{view.get('name')} is still {status} after {timeout_s:g} s.", hint="It goes on; look again with show."
            )
        sleep(pause)
        pause = min(pause * 1.5, pause_max_s)
