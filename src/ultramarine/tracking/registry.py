"""Registered models and their versions: MLflow's registry, the only one there is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ultramarine.domain.errors import AlreadyExists, NotFound
from ultramarine.tracking.artifacts import ArtifactLocation
from ultramarine.tracking.connection import API, Connection, JsonObject

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
        path = f"{API}/registered-models/search"
        found = await self._pages(workspace, path, "registered_models", order_by="name ASC")
        return tuple(_model(each) for each in found)

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
        quoted = name.replace("'", "''")
        path = f"{API}/model-versions/search"
        found = await self._pages(workspace, path, "model_versions", filter=f"name='{quoted}'")
        return tuple(sorted((_version(each) for each in found), key=lambda version: -version.version))

    async def latest(self, workspace: str, name: str) -> ModelVersion:
        """The newest version. Raises `NotFound` where there is none."""
        model = await self.get(workspace, name)
        if model.latest is None:
            raise NotFound(
                "model", f"{name}@latest", hint=f"It has no version yet. Register one: um model create --name {name}"
            )
        return await self.version(workspace, name, model.latest)

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

    async def _pages(self, workspace: str, path: str, key: str, **params: str) -> list[JsonObject]:
        found: list[JsonObject] = []
        token = ""
        while True:
            query = {"max_results": _PAGE, **params, **({"page_token": token} if token else {})}
            page = await self._connection.get(workspace, path, about=("model", ""), query=query)
            found += page.get(key, [])
            token = page.get("next_page_token", "")
            if not token:
                return found


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
