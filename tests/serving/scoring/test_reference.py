"""docs/reference/scoring.md names what there is."""

from __future__ import annotations

import re

import pytest
from tests.serving.scoring.conftest import StartScript
from tests.serving.scoring.environment import ROOT

from ultramarine_serving.scoring import options

PAGE = (ROOT / "docs" / "reference" / "scoring.md").read_text()


def test_every_option_is_in_the_reference(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        options.read(["--help"])
    there = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert {option for option in there if f"`{option}`" not in PAGE} == set()
    assert set(re.findall(r"`(--[a-z-]+)`", PAGE)) == there


def test_every_route_is_in_the_reference(start_script: StartScript):
    server = start_script("def init():\n    pass\ndef run(raw_data):\n    pass\n").wait_until_ready()
    known = server.get("/nothing").json["hint"].removeprefix("Known: ").rstrip(".").split(", ")
    assert "/score" in known
    assert [route for route in known if f"`{route}`" not in PAGE] == []
