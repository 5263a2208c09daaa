"""JupyterLab says that its instance is about to stop for want of use, keeps it by a click, says when it has stopped."""

import json
from pathlib import Path

import pytest

from .browser import Lab, browsing, needs_chromium
from .installation import SIZES, installed, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_chromium]
DESK = {"cpus": 0.5, "memory_gib": 1.0}
BODY = {"name": "mine", "type": "computeinstance", "size": "desk", "idle_time_before_shutdown_minutes": 2}


def test_who_is_warned_keeps_the_instance_up_by_a_click_and_sees_when_it_has_stopped(cache: Path, tmp_path: Path):
    sizes = json.dumps({**SIZES, "desk": DESK})
    with installed(cache, ULTRAMARINE_SIZES=sizes) as it, browsing(tmp_path) as screen:
        it.up()
        computes = it.workspace.computes
        computes.create_or_update(BODY)
        computes.wait_up("mine")
        lab = Lab(screen)
        lab.enter(computes.connect("mine"))

        warned = screen.page.locator(".Toastify__toast", has_text="Nobody uses this instance: it stops in")
        warned.wait_for()
        screen.picture("idle")
        assert computes.get("mine")["instance"]["stops_at"]
        warned.get_by_role("button", name="Keep it up for an hour").click()
        screen.page.locator(".Toastify__toast", has_text="This instance stays up until").wait_for()
        screen.picture("kept")
        until(lambda: not warned.count(), "the warning has gone")
        assert computes.get("mine")["instance"]["awake_until"]

        computes.stop("mine")
        gone = screen.page.locator(".Toastify__toast", has_text="um compute start -n mine starts it")
        gone.wait_for()
        screen.picture("stopped")
        computes.start("mine")
        until(lambda: not gone.count(), "it is up again", seconds=60)
        assert screen.errors == []
