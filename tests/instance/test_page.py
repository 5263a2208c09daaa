"""What JupyterLab's page says of its own instance: our script is in it, and asks when the instance stops."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.instance.control import ControlPlane
from tests.instance.running import Instance, until

OFF = "@jupyterlab/apputils-extension:announcements"


@pytest.fixture(autouse=True)
def plane(control: ControlPlane) -> Iterator[ControlPlane]:
    before = control.instance
    yield control
    control.instance, control.is_silent = before, False


def test_our_script_is_in_the_page_and_nobody_is_asked_whether_they_want_news(shared: Instance):
    with shared.client() as client:
        page = client.get("lab").text
        assert OFF in page
        script = client.get("lab/extensions/ultramarine/static/page.js")
        assert script.status_code == 200
        assert "_JUPYTERLAB.ultramarine" in script.text


def test_it_is_told_once_when_it_stops_however_many_pages_ask(shared: Instance, control: ControlPlane):
    control.instance = {"stops_at": (datetime.now(UTC) + timedelta(seconds=200)).isoformat(), "awake_until": None}
    with shared.client() as client:
        until(lambda: client.get("ultramarine/idle").json()["warns"], shared)
        before = len(control.asked)
        told = [client.get("ultramarine/idle").json() for _ in range(3)]
        assert all(0 < one["stops_in_s"] <= 200 for one in told)
        assert len(control.asked) - before <= 1


def test_it_is_kept_up_for_an_hour_by_its_page_and_by_no_other(shared: Instance):
    with shared.client() as client:
        kept = client.post("ultramarine/keep-awake").json()
        assert kept["warns"] is False
        assert 3590 < kept["stops_in_s"] <= 3600
        assert kept["awake_until"]
    with shared.client(Origin="http://elsewhere:1", **{"Sec-Fetch-Site": "cross-site"}) as page:
        assert page.post("ultramarine/keep-awake").status_code in (403, 404)
    with shared.stranger() as stranger:
        assert stranger.get("ultramarine/idle").status_code == 403
        assert stranger.post("ultramarine/keep-awake").status_code == 403


def test_a_control_plane_that_is_silent_is_told_of_in_words(shared: Instance, control: ControlPlane):
    control.is_silent = True
    with shared.client() as client:
        refused = client.post("ultramarine/keep-awake")
        assert refused.status_code == 503
        assert "The control plane does not answer" in refused.json()["message"]
