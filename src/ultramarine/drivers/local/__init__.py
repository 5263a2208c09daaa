"""Compute of kind `local`: runners on this machine."""

from ultramarine.drivers.local.driver import LocalDriver

__all__ = ["LocalDriver"]
