"""The standard library is whole, and nothing else is there."""

import importlib.metadata
import sys
import ctypes  # noqa: F401
import sqlite3  # noqa: F401
import ssl  # noqa: F401

assert sys.prefix != sys.base_prefix, "not in an environment of its own"
assert not list(importlib.metadata.distributions()), "something is installed"
