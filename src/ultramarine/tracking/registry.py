"""Registered models and their versions: MLflow's registry, the only one there is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ultramarine.domain.errors import AlreadyExists, NotFound
from ultramarine.domain.page import Page, PageRequest
from ultramarine.tracking.artifacts import ArtifactLocation
from ultramarine.tracking.connection import API, Connection, JsonObject

T = TypeVar("T")
_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A name under which versions are kept."""

    name: str
    description: str
    tags: Mapping[str, str]
    created_at_ms: int
    latest: int | None  #: its newest version, if it has any


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One registered set of files."""

    name: str
    version: int
    location: ArtifactLocation
    description: str
    tags: Mapping[str, str]
    created_at_ms: int
    status: str  #: READY, PENDING_REGISTRATION or FAILED_REGISTRATION


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """What a version is made from."""

    location: ArtifactLocation
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


class Registry:
    """Each call is for one workspace, by its name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def models(self, workspace: str) -> tuple[RegisteredModel, ...]:
        """All, by name."""
        return await _every(lambda request: self.model_page(workspace, request))

    async def get(self, workspace: str, name: str) -> RegisteredModel:
        """Raises `NotFound`."""
        found = await self._connection.get(
            workspace, f"{API}/registered-models/get", about=("model", name), query={"name": name}
        )
        return _model(found["registered_model"])

    async def create(self, workspace: str, name: str, *, description: str = "") -> None:
        """Make the name. Raises `AlreadyExists`."""
        body = {"name": name, "description": description}
        await self._connection.send(
            "POST", workspace, f"{API}/registered-models/create", about=("model", name), body=body
        )

    async def ensure(self, workspace: str, name: str) -> None:
        """Make the name unless it is there."""
        try:
            await self.get(workspace, name)
        except NotFound:
            try:
                await self.create(workspace, name)
            except AlreadyExists:  # somebody was faster
                pass

    async def delete(self, workspace: str, name: str) -> None:
        """The name and all its versions; the files stay with their run. Raises `NotFound`."""
        path = f"{API}/registered-models/delete"
        await self._connection.send("DELETE", workspace, path, about=("model", name), body={"name": name})

    async def create_version(self, workspace: str, name: str, new: NewVersion) -> ModelVersion:
        """The next version; MLflow numbers them from 1. Raises `NotFound` without the name or the source's run."""
        body: JsonObject = {
            "name": name,
            "source": new.location.uri,
            "description": new.description,
            "tags": [{"key": key, "value": value} for key, value in new.tags.items()],
        }
        if new.location.model_id:  # MLflow checks the source against one of the two
            body["model_id"] = new.location.model_id
        elif new.location.run_id:
            body["run_id"] = new.location.run_id
        made = await self._connection.send(
            "POST", workspace, f"{API}/model-versions/create", about=("model", name), body=body
        )
        return _version(made["model_version"])

    async def version(self, workspace: str, name: str, version: int) -> ModelVersion:
        """Raises `NotFound`."""
        path, about = f"{API}/model-versions/get", ("model", f"{name}:{version}")
        found = await self._connection.get(workspace, path, about=about, query={"name": name, "version": version})
        return _version(found["model_version"])

    async def versions(self, workspace: str, name: str) -> tuple[ModelVersion, ...]:
        """All versions of a name, the newest first; none where there is no such name."""
        return await _every(lambda request: self.version_page(workspace, name, request))

    async def delete_version(self, workspace: str, name: str, version: int) -> None:
        """Its number is not given again. Raises `NotFound`."""
        path, body = f"{API}/model-versions/delete", {"name": name, "version": str(version)}
        await self._connection.send("DELETE", workspace, path, about=("model", f"{name}:{version}"), body=body)

    async def describe_version(self, workspace: str, name: str, version: int, *, description: str) -> None:
        path, body = f"{API}/model-versions/update", {"name": name, "version": str(version), "description": description}
        await self._connection.send("PATCH", workspace, path, about=("model", f"{name}:{version}"), body=body)

    async def set_version_tags(
        self, workspace: str, name: str, version: int, *, tags: Mapping[str, str | None]
    ) -> None:
        """Set each tag; None takes it away."""
        about = ("model", f"{name}:{version}")
        for key, value in tags.items():
            body = {"name": name, "version": str(version), "key": key}
            if value is None:
                await self._connection.send(
                    "DELETE", workspace, f"{API}/model-versions/delete-tag", about=about, body=body
                )
            else:
                body["value"] = value
                await self._connection.send("POST", workspace, f"{API}/model-versions/set-tag", about=about, body=body)

    async def set_tags(self, workspace: str, name: str, *, tags: Mapping[str, str]) -> None:
        """Tags of the name itself."""
        for key, value in tags.items():
            path, body = f"{API}/registered-models/set-tag", {"name": name, "key": key, "value": value}
            await self._connection.send("POST", workspace, path, about=("model", name), body=body)

    async def model_page(self, workspace: str, request: PageRequest) -> Page[RegisteredModel]:
        """By name. The cursors are MLflow's own."""
        path = f"{API}/registered-models/search"
        found = await self._page(workspace, path, request, order_by="name ASC")
        return Page(rows=[_model(each) for each in found.get("registered_models", [])], next=_next(found))

    async def version_page(self, workspace: str, name: str, request: PageRequest) -> Page[ModelVersion]:
        """Of one name, the newest first; none where there is no such name."""
        path, quoted = f"{API}/model-versions/search", name.replace("'", "''")
        found = await self._page(workspace, path, request, filter=f"name='{quoted}'", order_by="version_number DESC")
        return Page(rows=[_version(each) for each in found.get("model_versions", [])], next=_next(found))

    async def _page(self, workspace: str, path: str, request: PageRequest, **params: str) -> JsonObject:
        query = {"max_results": request.limit, **params} | ({"page_token": request.after} if request.after else {})
        return await self._connection.get(workspace, path, about=("model", ""), query=query)


async def _every(page: Callable[[PageRequest], Awaitable[Page[T]]]) -> tuple[T, ...]:
    found: list[T] = []
    after = ""
    while True:
        one = await page(PageRequest(after=after, limit=_PAGE))
        found += one.rows
        if one.next is None:
            return tuple(found)
        after = one.next


def _next(page: JsonObject) -> str | None:
    return page.get("next_page_token") or None


def _tags(thing: JsonObject) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in thing.get("tags", [])}


def _model(model: JsonObject) -> RegisteredModel:
    versions = [int(version["version"]) for version in model.get("latest_versions", [])]
    return RegisteredModel(
        name=model["name"],
        description=model.get("description", ""),
        tags=_tags(model),
        created_at_ms=int(model["creation_timestamp"]),
        latest=max(versions, default=None),
    )


def _version(version: JsonObject) -> ModelVersion:
    location = ArtifactLocation(
        uri=version["source"], run_id=version.get("run_id") or None, model_id=version.get("model_id") or None
    )
    return ModelVersion(
        name=version["name"],
        version=int(version["version"]),
        location=location,
        description=version.get("description", ""),
        tags=_tags(version),
        created_at_ms=int(version["creation_timestamp"]),
        status=version.get("status", ""),
    )
