"""The programs behind the one door of a compute instance on another machine, as its CONNECT names them."""

from __future__ import annotations

JUPYTERLAB = "jupyterlab:0"  #: no application has that port


def application(name: str, port: int) -> str:
    """One that runs beside it."""
    return f"{name}:{port}"
