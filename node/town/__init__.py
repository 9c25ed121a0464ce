"""Whole nodes in one place, to play and to test with. See README.md."""

from node.network.memory import Conditions

from .samples import SKIING, by_hand, car_hire
from .town import Neighbour, Town, open_real_town, open_town

__all__ = ["SKIING", "Conditions", "Neighbour", "Town", "by_hand", "car_hire", "open_real_town", "open_town"]
