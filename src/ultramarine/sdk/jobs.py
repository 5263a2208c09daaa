"""Jobs: created, followed, canceled, and what they have left."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultramarine.domain.errors import InvalidInput
from ultramarine.sdk.collection import Named
from ultramarine.sdk.http import View, part
from ultramarine.sdk.names import job_name
from ultramarine.sdk.sse import Event

if TYPE_CHECKING:
    from ultramarine.sdk.collection import Given


class Jobs(Named):
    noun, plural = "job", "jobs"

    def list(self, *, status: str = "", experiment_name: str = "", limit: int | None = None) -> Iterator[View]:
        """The newest first, at most `limit` of them."""
        return self.client.pages(self.path, status=status, experiment_name=experiment_name, limit=limit)

    def create_or_update(self, given: "Given", *, folder: Path | None = None) -> View:
        """Create a job; one without a name gets one. The same again under its name is the same job."""
        body = self._prepared(given, folder)
        name = body.setdefault("name", job_name())
        return self.client.call("PUT", self.at(name), body)

    create = create_or_update

    def cancel(self, name: str) -> View:
        return self.client.call("POST", f"{self.at(name)}/cancel")

    def explain(self, name: str) -> View:
        """Why it waits, or why it failed."""
        return self.client.get(f"{self.at(name)}/explain")

    def timeline(self, name: str) -> Iterator[View]:
        """How long each attempt was in each status."""
        return self.client.pages(f"{self.at(name)}/timeline")

    def events(self, name: str) -> Iterator[View]:
        return self.client.pages(f"{self.at(name)}/events")

    def stream(self, name: str) -> Iterator[Event]:
        """`status` and `log` events as they happen, at last `end`; over broken connections, each line once."""
        for event in self.client.events(f"{self.at(name)}/stream"):
            yield event
            if event.kind == "end":
                return

    def logs(self, name: str) -> Iterator[View]:
        """Of each attempt and rank, which log files there are."""
        return self.client.pages(f"{self.at(name)}/logs")

    def log(self, name: str, *, attempt: int, rank: str, file: str) -> Iterator[bytes]:
        """The bytes of one log, piece by piece, as far as it goes now."""
        offset, path = 0, f"{self.at(name)}/logs/{attempt}/{part(rank)}/{part(file)}"
        while piece := self.client.send("GET", f"{path}?offset={offset}"):
            offset += len(piece)
            yield piece

    def page(self, name: str) -> bytes:
        """The page of an executed notebook, HTML, in which nothing acts."""
        return self.client.send("GET", f"{self.at(name)}/page")

    def show_page(self, name: str) -> str:
        """A link, good once and for a minute, that shows that page in a browser."""
        return str(self.client.call("POST", f"{self.at(name)}/page")["url"])

    def outputs(self, name: str) -> dict[str, Any]:
        """By name, the snapshot and kind of what the job has written."""
        return self.client.get(f"{self.at(name)}/outputs")

    def download_checkpoint(self, name: str, folder: Path) -> Iterator[Path]:
        """Write what the job has kept last in its checkpoint folder to `folder/checkpoint`; gives each file."""
        # imported late: see Collection._prepared
        from ultramarine.sdk.snapshots import download

        snapshot = self.client.get(f"{self.at(name)}/checkpoint")["snapshot"]
        yield from download(self.client, self.workspace_path, snapshot, folder=folder / "checkpoint")

    def download(self, name: str, folder: Path, *, output_name: str = "") -> Iterator[Path]:
        """Write its outputs to `folder/named-outputs`, its logs to `folder/logs`, or one output; gives each file."""
        # imported late: see Collection._prepared
        from ultramarine.sdk.snapshots import download

        outputs = self.outputs(name)
        if output_name and output_name not in outputs:
            raise InvalidInput(
                f"Job {name} has no output {output_name!r}. It has: {', '.join(outputs) or 'none'}.",
                hint=f"um job show -n {name}",
            )
        for each in [output_name] if output_name else outputs:
            yield from download(
                self.client, self.workspace_path, outputs[each]["snapshot"], folder=folder / "named-outputs" / each
            )
        for log in () if output_name else self.logs(name):
            target = (
                folder
                / "logs"
                / f"attempt-{log['attempt']}"
                / f"rank-{log['rank']}"
                / str(log["file"]).replace("/", "_")
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                stream.writelines(self.log(name, attempt=log["attempt"], rank=log["rank"], file=log["file"]))
            yield target
