"""Compute targets."""

from collections.abc import Iterator

from ultramarine.sdk.collection import Named
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
