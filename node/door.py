"""The door: who comes too late with an offer is told so at once, and what became of the wish; nothing of it is written
down. A market that goes on answering a wish that is over costs its author no transaction, and no room."""

from collections import OrderedDict
from typing import Final

from protocol.deal import Problem
from protocol.letter import write_letter
from protocol.limits import MAX_LIFE
from protocol.message import Draft, Message

from .clock import Chance, Clock
from .threads import End, key_to_answer

REMEMBERED: Final = 1_000
"""Answers kept in memory, some 600 bytes each, so that copies of an item get the same bytes and cost no signature."""


class Door:
    def __init__(self, net: str, clock: Clock, chance: Chance) -> None:
        self._net = net
        self._clock = clock
        self._chance = chance
        self._told: OrderedDict[bytes, bytes] = OrderedDict()

    def turn_away(self, end: End, offer: Message, item_digest: bytes, why: Problem) -> bytes:
        """The sealed answer to an offer that opens no thread."""
        told = self._told.get(item_digest)
        if told is None:
            told = self._told[item_digest] = self._write(end, offer, why)
            while len(self._told) > REMEMBERED:
                self._told.popitem(last=False)
        return told

    def _write(self, end: End, offer: Message, why: Problem) -> bytes:
        other = key_to_answer(offer)
        assert other is not None, "an offer names the key to answer it with"
        exp = offer.head.exp
        draft = Draft(
            kind="problem",
            body=why,
            net=self._net,
            at=max(min(self._clock.now(), exp - 1), exp - MAX_LIFE),
            exp=exp,
            seq=0,  # nothing else is said in this thread, unless a later offer begins it anew
            salt=self._chance.bytes(16),
            ref=offer.id,
            root=end.root,
            to=offer.author,
        )
        key, box = end.secrets()
        _, item = write_letter(draft, key, box, other, own_is_box=end.is_box, n=0, nonce=self._chance.bytes(24))
        return item.encoded()
