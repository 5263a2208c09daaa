"""Workspace names as MLflow takes them: its rule is narrower than ours."""

import hashlib
import re

_TAKEN_BY_MLFLOW = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])")
_RESERVED = frozenset({"workspaces", "api", "ajax-api", "static-files"})
_HASHED = "x-"


def workspace_in_mlflow(name: str) -> str:
    """The name itself where MLflow takes it, else one made of its hash; two names never meet.

    Names that begin like a hashed one are hashed too.
    """
    if _TAKEN_BY_MLFLOW.fullmatch(name) and name not in _RESERVED and not name.startswith(_HASHED):
        return name
    return _HASHED + hashlib.sha256(name.encode()).hexdigest()[:40]
