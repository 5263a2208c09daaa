"""Ultramarine: managed machine learning on your own machines."""

import sys

__version__ = "0.1.0"

if sys.version_info < (3, 11):
    raise ImportError(
        f"ultramarine needs Python 3.11 or newer, and this is Python {sys.version_info[0]}.{sys.version_info[1]}. In a "
        "compute instance, `!um` and MLflow work here all the same; for `import ultramarine` choose a kernel with a "
        "newer Python."
    )
