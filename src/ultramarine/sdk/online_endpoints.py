"""Online endpoints, and the deployments behind them."""

import http.client
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from ultramarine.domain.errors import Unavailable
from ultramarine.sdk.collection import Collection, Named, until, until_gone
from ultramarine.sdk.http import View, part, with_query
from ultramarine.sdk.problems import error_of

if TYPE_CHECKING:
    from ultramarine.sdk.collection import Given

INVOKE_TIMEOUT_S = 190.0  #: a little more than the longest request_timeout_ms


class ReplicaLog(NamedTuple):
    replica: int | None  #: its number; None where no replica has written anything
    text: str


class OnlineEndpoints(Named):
    noun, plural = "online-endpoint", "online-endpoints"

    def credentials(self, name: str) -> View:
        """`primaryKey` and `secondaryKey`; with `auth_mode: aml_token` an `accessToken`, which is good for a while."""
        return self.client.get(f"{self.at(name)}/credentials")

    def regenerate_keys(self, name: str, *, key_type: str = "primary") -> View:
        return self.client.call("POST", f"{self.at(name)}/regenerate-keys", {"key_type": key_type})

    def invoke(
        self, name: str, body: bytes, *, deployment_name: str = "", content_type: str = "application/json"
    ) -> bytes:
        """Send a request to the endpoint, or to one of its deployments: the answer's bytes."""
        address = urljoin(self.client.connection.url + "/", str(self.get(name)["scoring_uri"]))
        given = self.credentials(name)
        shown = given.get("primaryKey") or given["accessToken"]
        headers = {"Authorization": f"Bearer {shown}", "Content-Type": content_type}
        if deployment_name:
            headers["azureml-model-deployment"] = deployment_name
        return _post(address, body, headers)


class OnlineDeployments(Collection):
    """The deployments of all endpoints of a workspace: each method takes the endpoint's name."""

    noun, plural = "online-deployment", "online-endpoints"

    def _at(self, endpoint: str, name: str = "") -> str:
        return f"{self.at(endpoint)}/deployments" + (f"/{part(name)}" if name else "")

    def list(self, endpoint_name: str) -> Iterator[View]:
        return self.client.pages(self._at(endpoint_name))

    def get(self, name: str, endpoint_name: str) -> View:
        return self.client.get(self._at(endpoint_name, name))

    def create_or_update(self, given: "Given", *, folder: Path | None = None) -> View:
        """Create a deployment, or change it. `wait` waits until it answers."""
        body = self._prepared(given, folder)
        return self.client.call("PUT", self._at(body["endpoint_name"], body["name"]), body)

    def update(self, name: str, endpoint_name: str, changes: Mapping[str, Any]) -> View:
        return self.client.call("PATCH", self._at(endpoint_name, name), dict(changes))

    def delete(self, name: str, endpoint_name: str) -> None:
        self.client.call("DELETE", self._at(endpoint_name, name))

    def rollout(self, name: str, endpoint_name: str, settings: Mapping[str, Any]) -> View:
        """Begin to move traffic to it, step by step: `steps`, `hold`, `min_requests`, `pause_on`."""
        return self.client.call("POST", f"{self._at(endpoint_name, name)}/rollout", dict(settings))

    def last_rollout(self, endpoint_name: str) -> View:
        return self.client.get(f"{self.at(endpoint_name)}/rollout")

    def rollback(self, endpoint_name: str) -> View:
        """The endpoint, with the traffic that it had before."""
        return self.client.call("POST", f"{self.at(endpoint_name)}/rollback")

    def wait_rollout(self, endpoint_name: str, *, timeout_s: float, tell: Callable[[View], None] | None = None) -> View:
        """Until the endpoint's last rollout has ended."""
        return until(
            lambda: self.last_rollout(endpoint_name),
            lambda view: view["status"] != "Running",
            timeout_s=timeout_s,
            tell=tell,
        )

    def logs(self, name: str, endpoint_name: str, *, lines: int = 100, replica: int | None = None) -> str:
        """The last lines that one of its replicas has written: the newest, if none is named."""
        return self.replica_log(name, endpoint_name, lines=lines, replica=replica).text

    def replica_log(self, name: str, endpoint_name: str, *, lines: int = 100, replica: int | None = None) -> ReplicaLog:
        """As `logs`, and of which replica they are."""
        path = with_query(f"{self._at(endpoint_name, name)}/logs", {"tail": lines, "replica": replica})
        with self.client.opened(path) as answer:
            number = answer.headers.get("x-ultramarine-replica")
            return ReplicaLog(None if number is None else int(number), answer.read().decode("utf-8", "replace"))

    def collected(self, name: str, endpoint_name: str, *, collection: str = "") -> Iterator[View]:
        """The files of what its `data_collector` has kept: `path` and `size` of each, by name and time."""
        return self.client.pages(f"{self._at(endpoint_name, name)}/collected", collection=collection)

    def download_collected(
        self, name: str, endpoint_name: str, folder: Path, *, collection: str = ""
    ) -> Iterator[Path]:
        """Write them to `folder/COLLECTION/yyyy/MM/dd/HH`, as far as they go now; gives each file."""
        for file in self.collected(name, endpoint_name, collection=collection):
            parts = str(file["path"]).split("/")
            path = "/".join(part(each) for each in parts)
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                while piece := self.client.send(
                    "GET", f"{self._at(endpoint_name, name)}/collected/{path}?offset={stream.tell()}"
                ):
                    stream.write(piece)
            yield target

    def delete_collected(self, name: str, endpoint_name: str, *, collection: str = "", before: str = "") -> View:
        """Delete what was collected before a time (ISO 8601): how many `files` and `bytes`."""
        query = {"collection": collection, "before": before}
        return self.client.call("DELETE", with_query(f"{self._at(endpoint_name, name)}/collected", query))

    def wait(
        self, name: str, endpoint_name: str, *, timeout_s: float = 900, tell: Callable[[View], None] | None = None
    ) -> View:
        """Until it answers (`Succeeded`) or has failed."""
        return until(
            lambda: self.get(name, endpoint_name),
            lambda view: view["provisioning_state"] in ("Succeeded", "Failed"),
            timeout_s=timeout_s,
            tell=tell,
        )

    def wait_gone(self, name: str, endpoint_name: str, *, timeout_s: float = 300) -> None:
        until_gone(lambda: self.get(name, endpoint_name), name, timeout_s=timeout_s)


def _post(address: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=INVOKE_TIMEOUT_S)
    try:
        connection.request("POST", parts.path + (f"?{parts.query}" if parts.query else ""), body, dict(headers))
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(
            f"The endpoint at {address} does not answer: {error}.", hint="um status shows what runs on this machine."
        ) from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise error_of(answer.status, content, request=f"POST {parts.path}")
    return content
