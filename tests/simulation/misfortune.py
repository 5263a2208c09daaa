"""What goes wrong with servers, machines, links, clocks and the store: dice say when."""

from tests.factories import later
from tests.simulation.backups import Backup
from tests.simulation.world import OWNER, World

from ultramarine.domain.names import Epoch, is_of


class Misfortune:
    def __init__(self, world: World) -> None:
        self._world = world

    def strike(self) -> None:
        """What goes wrong in this moment, if anything."""
        world, storm, dice = self._world, self._world.storm, self._world.dice
        if dice.random() < storm.crash:
            world.crash(dice.choice(world.servers))
        for server in world.servers:
            if server.is_turning and dice.random() < storm.standstill:  # in the middle of its turn
                server.still_until = world.now + dice.uniform(5, 40)
                world.happened["standstill"] += 1
        alive = [key for key, runner in world.runners.items() if runner.is_alive]
        machines = [machine.key for machine in world.target.alive()]  # also those that have not begun yet
        if machines and dice.random() < storm.kill:
            world.target.kill(dice.choice(machines), is_seen=dice.random() < 0.5)
            world.happened["kill"] += 1
        if alive and dice.random() < storm.cut_off:
            world.runners[dice.choice(alive)].cut_off_until = world.now + dice.uniform(2, 70)
            world.happened["cut off"] += 1
        if alive and dice.random() < storm.shut_down:
            world.runners[dice.choice(alive)].shut_down()
            world.happened["shut down"] += 1
        if dice.random() < storm.usurp:
            self._usurp()
        self._go_back()
        if dice.random() < storm.jump:
            world.wall_offset += dice.choice((-3600, -60, -8, 8, 60, 3600))
            world.happened["jump"] += 1

    def _usurp(self) -> None:
        """The leader's lease has run out while it was in the middle of its turn, and it does not know it yet."""
        world = self._world
        with world.db.engine.begin() as connection:
            owner = connection.exec_driver_sql(OWNER).scalar_one_or_none()
            connection.exec_driver_sql("UPDATE leases SET until = 0")
        for server in world.servers:
            if server.name == owner and server.is_turning:
                server.still_until = world.now + world.dice.uniform(1, 5)
                world.happened["usurped"] += 1

    def _go_back(self) -> None:
        """A backup is made now and then, and sometimes it is needed."""
        world = self._world
        if world.dice.random() < world.storm.backup:
            world.backup = Backup.of(world.db, world.folder / "logs")
        if world.backup is not None and world.dice.random() < world.storm.restore:
            self._restore(world.backup)

    def _restore(self, backup: Backup) -> None:
        """All servers are stopped, the store is what it was, and others begin with it in a new epoch."""
        world = self._world
        for server in world.servers:
            server.die()
        backup.restore(world.db, world.folder / "logs")
        world.restores += 1
        world.epoch = Epoch(f"r{world.restores}")
        world.servers = [world.new_server(server.home) for server in world.servers]
        for runner in world.runners.values():  # what loses a store often loses the way to it
            if world.dice.random() < 0.5:
                runner.cut_off_until = world.now + world.dice.uniform(10, 60)
        for machine in world.target.alive():  # and the target, where it is another one, knows only later of some
            if world.dice.random() < 0.5:
                machine.unlisted_until = later(world.now + world.dice.uniform(10, 60))
        world.told = {told for told in world.told if is_of(told[0], world.epoch)}  # what had arrived may be gone again
        world.happened["restored"] += 1
