"""Rules for every session: in CI nothing is skipped, and no process that tests started is left over.

With `--dist loadfile` one worker does all tests of a file, and all that `TOGETHER` keeps together.
"""

import os
import secrets
import time
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

#: What takes turns, though it is in several files, by how their paths begin.
TOGETHER = {
    "runners": ("tests/runner/",),  # all wait for one lock: their keys are the same
    "rays": ("tests/contracts/", "tests/e2e/computes/", "tests/e2e/test_fleet"),  # two of them starve each other
}
SESSION = "ULTRAMARINE_TEST_SESSION"
ENDING_S = 5.0  #: what was told to end at a session's end may take this long
IN_CI = os.environ.get("CI") == "true"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # a worker of xdist watches nothing: its controller does
        os.environ[SESSION] = secrets.token_hex(8)
        config.pluginmanager.register(Watch(), "ultramarine-watch")


class ByFile(LoadScopeScheduling):
    """Says which tests one worker does, one after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return next((name for name, paths in TOGETHER.items() if nodeid.startswith(paths)), nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that may take long come first: at the end no worker shall have one of them while another has none left."""
    limits_s: dict[Path, float] = {}
    for item in items:
        limits_s[item.path] = max(limits_s.get(item.path, 0.0), limit_s(item))
    items.sort(key=lambda item: limits_s[item.path], reverse=True)


def limit_s(item: pytest.Item) -> float:
    marked = item.get_closest_marker("timeout")
    return float(marked.args[0]) if marked else 0.0


class Watch:
    """Counts what was skipped, looks for what was left."""

    def __init__(self) -> None:
        self._skipped: list[str] = []
        self._left: list[str] = []
        self._before = ours(any_session=IN_CI)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped.append(f"{report.nodeid}: {reason(report)}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._skipped.append(f"{report.nodeid}: {reason(report)}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        deadline = time.monotonic() + ENDING_S
        while (left := ours(any_session=IN_CI) - self._before) and time.monotonic() < deadline:
            time.sleep(0.1)
        self._left = [described(pid) for pid in sorted(left)]
        if (self._left or (IN_CI and self._skipped)) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for title, lines in (
            ("skipped, which CI does not allow", self._skipped if IN_CI else []),
            ("processes left over by the tests", self._left),
        ):
            if lines:
                terminalreporter.section(title, red=True)
                for line in lines:
                    terminalreporter.line(line)


def ours(*, any_session: bool) -> set[int]:
    """Living processes with this session's mark in their environment; with `any_session`, with any name of ours.

    Elsewhere than in CI other installations may live on the machine, and are none of this session's business.
    """
    mark = b"ULTRAMARINE_" if any_session else f"{SESSION}={os.environ[SESSION]}".encode()
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = any(part.startswith(mark) for part in (folder / "environ").read_bytes().split(b"\0"))
            state = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        except OSError:
            continue  # it ended, or belongs to somebody else
        if marked and state not in "ZX":
            found.add(int(folder.name))
    return found - {os.getpid()}


def described(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        words = "(ended meanwhile)"
    return f"{pid}: {words[:200]}"


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped, in the words of whoever skipped it."""
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
