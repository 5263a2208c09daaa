"""Write docs/reference/settings.md from `ultramarine.settings`; a test holds the page to it."""

from collections.abc import Iterator
from pathlib import Path

from pydantic_core import PydanticUndefined

from ultramarine.settings import SIZE_ALIASES, SIZES, Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"
DEFAULTS_IN_WORDS = {
    "home": "the user's data folder",
    "cache": "`HOME/cache`, and `HOME/mlflow` for MLflow's environment",
    "second_port": "the one after `ULTRAMARINE_PORT`",
    "instances_port": "the one after both of them",
    "sizes": "none",
    "size_aliases": "none",
    "database_url": "empty",
}


def page() -> str:
    return "\n".join([*_settings(), *_sizes(), ""])


def _settings() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield "Environment variables of the server. The page is made by `tools/write_settings_reference.py`."
    yield ""
    yield "What an option of `um up` says goes before the variable, and the variable before the default."
    for name, field in Settings.model_fields.items():
        yield ""
        yield f"## `ULTRAMARINE_{name.upper()}`"
        yield ""
        yield f"{field.description} Default: {_default(name, field.default)}."


def _default(name: str, value: object) -> str:
    if (words := DEFAULTS_IN_WORDS.get(name)) is not None:
        return words
    assert value is not PydanticUndefined, f"say the default of {name} in words"
    return f"`{value}`"


def _sizes() -> Iterator[str]:
    yield ""
    yield "## The catalogue of sizes"
    yield ""
    yield 'A native size must fit the machine. A name of Azure\'s means "up to": the largest that fits, up to it.'
    yield ""
    yield "| size | CPUs | memory | GPUs | Azure's names (`STANDARD_…`, in any case) |"
    yield "|---|---|---|---|---|"
    for name, size in SIZES.items():
        aliases = ", ".join(alias.removeprefix("STANDARD_") for alias, meant in SIZE_ALIASES.items() if meant == name)
        yield f"| `{name}` | {size.cpus:g} | {size.memory_gib:g} GiB | {size.gpus} | {aliases} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
