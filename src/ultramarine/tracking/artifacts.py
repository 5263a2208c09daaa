"""Files that MLflow keeps: of runs, and of the models that runs logged."""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from ultramarine.domain.errors import InvalidInput
from ultramarine.tracking.connection import FILES, Connection

SCHEME = "mlflow-artifacts:"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """One entry; `path` is relative to the location that was listed."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactLocation:
    """A concrete folder or file of MLflow's artifacts; `uri` begins with `mlflow-artifacts:/`."""

    uri: str
    run_id: str | None = None
    model_id: str | None = None  #: set when it is (in) a logged model rather than among the run's own artifacts

    def __truediv__(self, path: str) -> "ArtifactLocation":
        return replace(self, uri=f"{self.uri.rstrip('/')}/{path.strip('/')}") if path.strip("/") else self

    @property
    def path(self) -> str:
        """As the server's file routes name it."""
        if not self.uri.startswith(f"{SCHEME}/"):
            raise InvalidInput(
                f"{self.uri!r} is kept outside of MLflow's own artifacts.",
                hint="Log or register the files through this server.",
            )
        return self.uri.removeprefix(SCHEME).lstrip("/")


class Artifacts:
    """List, read and write, each in a workspace."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def entries(
        self, workspace: str, location: ArtifactLocation
    ) -> tuple[tuple[ArtifactFile, ...], tuple[str, ...]]:
        """The files and the folder names directly in a folder; both empty where there is none."""
        about = ("artifact", location.uri)
        found = await self._connection.get(workspace, FILES, about=about, query={"path": location.path})
        listed = found.get("files", [])
        files = tuple(
            ArtifactFile(path=f["path"], size_bytes=int(f.get("file_size", 0))) for f in listed if not f.get("is_dir")
        )
        return files, tuple(f["path"] for f in listed if f.get("is_dir"))

    async def files(self, workspace: str, location: ArtifactLocation) -> tuple[ArtifactFile, ...]:
        """Every file under a folder, sorted by path."""
        found: list[ArtifactFile] = []
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            files, folders = await self.entries(workspace, location / folder)
            found += [replace(file, path=_joined(folder, file.path)) for file in files]
            waiting += [_joined(folder, name) for name in folders]
        return tuple(sorted(found, key=lambda file: file.path))

    async def download(self, workspace: str, location: ArtifactLocation) -> AsyncIterator[bytes]:
        """The bytes of one file, in pieces of at most 1 MiB."""
        about = ("artifact", location.uri)
        async with self._connection.get_file(workspace, _route(location), about=about) as response:
            async for piece in response.aiter_bytes(_CHUNK_BYTES):
                yield piece

    async def upload(self, workspace: str, location: ArtifactLocation, content: AsyncIterable[bytes]) -> None:
        """Write one file; readers see the old one, or none, until it is whole.

        Raises `InvalidInput` for a name that MLflow would change: it decodes `%41` to `A`.
        """
        if unquote(location.path) != location.path:
            raise InvalidInput(f"{location.path!r} holds an escape ('%' and two hex digits).", hint="Rename the file.")
        await self._connection.put_file(workspace, _route(location), content, about=("artifact", location.uri))


def _route(location: ArtifactLocation) -> str:
    return f"{FILES}/{quote(location.path)}"


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
