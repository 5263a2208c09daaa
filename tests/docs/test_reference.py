"""The generated pages say what the code says."""

from types import ModuleType

import pytest
from tools import (
    write_curated_reference,
    write_metrics_reference,
    write_rest_reference,
    write_statuses_reference,
    write_yaml_reference,
)

from ultramarine.domain import allocation, compute, data, endpoint, environment, instance, job, model, run, start_stop
from ultramarine.domain.machine import Machine
from ultramarine.domain.spec import Spec

PAGES = (
    write_curated_reference,
    write_metrics_reference,
    write_rest_reference,
    write_statuses_reference,
    write_yaml_reference,
)
NOUNS = (allocation, compute, data, endpoint, environment, instance, job, model, run, start_stop)
NOT_WRITTEN_BY_USERS = {compute.LocalSpec}


@pytest.mark.parametrize("tool", PAGES, ids=lambda tool: tool.__name__)
def test_the_page_is_current(tool: ModuleType):
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "run: make docs"


def _defined(kind: type) -> list[object]:
    """What the nouns' own modules define of a kind: instances, or subclasses of `Spec`."""
    values = [value for module in NOUNS for value in vars(module).values()]
    if kind is Machine:
        return [value for value in values if isinstance(value, Machine)]
    return [value for value in values if isinstance(value, type) and issubclass(value, Spec) and value is not Spec]


def test_every_transition_table_has_its_diagram():
    shown = [machine for machine, _ in write_statuses_reference.MACHINES.values()]
    defined = _defined(Machine)
    assert defined
    assert [machine for machine in defined if machine not in shown] == []


def test_every_specification_has_its_fields_listed():
    listed = {spec for _, specs in write_yaml_reference.SECTIONS.values() for spec in specs}
    defined = {value for value in _defined(Spec) if isinstance(value, type)}
    assert defined
    assert defined - listed == NOT_WRITTEN_BY_USERS


def test_every_word_about_a_field_is_about_a_field_that_there_is():
    gone = {
        f"{spec.__name__}.{name}"
        for spec, words in write_yaml_reference.WORDS.items()
        for name in words
        if name not in spec.model_fields
    }
    assert gone == set()
