"""Where the machines of clusters and instances come from, as users choose it."""

from typing import Literal

Provider = Literal["local", "ray"]
