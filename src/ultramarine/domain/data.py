"""Data assets: registered, versioned files and folders."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from ultramarine.domain.spec import Spec

#: What a client writes in place of a local path, once its files are uploaded: `snapshot:<sha256 of the manifest>`.
SNAPSHOT = "snapshot:"


class DataSpec(Spec):
    not_yet: ClassVar[frozenset[str]] = frozenset({"auto_delete_setting", "datastore"})
    name: str
    version: str | None = Field(default=None, coerce_numbers_to_str=True)
    type: Literal["uri_file", "uri_folder"] = "uri_folder"
    path: str
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class DataAsset:
    workspace: str
    name: str
    version: str
    spec: DataSpec
    snapshot: str  #: sha256 of the manifest
    size_bytes: int
    created_at: datetime
