"""A server dies before and after each kind of effect that it has: a kind at which none has died is red by its name.

Which kinds there are the product says itself (`effects.py`).
"""

from pathlib import Path

import pytest
from tests.simulation.effects import EFFECTS, SIDES, Aim
from tests.simulation.story import live_through

LIVES_MAX = 60  #: in which it is looked for: what happens rarely does so in every tenth


@pytest.mark.parametrize("effect", EFFECTS)
async def test_a_server_that_dies_before_or_after_an_effect_loses_nothing(effect: str, tmp_path: Path) -> None:
    """The first time before it; it is then done by another server, which dies after it."""
    missing = set(SIDES)
    first = 5 * EFFECTS.index(effect)
    for seed in range(first, first + LIVES_MAX):
        aims = [Aim(effect, side) for side in SIDES]
        live_through(seed, tmp_path / str(seed), aims)
        missing -= {aim.side for aim in aims if aim.is_hit}
        if not missing:
            return
    pytest.fail(f"in {LIVES_MAX} lives no server died {' or '.join(sorted(missing))} {effect}")
