"""Our scoring server beside its peers, in one run on one machine, and the table that is kept.

    .venv/bin/python -m benchmarks.serving [--quick] [--keep] [--servers ours,mlserver] [--models forest] …

One row of 30 numbers a request, to a forest of 100 trees, a linear pipeline and a small network. Peers are installed
from locks into a cache folder. The load comes from `wrk` (Debian: apt-get install wrk), on loopback. A machine's noise
is fair only to servers that are measured in turn: each round asks every server, in another order each time.
`--keep` writes the table into benchmarks/RESULTS.md and each round's figures beside it.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import kept, measure
from benchmarks.measure import Series, number
from benchmarks.serving import installing
from benchmarks.serving.contenders import CONTENDERS, MODELS, served_folder
from benchmarks.serving.running import Seen, prepare, seen
from ultramarine.drivers import pyz

PART = "scoring servers"
RAW = Path(__file__).with_name("figures.json")
Rounds = dict[tuple[str, str], list[Seen]]  # by model and server

#: The least that is asked of us at 64 connections and more: times the best peer's requests.
GOALS = {"forest": 10.0, "linear": 20.0}
ECHO_SHARE = 0.5


def main() -> int:
    """Measure, print, and return 1 when a server answered anything but success."""
    given = _arguments()
    if shutil.which("wrk") is None:
        print("wrk is not installed. On Debian: apt-get install wrk", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    found = _measured(given)
    connections: list[int] = given.connections
    text = f"{measure.when_and_where(load)}\n\n{table(found, connections)}\n\n{compared(found, connections)}"
    print(text)
    if given.keep:
        kept.keep(PART, text)
        raw = [
            {"model": model, "server": server, "rounds": [asdict(one) for one in rounds]}
            for (model, server), rounds in found.items()
        ]
        RAW.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    return 1 if any(_failed(rounds) for rounds in found.values()) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: that it works")
    parser.add_argument("--keep", action="store_true", help=f"write the table into {kept.RESULTS.name}")
    parser.add_argument("--seconds", type=int, default=5, help="of load at each number of connections")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--connections", type=_numbers, default=[1, 16, 64, 256])
    parser.add_argument("--models", type=_words, default=list(MODELS))
    parser.add_argument("--servers", type=_words, default=[one.name for one in CONTENDERS], help="names, by commas")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ultramarine-benchmarks")
    given = parser.parse_args()
    if given.quick:
        given.seconds, given.rounds, given.connections = 2, 1, [1, 64]
    return given


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _measured(given: argparse.Namespace) -> Rounds:
    chosen = [one for one in CONTENDERS if one.name in given.servers]
    cache: Path = given.cache.absolute()
    environments = {name: installing.environment(cache, name) for name in {one.environment for one in chosen} - {""}}
    found: Rounds = {(model, one.name): [] for model in given.models for one in chosen}
    with tempfile.TemporaryDirectory(prefix="um-bench-") as made:
        work = Path(made)
        names = {"zip": str(pyz.serving(work)), "cache": str(work / "forms")}
        names |= {"site": str(installing.site(cache, "serving")), "onnx": str(installing.site(cache, "onnx"))}
        for turn in range(given.rounds):
            for model in given.models:
                for one in chosen if turn % 2 == 0 else reversed(chosen):
                    own = environments.get(one.environment) or next(iter(environments.values()))
                    at = {**names, "bin": str(own / "env" / "bin"), "row": str(own / "models" / "row.json")}
                    folder = served_folder(work, own / "models", one, model)
                    if turn == 0:
                        prepare(one, folder, at)
                    figures = seen(one, folder, at, connections=given.connections, seconds=given.seconds)
                    found[model, one.name].append(figures)
                    print(f"round {turn + 1}: {model}, {one.name}", file=sys.stderr, flush=True)
    return found


def table(found: Rounds, connections: Sequence[int]) -> str:
    """One line a model and server; the start is the last round's, when all is in the machine's memory."""
    head = [
        "model",
        "server",
        "start s",
        "PSS MB",
        *(f"{count}: req/s · p50 · p99 ms · CPU µs" for count in connections),
    ]
    lines = [head, ["---"] * len(head)]
    for (model, server), rounds in found.items():
        start, memory = rounds[-1].start_s, Series([one.pss_mb for one in rounds]).median
        cells = [_cell(rounds, count) for count in connections]
        failed = f" ({_failed(rounds)} FAILED)" if _failed(rounds) else ""
        lines.append([model, f"{server}{failed}", number(start), number(memory), *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(rounds: Sequence[Seen], count: int) -> str:
    figures = [one.figures[count] for one in rounds]
    rate = str(Series([one.rate for one in figures], "")).replace(" (", "(").replace("  ", " ")
    rest = [Series([getattr(one, name) for one in figures]).median for name in ("p50_ms", "p99_ms", "cpu_us")]
    return " · ".join([rate, *map(number, rest)])


def compared(found: Rounds, connections: Sequence[int]) -> str:
    """Ours beside the best peer, round by round, and beside the echo."""
    rows: list[measure.Row] = []
    peers = {one.name for one in CONTENDERS if one.is_peer}
    for model in dict.fromkeys(model for model, _ in found):
        of_model = {server: rounds for (one, server), rounds in found.items() if one == model}
        for count in connections:
            rates = {server: _rates(rounds, count) for server, rounds in of_model.items()}
            best = max((one for one in rates if one in peers), key=lambda one: Series(rates[one]).median, default=None)
            for ours in (one for one in ("ours", "ours ONNX") if one in rates):
                goal = GOALS.get(model) if count >= 64 and ours == "ours" else None
                if best is not None:
                    rows.append(_row(f"{model}, {ours}, {count} connections", rates[ours], best, rates[best], goal))
            if "ours ONNX" in rates and "echo" in rates:
                what = f"{model}, ours ONNX, {count} connections"
                rows.append(_row(what, rates["ours ONNX"], "echo", rates["echo"], ECHO_SHARE))
    return measure.table(rows)


def _row(what: str, ours: Sequence[float], peer: str, beside: Sequence[float], goal: float | None) -> measure.Row:
    # A peer that refused all of a round is no measure in that one.
    ratio = Series([mine / theirs for mine, theirs in zip(ours, beside, strict=True) if theirs > 0], "×")
    return measure.Row(
        what=what,
        figure=f"{Series(ours, '/s')}",
        beside=f"{peer} {Series(beside, '/s')}",
        ratio=str(ratio),
        goal="" if goal is None else f"≥ {number(goal)}×",
        is_met=None if goal is None else ratio.median >= goal,
    )


def _rates(rounds: Sequence[Seen], count: int) -> list[float]:
    return [one.figures[count].rate for one in rounds]


def _failed(rounds: Sequence[Seen]) -> int:
    return sum(figure.failed for one in rounds for figure in one.figures.values())


if __name__ == "__main__":
    sys.exit(main())
