"""`um environment …`"""

import sys

from ultramarine.cli import asset
from ultramarine.cli.command import FAILED, FILE, NAME, NO_WAIT, OK, SET, VERSION, Call, Command, Group, Option, of_one
from ultramarine.cli.output import Column
from ultramarine.cli.resource import document, named
from ultramarine.cli.stream import follow
from ultramarine.domain.environment import Accelerator
from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.packages import FORMATS, differences, exported

DIGITS = 12  #: of a digest, as people compare them
WRITTEN = (
    Option("--conda-file -c", "conda file", "path", metavar="FILE", field="conda_file"),
    Option("--requirements", "requirements file, as pip takes it", "path", metavar="FILE", field="requirements"),
)
CREATE = (FILE, SET, NAME, asset.NEW_VERSION, *WRITTEN, NO_WAIT)
CHECK = (
    FILE,
    SET,
    Option("--name -n", "one that is there, in place of a file: by what the index has today", is_bare=True),
    VERSION,
    *WRITTEN,
)
DIFFERENCES = (Column("package", "package"), Column("before", "before"), Column("after", "after"))
COLUMNS = (
    Column("name", "name"),
    Column("version", "version"),
    Column("status", "status"),
    Column("python", "python"),
    Column("packages", "packages"),
    Column("digest", "digest", read=lambda digest: str(digest or "")[:DIGITS]),
    Column("curated", "is_curated"),
    Column("reason", "reason"),
)


def create(call: Call) -> int | None:
    body, folder = document(call, CREATE)
    environments = call.workspace.environments
    made = environments.create_or_update(body, folder=folder)
    name, version = str(made["name"]), str(made["version"])
    if made["status"] == "Resolving" and not call.args.no_wait:
        with call.talk.spinning(f"Environment {name}:{version}: resolving its packages"):
            made = environments.wait(name, version)
    if made["status"] != "Failed":
        call.show(made)
        return None
    if not call.is_table:
        call.show(made)
    call.talk.problem(
        f"Environment {name}:{version} cannot be made: {made['reason']}",
        hint="Correct the requirements and create it again.",
    )
    return FAILED


def check(call: Call) -> int | None:
    """Of a name: of what was wanted for it, by what the index has today."""
    environments = call.workspace.environments
    if call.args.name:
        there = environments.get(*named(call.args.name, call.args.version))
        body = {field: there[field] for field in ("conda_file", "requirements", "python") if field in there}
        folder = None
    else:
        body, folder = document(call, CHECK)
    with call.talk.spinning("Looking for packages that fit together"):
        found = environments.check(body, folder=folder)
    if not call.is_table:
        call.show({key: value for key, value in found.items() if key != "lock"})
        return None
    for warning in found["warnings"]:
        call.talk.say(f"Note: {warning}")
    count = len(found["packages"])
    call.talk.say(f"It can be made: {count} packages for Python {found['python']}, digest {found['digest'][:DIGITS]}.")
    return None


def build(call: Call) -> int:
    """By a job that does nothing else: what jobs, notebooks and replicas find there afterwards is the very same."""
    name, version = named(call.args.name, call.args.version)
    environment = call.workspace.environments.get(name, version)
    body = {
        "display_name": f"build of {name}:{environment['version']}",
        "experiment_name": "environment-builds",
        "command": "true",
        "environment": f"azureml:{name}:{environment['version']}",
        "compute": call.args.compute,
    }
    job = call.workspace.jobs.create(body)
    if call.args.no_wait:
        call.show(job)
        return OK
    call.talk.say(f"Job {job['name']} builds {name}:{environment['version']}.")
    if (code := follow(call, job)) == OK:
        digest = str(environment.get("digest") or "")[:DIGITS]
        call.talk.say(f"{name}:{environment['version']} is there, digest {digest}.")
    return code


def diff(call: Call) -> None:
    before, after = (
        call.workspace.environments.lock(*named(each, "latest")) for each in (call.args.name, call.args.to)
    )
    found = differences(*({one["name"]: one["version"] for one in each["packages"]} for each in (before, after)))
    rows = [{"package": each.package, "before": each.before, "after": each.after} for each in found]
    if before["python"] != after["python"]:
        rows.insert(0, {"package": "python", "before": before["python"], "after": after["python"]})
    call.show(rows, DIFFERENCES)
    if not call.is_table:
        return
    digests = [each["digest"][:DIGITS] for each in (before, after)]
    if before["digest"] == after["digest"]:
        call.talk.say(f"They are the same: digest {digests[0]}.")
    elif not rows:
        call.talk.say(f"The versions are the same, the files are not: digests {digests[0]} and {digests[1]}.")


def show(call: Call) -> None:
    found = call.workspace.environments.get(*named(call.args.name, call.args.version))
    call.show(found)
    if call.is_table and "accelerators" in found:
        which = f"There is one for each of {', '.join(found['accelerators'])}: what a run has decides"
        call.talk.say(f"{which}. The digest above is that of {found['name']} on a CPU.")


def export(call: Call) -> None:
    name, version = named(call.args.name, call.args.version)
    found = call.workspace.environments.lock(name, version, accelerator=call.args.accelerator)
    if len(found["accelerators"]) > 1:
        which = f"{found['name']} is one for each of {', '.join(found['accelerators'])}"
        call.talk.say(f"{which}; this is that for {found['accelerator']} (--accelerator).")
    packages = {one["name"]: one["version"] for one in found["packages"]}
    text = exported(call.args.format, name=found["name"], python=found["python"], packages=packages, lock=found["lock"])
    if call.args.file is None:
        sys.stdout.write(text)
        return
    try:
        call.args.file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"{call.args.file} cannot be written: {error.strerror}.", hint="Name another file."
        ) from None
    call.talk.say(f"{call.args.file}: {len(packages)} packages")


GROUP = Group(
    noun="environment",
    summary="Environments: what is installed where work runs.",
    commands=(
        Command(
            name="create",
            summary="Create an environment from a YAML, conda or requirements file.",
            run=create,
            options=CREATE,
            example="um environment create -f environment.yml",
        ),
        asset.listing(
            lambda workspace: workspace.environments,
            "List environments, the curated ones too; with a name, its versions.",
            COLUMNS,
        ),
        of_one("environment", "show", "Show an environment.", run=show, more=(VERSION,)),
        Command(
            name="check",
            summary="Say whether an environment could be made, before it is: of a file, or of one that is there.",
            run=check,
            options=CHECK,
            example="um environment check -f environment.yml",
        ),
        Command(
            name="build",
            summary="Have an environment built where work runs, and follow that; then nothing waits for it.",
            run=build,
            options=(
                NAME,
                VERSION,
                Option("--compute", "the cluster on one of whose nodes it is built", default="local"),
                Option("--no-wait", "do not follow it", "switch"),
            ),
            needs=("name",),
            example="um environment build -n sklearn",
        ),
        Command(
            name="diff",
            summary="Show which packages differ between two environments.",
            run=diff,
            options=(NAME, Option("--to", "the other one, as name:version", is_required=True)),
            needs=("name", "to"),
            example="um environment diff sklearn:1 --to prices:2",
        ),
        Command(
            name="export",
            summary="Write an environment as a file of another tool.",
            run=export,
            options=(
                NAME,
                VERSION,
                Option(
                    "--format",
                    "requirements with hashes, a conda file, or a Dockerfile",
                    choices=FORMATS,
                    default=FORMATS[0],
                ),
                Option(
                    "--accelerator",
                    "of a curated environment that has a lock for each: which one",
                    choices=tuple(Accelerator),
                    default=Accelerator.CPU,
                ),
                Option("--file -f", "the file to write; else it is printed", "path", metavar="FILE"),
            ),
            needs=("name",),
            example="um environment export -n sklearn --format conda -f conda.yml",
        ),
    ),
)
