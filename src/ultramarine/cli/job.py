"""`um job …`"""

from collections.abc import Mapping

from ultramarine.cli.command import FILE, NAME, SET, Call, Command, Group, Option, of_one
from ultramarine.cli.output import Column, ago, bare, used
from ultramarine.cli.resource import document
from ultramarine.cli.stream import follow
from ultramarine.domain.errors import InvalidInput

STREAM = Option("--stream -s", "follow it: its log on stdout, its status on stderr, its end as the exit code", "switch")
COLUMNS = (
    Column("name", "name"),
    Column("status", "status"),
    Column("experiment", "experiment_name"),
    Column("compute", "compute", bare),
    Column("age", "created_at", ago),
    Column("reason", "reason"),
)
CREATE = (FILE, SET, NAME, STREAM)


def create(call: Call) -> int | None:
    body, folder = document(call, CREATE)
    job = call.workspace.jobs.create(body, folder=folder)
    call.talk.note(job)
    if not call.args.stream:
        call.show(job)
        if call.is_table:
            call.talk.say(f"  next: um job stream -n {job['name']}")
        return None
    call.talk.say(f"Job {job['name']}: {job['status']}")
    return follow(call, job)


def show(call: Call) -> None:
    job = call.workspace.jobs.get(call.args.name)
    if call.is_table:
        ranks: Mapping[str, Mapping[str, Mapping[str, float]]] = job.get("usage") or {}
        job = {**job, "usage": {f"rank {rank}": used(use["now"], use["peak"]) for rank, use in ranks.items()}}
    call.show(job)


def list_(call: Call) -> None:
    args = call.args
    if args.max_results < 1:
        raise InvalidInput(f"--max-results {args.max_results} is none.", hint="Give 1 or more.")
    rows = call.workspace.jobs.list(
        status=args.status or "", experiment_name=args.experiment_name or "", limit=args.max_results
    )
    call.show(rows, COLUMNS)


def stream(call: Call) -> int:
    return follow(call, call.workspace.jobs.get(call.args.name))


def cancel(call: Call) -> None:
    call.show(call.workspace.jobs.cancel(call.args.name))


def explain(call: Call) -> None:
    call.show(call.workspace.jobs.explain(call.args.name))


def timeline(call: Call) -> None:
    columns = (
        Column("attempt", "attempt"),
        Column("status", "status"),
        Column("began", "began_at"),
        Column("seconds", "seconds"),
        Column("reason", "reason"),
    )
    call.show(call.workspace.jobs.timeline(call.args.name), columns)


def events(call: Call) -> None:
    columns = (Column("at", "at"), Column("event", "event"), Column("status", "status"), Column("reason", "reason"))
    call.show(call.workspace.jobs.events(call.args.name), columns)


def download(call: Call) -> None:
    folder = call.args.download_path / call.args.name
    jobs, name, output_name = call.workspace.jobs, call.args.name, call.args.output_name or ""
    if call.args.checkpoint and output_name:
        raise InvalidInput("--checkpoint and --output-name are two things.", hint="Give one, then the other.")
    files = (
        jobs.download_checkpoint(name, folder)
        if call.args.checkpoint
        else jobs.download(name, folder, output_name=output_name)
    )
    count = 0
    for file in files:
        call.talk.say(f"  {file}")
        count += 1
    call.talk.say(f"{count} file{'s' * (count != 1)} in {folder}")


GROUP = Group(
    noun="job",
    summary="Jobs: work that ends by itself.",
    commands=(
        Command(
            name="create",
            summary="Create a job from a YAML file.",
            run=create,
            options=CREATE,
            example="um job create -f job.yml --stream",
        ),
        Command(
            name="list",
            summary="List jobs, the newest first.",
            run=list_,
            options=(
                Option("--status", "only those in this status"),
                Option("--experiment-name", "only those of this experiment"),
                Option("--max-results -r", "at most so many", "number", default=100),
            ),
            example="um job list --status Running",
        ),
        of_one("job", "show", "Show a job.", run=show),
        of_one("job", "stream", "Follow a job's log until it ends.", run=stream),
        of_one("job", "cancel", "Ask a job to stop.", run=cancel),
        of_one("job", "explain", "Say why a job waits and what would let it start, or why it failed.", run=explain),
        of_one("job", "timeline", "Show where a job's time went, attempt by attempt.", run=timeline),
        of_one("job", "events", "Show what has happened to a job.", run=events),
        Command(
            name="download",
            summary="Download what a job has written, and its logs.",
            run=download,
            options=(
                NAME,
                Option("--download-path -p", "folder; a folder named like the job is made in it", "path", default="."),
                Option("--output-name", "this output alone"),
                Option("--checkpoint", "what it has kept last in its checkpoint folder, alone", "switch"),
            ),
            needs=("name",),
            example="um job download -n NAME -p results",
        ),
    ),
)
