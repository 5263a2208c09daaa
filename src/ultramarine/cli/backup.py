"""`um backup`, `um restore`: the installation on this machine as one file, and back."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultramarine.cli.command import OK, YES, Call, Command, Group, Option
from ultramarine.cli.installation import DATABASE, HOME, check_server_can_run, choose_database
from ultramarine.domain.errors import InvalidInput
from ultramarine.sdk.connection import DATABASE_URL, home

if TYPE_CHECKING:
    from ultramarine.backup.restoring import Restored
    from ultramarine.backup.writing import Written

FILE = Option("--file -f", "the backup; it may also stand without -f", "path", metavar="FILE", is_bare=True)
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
IN_WORDS = {
    "ultramarine.db": "database",
    "mlflow/mlflow.db": "MLflow's database",
    "postgresql.dump": "database",
    "mlflow.dump": "MLflow's database",
    "files": "code, inputs, outputs, checkpoints, logs",
    "mlflow/artifacts": "MLflow's artifacts",
}


def backup(call: Call) -> int:
    check_server_can_run()
    from ultramarine.backup.writing import write

    folder, file = _home(call), _file(call)
    url = _database_url(call, folder)
    with call.talk.spinning(f"Writing {file}"):
        written = write(folder, file, database_url=url)
    _say(call, written, folder, file)
    _show(
        call,
        {
            "file": str(file),
            "bytes": written.file_bytes,
            "made_at": written.description.made_at,
            "epoch": written.description.epoch,
            "parts": [{"part": part, "files": s.files, "bytes": s.bytes} for part, s in written.sizes.items()],
        },
    )
    return OK


def _say(call: Call, written: "Written", folder: Path, file: Path) -> None:
    say = call.talk.say
    say(f"{folder} is backed up in {file}: {_size(written.file_bytes)}.")
    for part, size in written.sizes.items():
        count = f" in {size.files} files" if size.files > 1 else ""
        say(f"  {IN_WORDS.get(part, part)}: {_size(size.bytes)}{count}")
    say(f"The master key is not in it. Keep a copy elsewhere, once: cp {folder / 'master.key'} SAFE-PLACE")


def restore(call: Call) -> int:
    check_server_can_run()
    from ultramarine.backup.reading import describe
    from ultramarine.backup.restoring import Wanted, is_occupied
    from ultramarine.backup.restoring import restore as bring_back

    folder, file = _home(call), _file(call)
    url = _database_url(call, folder)
    found = describe(file)
    if call.args.replace and is_occupied(folder, url) and not call.args.yes:
        question = (
            f"{folder}{' and its database' if url else ''} goes back to {found.made_at} (from {found.home} on "
            f"{found.host}); what is there now is moved to "
            f"{folder / 'replaced-…'}. Do it?"
        )
        if not call.talk.confirm(question):
            raise InvalidInput("Nothing was restored.", hint="um restore FILE --replace --yes")
    wanted = Wanted(
        replace=call.args.replace,
        master_key=call.args.master_key,
        is_new_key=call.args.new_master_key,
        database_url=url,
    )
    with call.talk.spinning(f"Restoring {file}"):
        restored = bring_back(file, folder, wanted)
    _tell(call, restored, folder)
    kept = None if restored.kept is None else str(restored.kept)
    _show(
        call,
        {"home": str(folder), "made_at": found.made_at, "epoch": restored.epoch, "jobs": found.jobs, "kept": kept},
    )
    return OK


def _tell(call: Call, restored: "Restored", folder: Path) -> None:
    found, say = restored.description, call.talk.say
    say(f"{folder} is as it was at {found.made_at}, in a new epoch, {restored.epoch}.")
    if found.jobs:
        say(
            f"  Jobs that had not ended then: {found.jobs}. They are tried again when no attempt of before can live "
            "any more: lease and margin after the start (315 s, unless set otherwise)."
        )
    if restored.kept is not None:
        say(f"  What was there is in {restored.kept}: remove it when you need it no more.")
    if call.args.new_master_key:
        say(
            "  Endpoint keys were sealed with the master key of before: um online-endpoint regenerate-keys -n NAME, "
            "--key-type primary and secondary."
        )
    say(f"  next: um up -d --home {folder}")


def _home(call: Call) -> Path:
    given: Path | None = call.args.home
    return (given or home()).absolute()


def _file(call: Call) -> Path:
    return call.args.file.absolute()


def _database_url(call: Call, folder: Path) -> str:
    choose_database(call.args.database or "", folder)
    return os.environ.get(DATABASE_URL, "")


def _show(call: Call, made: dict[str, Any]) -> None:
    """For scripts; who reads has been told."""
    if not call.is_table:
        call.show(made)


def _size(count: int) -> str:
    value, unit = float(count), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.3g} {UNITS[unit]}" if unit else f"{count} bytes"


GROUP = Group(
    noun="",
    summary="The installation on this machine.",
    commands=(
        Command(
            name="backup",
            summary="Write the installation into one file, while it runs. The master key is not in it.",
            run=backup,
            needs=("file",),
            options=(FILE, DATABASE, HOME),
            example="um backup ~/backups/ultramarine-monday.tar",
        ),
        Command(
            name="restore",
            summary="Bring an installation back from a backup, in a new epoch, into a home where nothing runs.",
            run=restore,
            needs=("file",),
            options=(
                FILE,
                DATABASE,
                HOME,
                Option("--replace", "move what is in the home aside; asks first", "switch"),
                Option("--master-key", "file with the master key, where the home has none", "path", metavar="KEYFILE"),
                Option("--new-master-key", "the master key is lost; endpoints need new keys then", "switch"),
                YES,
            ),
            example="um restore ~/backups/ultramarine-monday.tar --home ~/restored --master-key ~/safe/master.key",
        ),
    ),
)
