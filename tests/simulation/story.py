"""One life of an installation, from a seed: users work in a storm, then it calms down and everything must end."""

from collections.abc import Sequence
from pathlib import Path

from tests.simulation.effects import Aim
from tests.simulation.invariants import Invariants
from tests.simulation.misfortune import Misfortune
from tests.simulation.replicas import unsettled
from tests.simulation.users import Users
from tests.simulation.world import CLUSTERS, World

JOBS = 6
STORM_STEPS = 280
CALM_STEPS_MAX = 600


def live_through(seed: int, folder: Path, aims: Sequence[Aim] = ()) -> World:
    """Raises `AssertionError` as soon as something does not hold. `aims`: where servers die; else the seed says."""
    world = World.begin_with(seed, folder)
    world.aims = aims or [Aim.of(seed)]
    invariants, users = Invariants(world), Users(world)
    try:
        created = _storm(world, users, invariants)
        world.calm_down()
        users.resolve_slow()
        if world.has_services:
            _come_up(world, users, invariants)
        for _ in range(CALM_STEPS_MAX):
            if created < JOBS and users.may_create(created):
                users.create_job(created)
                created += 1
            world.calm_step()
            invariants.check()
            if world.is_empty() and created == JOBS:
                break
            if created == JOBS:
                world.drain_once_all_have_ended()
        invariants.check_at_the_end()
        world.count_preempted()
    except AssertionError as broken:
        broken.add_note(f"seed {seed}, at {world.now:.1f} s; what happened: {dict(world.happened)}")
        raise
    return world


def _serve(world: World, users: Users) -> None:
    """What users do with deployments meanwhile."""
    for chance, ask in ((0.02, users.deploy), (0.015, users.scale), (0.002, users.delete_deployment)):
        if world.dice.random() < chance:
            ask()
    if world.dice.random() < 0.001:
        users.delete_endpoint()


def _come_up(world: World, users: Users, invariants: Invariants) -> None:
    """As many replicas as are wanted run at last, or their deployment has said why not; then they are not wanted."""
    _settle(world, invariants)
    if world.is_mlflow_away:
        world.is_mlflow_away = False
        _settle(world, invariants)
    users.delete_endpoint()


def _settle(world: World, invariants: Invariants) -> None:
    for _ in range(CALM_STEPS_MAX):
        world.calm_step()
        invariants.check()
        if not unsettled(world):
            return
    raise AssertionError(f"not as wanted: {unsettled(world)}")


def _storm(world: World, users: Users, invariants: Invariants) -> int:
    """How many jobs were created in it; the others come in the calm."""
    dice, misfortune = world.dice, Misfortune(world)
    created = 0
    if world.has_services:
        users.deploy()
    for _ in range(STORM_STEPS):
        if created < JOBS and dice.random() < 0.08 and users.may_create(created):
            users.create_job(created)
            created += 1
        if created and dice.random() < 0.008:
            users.cancel_job(dice.randrange(created))
        if dice.random() < 0.002:
            users.delete_compute(dice.choice(tuple(CLUSTERS)))
        if dice.random() < 0.006:
            users.put_compute()
        if dice.random() < 0.01:
            users.resolve_slow()
        if world.has_services:
            _serve(world, users)
        world.pass_time()
        misfortune.strike()
        world.step()
        invariants.check()
    return created
