"""Names for jobs that were given none, in Azure ML's manner: `brave_lamp_x3f9k2m7qd`."""

import random

_ADJECTIVES = """
amber ample brave breezy brisk bright calm clever cosmic crisp dapper eager fair fleet frosty gentle gifted golden happy
honest icy jolly keen kind lively loyal lucid mellow mighty modest neat nimble noble patient placid plucky polite proud
quick quiet ready rosy sandy serene sharp shiny silent sincere sleepy smart solid sunny sweet swift teal tidy upbeat
vivid warm witty zesty"""
_NOUNS = """
anchor apple arch badger balloon basket beacon berry bird boat bread bridge cabbage candle carrot cello cherry cloud
coral crane deer drum eagle feather fennel fig flower forest fox garden glacier grape hill island kettle kite lamp leaf
lemon lime lion maple meadow mango moon napkin nest oak ocean olive onion orange owl parrot peach pear plum pond rabbit
reef river rocket sail shell snail spoon star stone sun tent thistle tiger tomato train truck turtle valley village
violet whale wheel yacht"""
_SUFFIX = "0123456789bcdfghjklmnpqrstvwxyz"  # no a, e, i, o, u: no words by chance


def job_name(chance: random.Random | None = None) -> str:
    """Two words to remember it by, and ten letters (31^10) that make it one of its kind."""
    chance = chance or random.SystemRandom()
    words = (chance.choice(_ADJECTIVES.split()), chance.choice(_NOUNS.split()))
    return "_".join([*words, "".join(chance.choices(_SUFFIX, k=10))])
