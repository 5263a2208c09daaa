"""What a run collects is shipped as it grows, in whole lines, and deleted once it was."""

import signal
from pathlib import Path

from tests.runner.conftest import World
from tests.runner.control import end_process

from ultramarine_runner import trees

KEY = "e1-d1-1"
HOUR = "model_inputs/2026/11/28/21"
#: Lines of ten numbers in ten files, as the scoring server writes them.
ROLLING = f"""
mkdir -p {{{{collected}}}}/{HOUR} {{{{collected}}}}/request/2026; cd {{{{collected}}}}
for file in 1 2 3 4 5 6 7 8 9; do
  for line in $(seq 1 200); do echo "$file.$line"; done >> {HOUR}/77-00000$file.jsonl
  sleep 0.02
done
echo first >> request/2026/77-000001.jsonl; echo ready; exec sleep 1000
"""


def here(world: World) -> list[str]:
    folder = world.folder / "e1-a-1-0" / "runs" / KEY / "collected"
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*.jsonl"))


def shipped(world: World, collection: str) -> list[str]:
    """The lines, in the files' order."""
    files = sorted(path for _, path in world.control.collected if path.startswith(f"{collection}/"))
    return b"".join(world.control.collected[KEY, path] for path in files).decode().splitlines()


NUMBERS = [f"{file}.{line}" for file in range(1, 10) for line in range(1, 201)]


def test_files_are_shipped_whole_and_in_order_and_only_the_newest_stays(world: World):
    token = world.runner()
    world.go(token, KEY, ROLLING, mode="service", collects=True)
    world.control.wait(lambda: shipped(world, "model_inputs") == NUMBERS, words="all lines")
    world.control.wait(lambda: shipped(world, "request") == ["first"], words="the other collection")
    newest = [f"{HOUR}/77-000009.jsonl", "request/2026/77-000001.jsonl"]
    world.control.wait(lambda: here(world) == newest, words="what was shipped is deleted")


def test_every_line_comes_once_though_the_control_plane_is_away_and_a_third_of_all_answers_is_lost(world: World):
    token = world.runner()
    world.go(token, KEY, ROLLING, mode="service", collects=True, phase="prepare")
    world.control.phase(KEY, "ready")
    world.control.faults.drop = 0.3
    world.go(token, KEY, ROLLING, mode="service", collects=True)
    world.control.wait(lambda: shipped(world, "model_inputs"), words="the first lines")
    world.control.stop()
    world.control.wait(lambda: f"{HOUR}/77-000009.jsonl" in here(world), words="it collects meanwhile")
    world.control.start()
    world.control.wait(lambda: shipped(world, "model_inputs") == NUMBERS, words="all lines, once")


def test_what_a_run_had_collected_when_it_was_killed_is_shipped_but_for_the_line_that_it_was_at(world: World):
    token = world.runner()
    command = (
        f"mkdir -p {{{{collected}}}}/{HOUR}; cd {{{{collected}}}}/{HOUR}; printf 'one\\ntwo\\nthr' > 1-000001.jsonl"
    )
    world.go(token, KEY, f"{command}; echo $$; exec sleep 1000", mode="service", collects=True)
    pid = int(world.control.wait(lambda: world.control.log(KEY), words="its pid"))
    end_process(pid, signal.SIGKILL)
    assert world.control.ended(KEY)["cause"] == "exited"
    assert shipped(world, "model_inputs") == ["one", "two"]
    assert not trees.is_alive(pid)


def test_a_run_that_is_taken_away_while_nobody_answers_is_kept_until_its_lines_are_shipped(world: World):
    token = world.runner()
    command = (
        f"mkdir -p {{{{collected}}}}/{HOUR}; trap 'echo last > {{{{collected}}}}/{HOUR}/1-000001.jsonl; exit' TERM"
    )
    world.go(token, KEY, f"{command}; echo on; while :; do sleep 0.05; done", mode="service", collects=True)
    world.control.wait(lambda: world.control.log(KEY), words="it is on")
    world.control.faults.no_room = True
    world.control.want(token, {KEY: None})
    world.control.wait(lambda: world.control.faults.refused >= 3, words="it is asked again and again")
    world.control.faults.no_room = False
    world.control.wait(lambda: shipped(world, "model_inputs") == ["last"], words="the last line")
    world.control.wait(lambda: not list((world.folder / "e1-a-1-0" / "runs").iterdir()), words="its folder is deleted")


def test_what_is_no_file_of_a_collection_stays_where_it_is(world: World, tmp_path: Path):
    (tmp_path / "secret").write_text("secret\n")
    token = world.runner()
    command = (
        f"mkdir -p {{{{collected}}}}/{HOUR}; cd {{{{collected}}}}; echo x > loose.jsonl; echo x > {HOUR}/other.txt; "
        f"ln -s {tmp_path}/secret {HOUR}/1-000001.jsonl; echo good > {HOUR}/2-000001.jsonl"
    )
    world.go(token, KEY, f"{command}; exec sleep 1000", mode="service", collects=True)
    world.control.wait(lambda: shipped(world, "model_inputs"), words="what is a file of a collection")
    assert {path: bytes(content) for (_, path), content in world.control.collected.items()} == {
        f"{HOUR}/2-000001.jsonl": b"good\n"
    }


def test_of_a_run_that_nobody_knows_nothing_is_kept_and_it_ends_all_the_same(world: World):
    token = world.runner()
    world.control.refused_logs.add(KEY)
    world.go(token, KEY, ROLLING.replace("exec sleep 1000", ""), collects=True)
    assert world.control.ended(KEY)["cause"] == "completed"
    assert world.control.collected == {}
