"""Whether deployments are as they are wanted: in the rows, in what really runs, and in what each gateway was told."""

import sqlalchemy as sa
from tests.simulation.world import World

from ultramarine.domain.endpoint import DeploymentStatus
from ultramarine.domain.run import RunStatus
from ultramarine.store import tables as t


def unsettled(world: World) -> list[str]:
    """What is not so yet, in words. A deployment that has failed before it had ever come up has no replicas.

    Those whose model is here do not need MLflow.
    """
    with world.db.engine.connect() as connection:
        there = connection.execute(sa.select(t.deployments).where(t.deployments.c.status != "Deleted")).all()
        runs = connection.execute(sa.select(t.runs).where(t.runs.c.is_open, t.runs.c.mode == "service")).all()
    found: list[str] = []
    for deployment in there:
        if world.is_mlflow_away and not deployment.serving:
            continue  # it waits for its model
        is_given_up = deployment.status == DeploymentStatus.FAILED and not deployment.came_up
        follows = deployment.spec.get("scale_settings", {}).get("type") == "target_utilization"
        asked = deployment.replicas_wanted if follows else deployment.spec["instance_count"]
        wanted = 0 if is_given_up else asked
        its = {run.key: run.status for run in runs if run.owner_id == deployment.id}
        is_at_rest = is_given_up or deployment.status == DeploymentStatus.SUCCEEDED
        if not is_at_rest or list(its.values()) != [RunStatus.RUNNING] * wanted:
            found.append(f"{deployment.name} is {deployment.status}, wants {wanted} and has {its}")
    ours = sorted(run.key for run in runs)
    alive = sorted(run.key for run in world.alive() if not run.is_task)
    routed = [sorted(server.gateway.routes()) for server in world.servers]
    if alive != ours:
        found.append(f"{alive} live, and {ours} are ours")
    return found + [f"a gateway sends requests to {keys}, and {ours} are ours" for keys in routed if keys != ours]
