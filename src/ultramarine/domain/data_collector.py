"""What a deployment keeps of requests and answers: Azure ML's `data_collector`."""

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from ultramarine.domain.spec import Spec

SECRET_HEADERS = frozenset(("authorization", "proxy-authorization", "cookie", "set-cookie"))
_COLLECTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


class Collection(Spec):
    not_yet: ClassVar[frozenset[str]] = frozenset({"data", "client_id"})
    enabled: bool = False
    sampling_rate: float | None = Field(default=None, ge=0, le=1)


class RequestLogging(Spec):
    capture_headers: list[str] = Field(default_factory=list[str], max_length=20)

    @field_validator("capture_headers")
    @classmethod
    def _no_secrets(cls, names: list[str]) -> list[str]:
        for name in names:
            if not _HEADER.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header")
            if name.lower() in SECRET_HEADERS:
                raise ValueError(f"{name} holds a secret, and is never collected")
        return names


class DataCollector(Spec):
    """What of requests and answers is kept, as files."""

    collections: dict[str, Collection] = Field(max_length=10)
    sampling_rate: float = Field(default=1.0, ge=0, le=1)
    rolling_rate: Literal["minute", "hour", "day", "month", "year"] = "hour"
    request_logging: RequestLogging = RequestLogging()

    @field_validator("rolling_rate", mode="before")
    @classmethod
    def _in_any_case(cls, rate: object) -> object:
        return rate.lower() if isinstance(rate, str) else rate

    @field_validator("collections")
    @classmethod
    def _named(cls, collections: dict[str, Collection]) -> dict[str, Collection]:
        """Azure's rule for names; each becomes a folder."""
        for name in collections:
            if not _COLLECTION.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a collection: letters, digits, '_' and '-', a letter first")
        return collections

    @property
    def shares(self) -> dict[str, float]:
        """Of the collections that are enabled, which part of the requests each keeps."""
        return {
            name: self.sampling_rate if each.sampling_rate is None else each.sampling_rate
            for name, each in self.collections.items()
            if each.enabled
        }
