"""Compute targets."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ultramarine.sdk.collection import Named, until
from ultramarine.sdk.http import View, with_query

_ENDED = ("Stopped", "SetupFailed", "Unusable")
LOOK_S = 0.2  #: somebody sits before it, and it is a matter of seconds


class Computes(Named):
    noun, plural = "compute", "computes"

    def update(self, name: str, changes: Mapping[str, Any], *, folder: Path | None = None) -> View:
        """Change the fields named, leave the others; files of set-up scripts (from `folder` on) are uploaded."""
        if changes.get("setup_scripts") is not None:
            # imported late: pydantic costs more than all the rest of another change
            from ultramarine.sdk.preparation import with_scripts_sent

            changes = with_scripts_sent(changes, self._uploads(folder))
        return super().update(name, changes)

    def connect(self, name: str, *, application: str | None = None) -> str:
        """A link, good once and for a minute, that signs your browser in to an instance of yours.

        It leads to JupyterLab, or to the custom application of that name.
        """
        path = with_query(f"{self.at(name)}/connect", {"application": application})
        return str(self.client.call("POST", path)["url"])

    def start(self, name: str) -> View:
        """Start an instance; `wait_up` waits until it answers."""
        return self.client.call("POST", f"{self.at(name)}/start")

    def stop(self, name: str) -> View:
        """Stop an instance: its kernels and terminals end, its home folder stays."""
        return self.client.call("POST", f"{self.at(name)}/stop")

    def restart(self, name: str) -> View:
        return self.client.call("POST", f"{self.at(name)}/restart")

    def resize(self, name: str, size: str) -> View:
        """Give an instance a machine of another size; one that is up ends and comes back."""
        return self.client.call("POST", f"{self.at(name)}/resize", {"size": size})

    def keep_awake(self, name: str, *, hours: float) -> View:
        """Let an instance not stop for want of use before so many hours from now; 0 takes that back."""
        return self.client.call("POST", f"{self.at(name)}/keep-awake", {"hours": hours})

    def wait_up(self, name: str, *, timeout_s: float = 600, tell: Callable[[View], None] | None = None) -> View:
        """Until an instance answers, or cannot: look at its `state`."""
        return self._wait(name, ("Running", *_ENDED), timeout_s=timeout_s, tell=tell)

    def wait_stopped(self, name: str, *, timeout_s: float = 600, tell: Callable[[View], None] | None = None) -> View:
        return self._wait(name, _ENDED, timeout_s=timeout_s, tell=tell)

    def _wait(
        self, name: str, states: tuple[str, ...], *, timeout_s: float, tell: Callable[[View], None] | None
    ) -> View:
        return until(
            lambda: self.get(name),
            lambda view: view["state"] in states,
            timeout_s=timeout_s,
            pause_max_s=LOOK_S,
            tell=tell,
        )

    def explain(self, name: str) -> View:
        """Why each of its nodes is kept, made or removed, and who waits first."""
        return self.client.get(f"{self.at(name)}/explain")

    def nodes(self, name: str) -> Iterator[View]:
        return self.client.pages(f"{self.at(name)}/nodes")

    def sizes(self) -> Iterator[View]:
        """The catalogue of sizes, with whether this machine has room for each."""
        return self.client.pages(f"{self.workspace_path}/compute-sizes")

    def usage(self) -> Iterator[View]:
        """Of each host, what is promised and what it has."""
        return self.client.pages(f"{self.workspace_path}/compute-usage")
