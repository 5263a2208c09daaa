"""Replicas and compute instances on other machines: how the gateway and they know each other.

Each gets a key of its own and a certificate for the name of its run, by the installation's CA. A run's name is never
given twice, and it is asked for only while the run is in the route table: so the certificate lasts as long as the CA,
and is of no use to who finds it later. The gateway says the secret of the deployment with each request, and that of an
instance to its door.

Both are made when it is told what a node shall run, reach the node by TLS, and are files of the run there. Neither is
in the database: a certificate is made anew when a server starts (who has one keeps it), and the secret is derived.
"""

from collections.abc import Mapping, Sequence

from ultramarine.domain.host import THIS_MACHINE
from ultramarine.domain.names import ComputeId
from ultramarine.domain.run import OwnerNoun, Run
from ultramarine.planning.routes import Trust
from ultramarine.services.authority import CA_LASTS
from ultramarine.services.context import Context
from ultramarine.store import computes
from ultramarine.store.database import Tx

CERTIFICATE, SECRET = "tls.pem", "secret"  #: the run's files


async def is_elsewhere(tx: Tx, compute: ComputeId) -> bool:
    """Whether its nodes are machines that the gateway reaches by its network alone."""
    return bool(await computes.of_other_pools(tx, [compute], pool=THIS_MACHINE))


def secret_files(ctx: Context, run: Run) -> Mapping[str, str]:
    """What it listens with, by the names of its files."""
    certificate = ctx.authority().issue([run.key], now=ctx.clock(), lasts=CA_LASTS)
    return {CERTIFICATE: certificate, SECRET: secret_of(ctx, run)}


async def trust(ctx: Context, tx: Tx, runs: Sequence[Run]) -> Trust:
    """Of those of them that are elsewhere."""
    far = await computes.of_other_pools(tx, {run.compute for run in runs}, pool=THIS_MACHINE)
    secrets = {run.owner_id: secret_of(ctx, run) for run in runs if run.compute in far}
    return Trust(ca=ctx.authority().pem if secrets else "", secrets=secrets)


def secret_of(ctx: Context, run: Run) -> str:
    """What the gateway says to a replica or an instance, wherever it is; nobody else knows it."""
    return ctx.secrets.of("instances" if run.owner_noun is OwnerNoun.INSTANCE else "replicas", run.owner_id)
