"""Azure ML's curated environments, as YAML files name them, and which of ours stands for each."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from ultramarine.domain.names import Reference

PREFIX = "AzureML-"
#: What a name of theirs looks like behind the prefix, in lower case -> ours. The first that fits counts.
OURS: Mapping[str, str] = {
    "acpt-pytorch-*": "pytorch",
    "pytorch-*": "pytorch",
    "minimal*inference*": "inference",
    "sklearn-*inference*": "inference",
    "onnxruntime-*": "inference",
    "minimal*": "minimal",
    "sklearn-*": "sklearn",
    "scikit-learn-*": "sklearn",
    "xgboost-*": "sklearn",
    "lightgbm-*": "sklearn",
    "mlflow-*": "sklearn",
}
_IN_REGISTRY = re.compile(
    r"azureml://registries/azureml/environments/([A-Za-z0-9][A-Za-z0-9._-]*)/(?:versions|labels)/[A-Za-z0-9._-]+"
)


def environment_reference(text: str, *, field: str) -> Reference:
    """As `Reference.parse`. What is in Azure ML's registry is `AzureML-NAME`: its versions are none of ours."""
    if (found := _IN_REGISTRY.fullmatch(text)) is not None:
        return Reference(PREFIX + found[1])
    return Reference.parse(text, field=field)


def is_azures(name: str) -> bool:
    return name.lower().startswith(PREFIX.lower())


def ours_for(name: str) -> str | None:
    """The curated environment that stands for Azure's of this name."""
    bare = name.lower().removeprefix(PREFIX.lower())
    return next((ours for pattern, ours in OURS.items() if fnmatchcase(bare, pattern)), None)
