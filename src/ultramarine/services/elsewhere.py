"""Replicas on other machines: how the gateway and they know each other.

Each gets a key of its own and a certificate for the name of its run, by the installation's CA. A run's name is never
given twice, and it is asked for only while the run is in the route table: so the certificate lasts as long as the CA,
and is of no use to who finds it later. The gateway says the secret of the deployment with each request.

Both are made when it is told what a node shall run, reach the node by TLS, and are files of the run there. Neither is
in the database: a certificate is made anew when a server starts (who has one keeps it), and the secret is derived.
"""

from collections.abc import Mapping, Sequence

from ultramarine.domain.host import THIS_MACHINE
from ultramarine.domain.names import ComputeId
from ultramarine.domain.run import Run
from ultramarine.planning.routes import Trust
from ultramarine.services.authority import CA_LASTS
from ultramarine.services.context import Context
from ultramarine.store import computes
from ultramarine.store.database import Tx

CERTIFICATE, SECRET = "tls.pem", "secret"  #: the run's files


async def is_elsewhere(tx: Tx, compute: ComputeId) -> bool:
    """Whether its nodes are machines that the gateway reaches by its network alone."""
    return bool(await computes.of_other_pools(tx, [compute], pool=THIS_MACHINE))


def secret_files(ctx: Context, replica: Run) -> Mapping[str, str]:
    """What a replica listens with, by the names of its files."""
    certificate = ctx.authority().issue([replica.key], now=ctx.clock(), lasts=CA_LASTS)
    return {CERTIFICATE: certificate, SECRET: _secret(ctx, replica)}


async def trust(ctx: Context, tx: Tx, replicas: Sequence[Run]) -> Trust:
    """Of those of them that are elsewhere."""
    far = await computes.of_other_pools(tx, {replica.compute for replica in replicas}, pool=THIS_MACHINE)
    secrets = {replica.owner_id: _secret(ctx, replica) for replica in replicas if replica.compute in far}
    return Trust(ca=ctx.authority().pem if secrets else "", secrets=secrets)


def _secret(ctx: Context, replica: Run) -> str:
    return ctx.secrets.of("replicas", replica.owner_id)
