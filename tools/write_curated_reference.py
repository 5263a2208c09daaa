"""Write docs/reference/curated-environments.md from what is shipped; a test holds the page to it."""

# ruff: noqa: E501 (a paragraph is one line)

from collections.abc import Iterator
from pathlib import Path

from ultramarine import curated
from ultramarine.curated import Curated

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "curated-environments.md"
HEAD = """# Curated environments

Ready-made environments, which every workspace has: `environment: azureml:sklearn@latest`, or `azureml:sklearn:2` for one that never changes. Each is a lock, exact packages with hashes, for x86_64 and aarch64 and the Pythons named; an installation has it for one of them. A later release of Ultramarine may bring a later version; what was made with an earlier one keeps that.
What each is for is tried by `smoke.py` beside its lock. [Your own](../how-to/bring-your-own-environment.md) are made in the same way. This page is made by `tools/write_curated_reference.py`.
"""


def page() -> str:
    shown = [one for one in curated.load().values() if not one.is_internal]
    return "\n".join([HEAD, *(line for one in shown for line in _section(one))])


def _section(one: Curated) -> Iterator[str]:
    yield f"## `{one.name}`"
    yield ""
    yield f"{one.description} Version {one.version}; Python {one.python}, else the newest of {', '.join(one.pythons)}."
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


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
