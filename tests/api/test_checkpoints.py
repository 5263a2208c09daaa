"""The checkpoint of a job over REST, and what runners say of it."""

from typing import Any

import pytest
from tests.api.conftest import Api

from ultramarine.services import nodes
from ultramarine.store import jobs, runs

W = "/api/v1/workspaces/w"
SNAPSHOT = "a" * 64


async def test_a_job_shows_its_newest_checkpoint_and_one_without_says_where_to_write(api: Api, job: Any) -> None:
    await api.ask("PUT", f"{W}/jobs/j", json=job())
    assert (await api.ask("GET", f"{W}/jobs/j")).json()["checkpoint"] is None
    none = await api.ask("GET", f"{W}/jobs/j/checkpoint")
    assert none.status_code == 404
    assert "$ULTRAMARINE_CHECKPOINT_DIR" in none.json()["hint"]
    async with api.ctx.begin() as tx:
        run = await runs.newest(tx, (await jobs.get(tx, "w", "j")).id)
        await runs.keep_checkpoints(tx, {run.key: SNAPSHOT})
    assert (await api.ask("GET", f"{W}/jobs/j")).json()["checkpoint"] == SNAPSHOT
    found = await api.ask("GET", f"{W}/jobs/j/checkpoint", token="reader")
    assert (found.status_code, found.json()) == (200, {"snapshot": SNAPSHOT, "kind": "uri_folder"})
    assert (await api.ask("GET", f"{W}/jobs/none/checkpoint")).status_code == 404
    assert (await api.ask("GET", f"{W}/jobs/j/checkpoint", token="other")).status_code == 403


async def test_an_output_named_checkpoint_is_another_thing(api: Api, job: Any) -> None:
    body = job(outputs={"checkpoint": {"type": "uri_folder"}})
    assert (await api.ask("PUT", f"{W}/jobs/j", json=body)).status_code == 201
    assert (await api.ask("GET", f"{W}/jobs/j/outputs")).json() == {}
    assert (await api.ask("GET", f"{W}/jobs/j")).json()["outputs"]["checkpoint"]["type"] == "uri_folder"


@pytest.mark.parametrize("told", [None, "", "../../etc/passwd", "A" * 64])
def test_what_is_no_hash_is_no_checkpoint(told: str | None) -> None:
    said = nodes.Reported.model_validate({"phase": "running", "checkpoint": {"snapshot": told, "problem": "x" * 900}})
    assert said.report().checkpoint.snapshot is None
    assert len(said.report().checkpoint.problem) == 500


def test_a_runner_that_says_nothing_of_checkpoints_has_none() -> None:
    for more in ("", ', "checkpoint": {}'):
        report = nodes.Reported.model_validate_json(f'{{"phase": "running"{more}}}').report()
        assert (report.checkpoint.snapshot, report.checkpoint.problem) == (None, "")
