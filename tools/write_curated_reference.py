"""Write docs/reference/curated-environments.md from what is shipped; a test holds the page to it."""

# ruff: noqa: E501 (a paragraph is one line)

from collections.abc import Iterator
from pathlib import Path

from ultramarine import curated
from ultramarine.curated import Curated
from ultramarine.domain.azure_environments import OURS, PREFIX
from ultramarine.locks.lock import PLATFORMS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "curated-environments.md"
HEAD = """# Curated environments

Ready-made environments, which every workspace has: `environment: azureml:sklearn@latest`, or `azureml:sklearn:2` for one that never changes. Each is a lock, exact packages with hashes, for the Pythons named, on x86_64 and aarch64 where nothing else is said; an installation has it for one of them. One that an installation's machine cannot have is left out there, and who names it is told why. A later release of Ultramarine may bring a later version; what was made with an earlier one keeps that.
What each is for is tried by `smoke.py` beside its lock. [Your own](../how-to/bring-your-own-environment.md) are made in the same way. This page is made by `tools/write_curated_reference.py`.
"""
BY_ACCELERATOR = "A run that has GPUs (`resources.gpus`, or a whole node with some) gets `cuda`, any other `cpu`; the rest is the same. `um environment show`, `list`, `diff` and `export` tell of `cpu` (`export --accelerator cuda`). [How to use it](../how-to/train-with-pytorch.md)."

AZURES = """## Azure ML's names

In a job or a deployment, a name of one of Azure ML's curated environments stands for ours: as `azureml:AzureML-sklearn-1.5-ubuntu22.04-py39-cpu@latest`, with any version, in capitals or not, or as `azureml://registries/azureml/environments/sklearn-1.5/versions/10`. It is always the newest of ours, and `create` says which one it is. What is in it is of today, with another Python: code that needs the packages of then [brings its own](../how-to/bring-your-own-environment.md), under Azure's name if the file is to stay as it is; that one comes first. The first line that fits counts; others are refused with what there is.
"""


def page() -> str:
    shown = [one for one in curated.load().values() if not one.is_internal]
    return "\n".join([HEAD, *(line for one in shown for line in _section(one)), *_azures()])


def _section(one: Curated) -> Iterator[str]:
    yield f"## `{one.name}`"
    yield ""
    more = f", else the newest of {', '.join(one.pythons)}" if len(one.pythons) > 1 else ""
    where = f"; on {' and '.join(one.platforms)} alone" if len(one.platforms) < len(PLATFORMS) else ""
    yield f"{one.description} Version {one.version}; Python {one.python}{more}{where}."
    yield ""
    if len(one.texts) > 1:
        yield _by_accelerator(one)
        yield ""
    versions = dict(one.lock(python=one.python, platform="linux-x86_64").packages)
    if versions:
        yield f"With Python {one.python}, {len(versions)} packages in all:"
        yield ""
        yield "| package | version |"
        yield "| --- | --- |"
        for name in sorted(one.asked):
            yield f"| {name} | {versions[name]} |"
        yield ""


def _azures() -> Iterator[str]:
    yield AZURES
    yield "| Azure ML's | here |"
    yield "| --- | --- |"
    for pattern, ours in OURS.items():
        yield f"| `{PREFIX}{pattern.replace('*', '…')}` | `{ours}` |"
    yield ""


def _by_accelerator(one: Curated) -> str:
    counts = {lock.accelerator: len(lock.packages) for lock in one.locks((one.python,), platform=one.platforms[0])}
    counted = ", ".join(f"`{accelerator}` ({count} packages)" for accelerator, count in counts.items())
    return f"It has a lock for each of {counted}. {BY_ACCELERATOR}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
