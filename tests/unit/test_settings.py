from pathlib import Path

import pytest
from pydantic import ValidationError

from ultramarine.settings import SIZE_ALIASES, SIZES, Settings, SizeSetting


def test_settings_come_from_variables_with_our_prefix(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ULTRAMARINE_PORT", "9000")
    monkeypatch.setenv("ULTRAMARINE_SIZES", '{"Big": {"cpus": 64, "memory_gib": 256}}')
    settings = Settings()
    assert settings.port == 9000
    assert settings.size_catalogue()["big"] == SizeSetting(cpus=64, memory_gib=256)


def test_a_value_that_cannot_be_is_refused_with_the_settings_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ULTRAMARINE_PORT", "70000")
    with pytest.raises(ValidationError, match="port"):
        Settings()


def test_every_azure_name_means_a_size_of_the_catalogue():
    assert set(SIZE_ALIASES.values()) == set(SIZES)
    assert SIZE_ALIASES["STANDARD_DS3_V2"] == "cpu-4"
    assert SIZE_ALIASES["STANDARD_NC6S_V3"] == "gpu-1"


def test_an_alias_for_an_unknown_size_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"STANDARD_X names the size huge; known: cpu-1"):
        Settings(size_aliases={"standard_x": "huge"}).size_alias_catalogue()


def test_settings_of_ones_own_stand_in_place_of_ours():
    settings = Settings(sizes={"cpu-1": SizeSetting(cpus=1, memory_gib=3)})
    assert settings.size_catalogue()["cpu-1"].memory_gib == 3


def test_a_ray_is_our_own_or_anothers():
    with pytest.raises(ValueError, match="set one"):
        Settings(ray_head="10.0.0.1:6379", ray_address="10.0.0.2:6379")


def test_machines_are_brought_to_a_ray_of_our_own_alone():
    with pytest.raises(ValueError, match="ULTRAMARINE_RAY_HEAD"):
        Settings(ray_provider=Path("machines.yml"))
