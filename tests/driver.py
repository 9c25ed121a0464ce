"""A town of nodes in one process, with the shop and the wish that most stories need.

It is part of the program (node/town): people test with it what they build on intentcast."""

from node.town.samples import SKIING, by_hand, car_hire
from node.town.town import (
    NET,
    FragileStore,
    Killed,
    Neighbour,
    Town,
    TownClock,
    let_pass,
    open_real_town,
    open_town,
    seed_of,
    wait_heard,
    wait_offers,
    wait_over,
    wait_settled,
    wait_state,
    wait_until,
)

__all__ = [
    "NET",
    "SKIING",
    "FragileStore",
    "Killed",
    "Neighbour",
    "Town",
    "TownClock",
    "by_hand",
    "car_hire",
    "let_pass",
    "open_real_town",
    "open_town",
    "seed_of",
    "wait_heard",
    "wait_offers",
    "wait_over",
    "wait_settled",
    "wait_state",
    "wait_until",
]
