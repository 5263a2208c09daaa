"""The standard library is whole, and nothing else is there."""

import ctypes  # noqa: F401
import importlib.metadata
import sqlite3  # noqa: F401
import ssl  # noqa: F401
import sys

assert sys.prefix != sys.base_prefix, "not in an environment of its own"
assert not list(importlib.metadata.distributions()), "something is installed"
