"""What users ask for: jobs, computes, deployments, and the end of each; and an index that resolves an environment."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from tests.factories import make_token
from tests.simulation.runner import Nature
from tests.simulation.servers import ServerDied
from tests.simulation.serving import MODEL
from tests.simulation.world import CLUSTERS, World, cluster

from ultramarine.domain.environment import EnvironmentEvent, EnvironmentStatus, Locked
from ultramarine.domain.errors import UltramarineError
from ultramarine.services import computes, deployments, endpoints, jobs
from ultramarine.services.context import Context
from ultramarine.store import assets
from ultramarine.store import tables as t

ENDPOINT = "endpoint"
DEPLOYMENTS = ("blue", "green")
ENVIRONMENTS = ("minimal", "minimal", "minimal", "slow")


class Users:
    def __init__(self, world: World) -> None:
        self._world = world
        self._deleted: set[str] = set()  #: computes

    def create_job(self, number: int) -> None:
        world, dice, name = self._world, self._world.dice, f"job-{number}"
        compute = dice.choice(("local", "small", "small", "large", "gpu", "cheap"))
        count = 1 if compute == "local" else dice.randint(1, 2)
        part = {"cpus": 0.5} if compute in ("small", "large") else {"gpus": 1, "cpus": 0.5}
        world.natures[name] = Nature(
            work_s=dice.uniform(0, 40 if world.storm.restore else 8),  # some live when there is a restore
            failing=dice.choice((0, 0, 0.5)),
            lines=dice.randrange(5),
            ranks=dice.randint(1, 3),
        )
        body = {
            "command": "work",
            "environment": dice.choice(ENVIRONMENTS),
            "compute": compute,
            "resources": {"instance_count": count} | (part if dice.random() < 0.3 and compute != "cheap" else {}),
            "retries": dice.randrange(3),
            "limits": {"timeout": dice.randint(6, 20)} if dice.random() < 0.5 else {},
            "queue_settings": {
                "priority": dice.choice(("low", "medium", "high")),
                "job_tier": dice.choice(("spot", "spot", "basic", "null", "premium")),
            },
        }
        if world.is_crowded:  # long spot jobs take all of a cluster, then others come that do not give way
            is_first = number < 3
            world.natures[name] = replace(world.natures[name], work_s=dice.uniform(30, 60) if is_first else 3.0)
            tier = "spot" if is_first else "premium"
            body |= {"compute": "small", "resources": {"instance_count": 1}, "limits": {}, "environment": "minimal"}
            body["queue_settings"] = {"job_tier": tier}
        user = dice.choice(("ann", "bob"))
        self._ask(lambda ctx: jobs.create(ctx, "w", name, body, user=user))

    def may_create(self, number: int) -> bool:
        """Those that do not give way come when there is somebody to do so."""
        if not self._world.is_crowded or number < 3:
            return True
        with self._world.db.engine.connect() as connection:
            there = set(connection.execute(sa.select(t.runs.c.status).where(t.runs.c.is_open)).scalars())
        return not there or "Running" in there

    def create_gang(self, number: int, compute: str, count: int) -> None:
        name = f"job-{number}"
        self._world.natures[name] = Nature(work_s=self._world.dice.uniform(0, 8), failing=0, lines=1)
        body = {"command": "work", "environment": "minimal", "compute": compute}
        body |= {"resources": {"instance_count": count}}
        self._ask(lambda ctx: jobs.create(ctx, "w", name, body, user="ann"))

    def cancel_job(self, number: int) -> None:
        self._world.canceled.add(f"job-{number}")
        self._ask(lambda ctx: jobs.cancel(ctx, "w", f"job-{number}"))

    def delete_compute(self, name: str) -> None:
        self._deleted.add(name)
        for job, compute in self.jobs().items():
            if compute == name:
                self._world.canceled.add(job)
        self._ask(lambda ctx: computes.delete(ctx, "w", name, token=make_token()))

    def put_compute(self) -> None:
        """Anew when one was deleted, else of another size."""
        name = self._world.dice.choice(sorted(self._deleted or CLUSTERS))
        body = cluster(name, max_instances=self._world.dice.randint(1, CLUSTERS[name][1]))
        self._ask(lambda ctx: computes.put(ctx, "w", name, body, token=make_token()))

    def deploy(self) -> None:
        """One of two deployments, which is new, or is to have another number of replicas."""
        dice, name = self._world.dice, self._world.dice.choice(DEPLOYMENTS)
        owner = f"{ENDPOINT}/{name}"
        # Its first replicas may end soon after their start: by themselves, or in `init()`, which is hopeless.
        failures, code = dice.choice((0, 0, 1, 4)), dice.choice((0, 1, 3, 3))
        nature = Nature(work_s=dice.uniform(0, 10), failing=0, lines=2, code=code, failures=failures)
        self._world.natures.setdefault(owner, nature)
        body = {"model": MODEL, "environment": dice.choice(ENVIRONMENTS), **self._replicas(least=1)}
        self._ask(lambda ctx: endpoints.put(ctx, "w", ENDPOINT, {}))
        self._ask(lambda ctx: deployments.put(ctx, "w", ENDPOINT, name, body=body))
        if self._world.seed % 8 == 1 and dice.random() < 0.3:
            self._world.is_mlflow_away = True

    def scale(self) -> None:
        """To another number of replicas, or to between two numbers."""
        name, changes = self._world.dice.choice(DEPLOYMENTS), self._replicas(least=0)
        self._ask(lambda ctx: deployments.update(ctx, "w", ENDPOINT, name, changes=changes))

    def _replicas(self, *, least: int) -> dict[str, Any]:
        """So many, or as the requests need."""
        dice = self._world.dice
        if dice.random() < 0.6:
            return {"instance_count": dice.randint(least, 2), "scale_settings": {"type": "default"}}
        between = {"min_instances": 1, "max_instances": 2, "cooldown": 5}
        return {"instance_count": 1, "scale_settings": {"type": "target_utilization"} | between}

    def delete_deployment(self) -> None:
        name = self._world.dice.choice(DEPLOYMENTS)
        self._ask(lambda ctx: deployments.delete(ctx, "w", ENDPOINT, name))

    def delete_endpoint(self) -> None:
        """With all that is behind it."""
        self._ask(lambda ctx: endpoints.delete(ctx, "w", ENDPOINT))

    def resolve_slow(self) -> None:
        async def resolve(ctx: Context) -> None:
            async with ctx.begin() as tx:
                slow = await assets.environment(tx, "w", "slow")
                locked = Locked(digest="d", lock="0" * 64, python="3.11", packages=1)
                if slow.status is EnvironmentStatus.RESOLVING:
                    await assets.record_environment(tx, slow, EnvironmentEvent.LOCKED, locked=locked)

        self._ask(resolve)

    def jobs(self) -> dict[str, str]:
        """By name, the compute that each job names."""
        with self._world.db.engine.connect() as connection:
            return {
                row.name: row.spec["compute"] for row in connection.execute(sa.select(t.jobs.c.name, t.jobs.c.spec))
            }

    def _ask(self, question: Callable[[Context], Coroutine[Any, Any, object]]) -> None:
        """A request, made again when its server dies; a refusal is an answer too."""
        while True:
            try:
                self._world.run(question(self._world.servers[0].ctx))
            except ServerDied:
                continue
            except UltramarineError:
                self._world.happened["refused"] += 1
            return
