"""What is beyond one workspace: workspaces, tokens, events, the state of the whole."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ultramarine.sdk.collection import Collection, until_gone
from ultramarine.sdk.http import Client, View, part, with_query
from ultramarine.sdk.sse import Event


class Workspaces:
    path: ClassVar[str] = "/api/v1/workspaces"

    def __init__(self, client: Client) -> None:
        self.client = client

    def list(self) -> Iterator[View]:
        return self.client.pages(self.path)

    def get(self, name: str) -> View:
        return self.client.get(f"{self.path}/{part(name)}")

    def create_or_update(self, name: str, **fields: Any) -> View:
        """Fields: `description`, `tags`, `quota` (of `nodes`, `cpus`, `gpus`)."""
        return self.client.call("PUT", f"{self.path}/{part(name)}", fields)

    def update(self, name: str, changes: Mapping[str, Any]) -> View:
        return self.client.call("PATCH", f"{self.path}/{part(name)}", dict(changes))

    def delete(self, name: str) -> None:
        """Ask for its end, which is refused while anything lives in it; `wait_gone` waits for it."""
        self.client.call("DELETE", f"{self.path}/{part(name)}")

    def wait_gone(self, name: str, *, timeout_s: float = 300) -> None:
        until_gone(lambda: self.get(name), name, timeout_s=timeout_s)


class Tokens:
    path: ClassVar[str] = "/api/v1/tokens"

    def __init__(self, client: Client) -> None:
        self.client = client

    def create(self, subject: str, *, role: str, workspace: str, expires_in_s: int | None = None) -> View:
        """Make a token; its secret is in `token` of this answer, and never shown again. `workspace` may be `*`."""
        body: dict[str, Any] = {"subject": subject, "role": role, "workspace": workspace}
        return self.client.call(
            "POST", self.path, body if expires_in_s is None else body | {"expires_in_s": expires_in_s}
        )

    def list(self) -> Iterator[View]:
        return self.client.pages(self.path)

    def delete(self, id: str) -> None:
        """Revoke it."""
        self.client.call("DELETE", f"{self.path}/{part(id)}")


class Events(Collection):
    noun, plural = "event", "events"

    def list(self, *, noun: str = "", name: str = "", after: int | None = None) -> Iterator[View]:
        """Every move of anything in the workspace, the oldest first, from event `after` on."""
        return self.client.pages(self.path, noun=noun, name=name, after=after)

    def stream(self, *, noun: str = "", after: int | None = None) -> Iterator[Event]:
        """The same, as they happen, without end."""
        return self.client.events(with_query(f"{self.path}/stream", {"noun": noun, "after": after}))


class Installation:
    def __init__(self, client: Client) -> None:
        self.client = client

    def status(self) -> View:
        """What runs, over all workspaces."""
        return self.client.get("/api/v1/status")

    def trace(self) -> Any:
        """The scheduler's last turns, with all that they rested on."""
        return self.client.get("/api/v1/scheduler/trace")

    def replay(self, trace: Any = None) -> Any:
        """Each turn of a trace (else the last ones) decided again, with whether it comes out alike."""
        return self.client.call("POST", "/api/v1/scheduler/replay", trace)["value"]

    def leftovers(self) -> Iterator[View]:
        """Machines that no row knows, and rows whose machines no driver knows."""
        return self.client.pages("/api/v1/leftovers")

    def login_link(self, path: str, *, workspace: str) -> str:
        """A link, good once and for a minute, that signs a browser in to the second origin and leads to `path`."""
        return str(self.client.call("POST", "/api/v1/login-codes", {"path": path, "workspace": workspace})["url"])

    def drain(self) -> View:
        """Ask everything to end and take no new work: what is left. Ask again until nothing is."""
        return self.client.call("POST", "/api/v1/drain", {"cancel": True})
