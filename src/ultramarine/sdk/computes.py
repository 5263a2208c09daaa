"""Compute targets."""

from collections.abc import Iterator

from ultramarine.domain.errors import NotFound
from ultramarine.sdk.collection import Named, until
from ultramarine.sdk.http import View


class Computes(Named):
    noun, plural = "compute", "computes"

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

    def wait_gone(self, name: str, *, timeout_s: float = 300) -> None:
        """Wait until a deleted compute is gone."""

        def look() -> View:
            try:
                return self.get(name)
            except NotFound:
                return {"name": name, "provisioning_state": "Deleted"}

        until(look, lambda view: view["provisioning_state"] == "Deleted", timeout_s=timeout_s)
