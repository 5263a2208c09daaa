"""`um token …`"""

from ultramarine.cli.command import YES, Call, Command, Group, Option
from ultramarine.cli.output import Column, ago
from ultramarine.domain.errors import InvalidInput

DAY_S = 86_400
ROLES = ("reader", "data_scientist", "compute_operator", "owner")
COLUMNS = (
    Column("id", "id"),
    Column("subject", "subject"),
    Column("workspace", "workspace"),
    Column("role", "role"),
    Column("age", "created_at", ago),
    Column("expires", "expires_at"),
    Column("revoked", "revoked_at"),
)


def create(call: Call) -> None:
    args = call.args
    if args.expires_in_days is not None and args.expires_in_days < 1:
        raise InvalidInput(f"--expires-in-days {args.expires_in_days} is no time.", hint="Give 1 or more.")
    expires_in_s = None if args.expires_in_days is None else args.expires_in_days * DAY_S
    tokens = call.workspace.tokens
    made = tokens.create(
        args.subject,
        role=args.role,
        workspace="*" if args.every_workspace else call.workspace.name,
        expires_in_s=expires_in_s,
    )
    call.talk.say("This is the only time that the token is shown.")
    call.show(made)


def list_(call: Call) -> None:
    call.show(call.workspace.tokens.list(), COLUMNS)


def delete(call: Call) -> int | None:
    if not (call.args.yes or call.talk.confirm(f"Revoke the token {call.args.id}?")):
        return 1
    call.workspace.tokens.delete(call.args.id)
    call.talk.say(f"Token {call.args.id}: revoked")
    return None


GROUP = Group(
    noun="token",
    summary="Tokens: who may do what.",
    commands=(
        Command(
            name="create",
            summary="Make a token for the workspace, or for all.",
            run=create,
            options=(
                Option("--subject", "whose it is"),
                Option("--role", "what it is good for", choices=ROLES, default="data_scientist"),
                Option("--every-workspace", "good for every workspace", "switch"),
                Option("--expires-in-days", "good for so long; else until it is revoked", "number"),
            ),
            needs=("subject",),
            example="um token create --subject ada --role reader",
        ),
        Command(name="list", summary="List tokens, without their secrets.", run=list_),
        Command(
            name="delete",
            summary="Revoke a token.",
            run=delete,
            options=(Option("--id", "id of the token"), YES),
            needs=("id",),
            example="um token delete --id ID",
        ),
    ),
)
