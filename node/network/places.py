"""Inbound places: who gives one up when all are taken and somebody new comes.

Whoever shakes hands and then says nothing would otherwise hold a place for ever. As in Bitcoin Core, those are spared
first that would be missed, and then the subnet that holds most places gives one up: a crowd costs an attacker machines
or landlords, and whoever comes from elsewhere has a place at once. Nobody is sure to stay by being early, late or often
here: of those that are worth the same, chance decides.
"""

import random
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from node.network.seam import Appraise, PeerId, Worth
from protocol.gossip import any_place, public_place

GRACE_SECONDS = 30.0
"""Who came so lately makes no room for somebody of no smaller crowd: it had no time yet to be of use."""

REST_SECONDS = 600.0
"""Who gave up its place takes nobody else's for so long: two who want one would hand it to and fro."""

_MOST_RESTING = 1024
_NO_CROWD = 4
"""So many neighbours in one subnet are as good as one: else a second honest one would have to wait for ever."""

_SPARED = 3, 4
"""So many of all places at most are kept by being worth something, but for those our person named: or an attacker who
is a little useful in each of them would be there to stay."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A peer in a place of ours."""

    peer: PeerId
    host: str
    """Its IP address."""
    since: float
    """trio's time."""
    chosen: bool = False
    """We dialled it, too."""


class Places:
    """The one rule for both networks; each counts its places itself."""

    def __init__(self, chance: random.Random, grace: float = GRACE_SECONDS, *, private_subnets: bool = False) -> None:
        """`private_subnets`: neighbours in a private range are one crowd, as they are in a public one."""
        self.appraise: Appraise = dict
        self._chance = chance
        self._grace = grace
        # Remembered: the same hosts are looked at for every newcomer, and reading addresses is most of the work.
        self._locate = lru_cache(maxsize=512)(any_place if private_subnets else public_place)
        self._resting: OrderedDict[PeerId, float] = OrderedDict()

    def who_leaves(self, guests: Sequence[Guest], newcomer: Guest) -> PeerId | None:
        """Of the guests in all places, the one whose place the newcomer should have; None: it goes away itself."""
        now, worth = newcomer.since, self.appraise()
        is_known = worth.get(newcomer.peer, Worth.NOTHING) >= Worth.CONTRACT
        if not is_known and now < self._resting.get(newcomer.peer, now):
            return None
        may_leave = self._not_spared(guests, worth)
        crowd = {each.peer: self._crowd_of(each.host) for each in (*guests, newcomer)}
        count = Counter(crowd.values())
        size = {peer: max(count[its], _NO_CROWD) for peer, its in crowd.items()}
        most, own = max((size[each.peer] for each in may_leave), default=0), size[newcomer.peer]
        found = [each for each in may_leave if size[each.peer] == most]
        if not is_known and most <= own:
            found = [each for each in found if most == own and now - each.since >= self._grace]
        least = min((worth.get(each.peer, Worth.NOTHING) for each in found), default=Worth.NOTHING)
        found = [each for each in found if worth.get(each.peer, Worth.NOTHING) == least]
        return self._chance.choice(found).peer if found else None

    def has_left(self, peer: PeerId, now: float) -> None:
        """It was hung up on for somebody else."""
        self._resting.pop(peer, None)
        self._resting[peer] = now + REST_SECONDS
        while len(self._resting) > _MOST_RESTING:
            self._resting.popitem(last=False)

    def _not_spared(self, guests: Sequence[Guest], worth: Mapping[PeerId, Worth]) -> list[Guest]:
        """Without those we chose or our person named, and without the worthiest; of equals the longest here."""
        found = [each for each in guests if not each.chosen and worth.get(each.peer) is not Worth.NAMED]
        of_use = [each for each in found if worth.get(each.peer, Worth.NOTHING) > Worth.NOTHING]
        of_use.sort(key=lambda each: (-worth[each.peer], each.since))
        spared = {each.peer for each in of_use[: len(guests) * _SPARED[0] // _SPARED[1]]}
        return [each for each in found if each.peer not in spared]

    def _crowd_of(self, host: str) -> str:
        return self._locate(host).subnet or host
