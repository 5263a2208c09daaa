"""`um notebook …`"""

from pathlib import Path
from typing import Any

from ultramarine.cli.command import Call, Command, Group, Option, of_one
from ultramarine.cli.entering import NO_BROWSER, hand_over
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
    call.talk.say(f"  next: um notebook show -n {job['name']}")
    return code


def show(call: Call) -> None:
    """Its page: a link for a browser, or the file."""
    jobs, name = call.workspace.jobs, call.args.name
    if call.args.file is None:
        hand_over(call, jobs.show_page(name), opens=not call.args.no_browser)
        return
    page, file = jobs.page(name), call.args.file
    try:
        file.write_bytes(page)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}.", hint="Name another file.") from None
    call.talk.say(f"  {file}")


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
    summary="Notebooks: run as jobs, and shown as pages.",
    commands=(
        Command(
            name="run",
            summary="Run a notebook as a job; the executed one is the job's output.",
            run=run,
            options=RUN,
            needs=("file",),
            example="um notebook run train.ipynb --compute local --param depth=3",
        ),
        of_one(
            "notebook",
            "show",
            "Show what a notebook's job has made of it, as a page in the browser, signed in.",
            run=show,
            more=(Option("--file -f", "write the page to a file instead", "path", metavar="FILE.html"), NO_BROWSER),
        ),
    ),
)
