"""The Python client: `Workspace.connect()`, then `.jobs`, `.computes`, `.models` …; sync, and light to import."""

from ultramarine.sdk.workspace import Workspace

__all__ = ["Workspace"]
