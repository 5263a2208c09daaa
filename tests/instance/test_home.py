"""The home folder as its owner finds it the first time."""

from pathlib import Path

from ultramarine.sdk import snapshots
from ultramarine_instance import home


def test_a_new_home_keeps_back_what_is_hidden_when_all_of_it_is_a_jobs_code(tmp_path: Path):
    new = tmp_path / "new"
    home.make(new)
    for name in (".ssh/id_ed25519", ".bash_history", "setup/creation.log", "train.py", "src/.env", "src/setup/a.py"):
        new.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        new.joinpath(name).write_text("x")
    sent = {each.path for each in snapshots.take(new, what="code", ignoring=True).entries}
    assert sent == {"train.py", "src/.env", "src/setup/a.py"}


def test_one_that_was_lived_in_is_left_as_it_is(tmp_path: Path):
    tmp_path.joinpath("mine.txt").touch()
    home.make(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]
