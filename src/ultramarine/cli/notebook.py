"""`um notebook …`"""

from pathlib import Path
from typing import Any

from ultramarine.cli.command import Call, Command, Group, Option
from ultramarine.cli.stream import follow
from ultramarine.domain.errors import InvalidInput

ENVIRONMENT = "azureml:sklearn@latest"
PARAMETER = Option(
    "--param -p", "set a parameter, e.g. --param depth=3; may be given again", "many", metavar="NAME=VALUE"
)
RUN = (
    Option("--file -f", "the notebook", "path", metavar="FILE.ipynb", is_bare=True, is_required=True),
    Option("--compute", "where it runs", default="local", field="compute"),
    PARAMETER,
    Option("--environment", "where its kernel runs", default=ENVIRONMENT, field="environment"),
    Option("--name -n", "name of the job", field="name"),
    Option("--experiment-name", "the job's experiment", field="experiment_name"),
    Option("--no-wait", "do not follow it", "switch"),
)


def run(call: Call) -> int | None:
    """The notebook's folder goes along as the job's code."""
    body = body_of(call.args)
    job = call.workspace.jobs.create(body, folder=Path.cwd())
    call.talk.note(job)
    if call.args.no_wait:
        call.show(job)
        return None
    call.talk.say(f"Job {job['name']}: {job['status']}")
    code = follow(call, job)
    call.talk.say(f"  next: um job download -n {job['name']} --output-name notebook")
    return code


def body_of(args: Any) -> dict[str, Any]:
    # imported late: only commands that read values need YAML
    from ultramarine.sdk.documents import apply

    notebook = Path(args.file).expanduser()
    if not notebook.is_file():
        raise InvalidInput(f"{notebook} is no file.", hint="Name a notebook: um notebook run train.ipynb")
    body: dict[str, Any] = {"parameters": {}}
    for each in args.param or ():
        name, equals, value = each.partition("=")
        if not equals or not name.strip().isidentifier():
            raise InvalidInput(f"--param {each}: it is no NAME=VALUE.", hint="Example: --param depth=3")
        apply(body, f"parameters.{name.strip()}={value}")
    chosen = {"name": args.name, "experiment_name": args.experiment_name}
    return {
        **body,
        "notebook": notebook.name,
        "code": str(notebook.absolute().parent),
        "compute": args.compute,
        "environment": args.environment,
        "display_name": notebook.name,
        **{field: value for field, value in chosen.items() if value},
    }


GROUP = Group(
    noun="notebook",
    summary="Notebooks: run as jobs.",
    commands=(
        Command(
            name="run",
            summary="Run a notebook as a job; the executed one is the job's output.",
            run=run,
            options=RUN,
            needs=("file",),
            example="um notebook run train.ipynb --compute local --param depth=3",
        ),
    ),
)
