"""Leaving sealed items at a mailbox their receiver named."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import trio

from protocol.codec import Value
from protocol.envelope import Item
from protocol.errors import Reason, Refused
from protocol.limits import STAMP_BITS
from protocol.mailbox import stamp_base

from ..conversation import Conversation
from ..delivery.outbox import Stage
from ..delivery.stamps import MAX_BITS, Order, StampMine
from ..network.seam import Address, Network, PeerId, StreamError
from .host import PROTOCOL

TURN_SECONDS = 20.0

MINE_WITHIN = 60.0
"""Seconds an asked-for stamp may take, waiting for its turn included. What takes longer is left there next time."""

BITS_ABOVE = 4
"""Where a mailbox is full, a stamp shows so many bits more than asked for: who pays next must not push it out."""

MOST_FOUND = 256
"""Stamps remembered until they are used."""

TRIES = 3
"""A price that rises each time it is paid is not paid again."""

_HAS: Final = {"stored": Stage.STORED, "fetched": Stage.FETCHED}


class Unpaid(Exception):
    """The stamp asked for is not found yet."""


class Leaving:
    def __init__(
        self, network: Network, stamps: StampMine, net: str, is_ours: Callable[[PeerId], bool] = lambda _peer: False
    ) -> None:
        """`is_ours`: a peer we want to stay linked with, whatever we were there for."""
        self._network = network
        self._stamps = stamps
        self._door = STAMP_BITS.get(net, 0)
        """What it costs where there is room."""
        self._is_ours = is_ours
        self._found: OrderedDict[bytes, bytes] = OrderedDict()
        """What a stamp is about -> the stamp."""
        self._at: Counter[PeerId] = Counter()
        """How often we are at a mailbox right now."""
        self.counters: Counter[str] = Counter()

    async def leave(self, address: Address, receiver: bytes, items: Iterable[Item]) -> dict[bytes, Stage | None]:
        """Leave items for this key at the mailbox that lives there. Returns digest -> STORED or FETCHED for those that
        it has, None for those it does not take; those we cannot pay for yet are missing. Raises NetworkError."""
        try:
            with trio.fail_after(TURN_SECONDS):
                was_linked = any(address.endswith(f"/p2p/{link.peer}") for link in self._network.links())
                peer = await self._network.dial(address)
        except trio.TooSlowError:
            raise StreamError("the mailbox took too long to answer") from None
        self._at[peer] += 1
        try:
            return await self._visit(peer, receiver, items)
        except (Refused, trio.TooSlowError) as wrong:
            self.counters["bad_answers"] += 1
            raise StreamError(f"the mailbox does not answer as one: {wrong}") from None
        finally:
            self._at[peer] -= 1
            if not self._at[peer]:
                del self._at[peer]
                if not was_linked and not self._is_ours(peer):  # it is somebody else's, and no peer of our choosing
                    with trio.CancelScope(shield=True):
                        await self._network.hang_up(peer)

    async def _visit(self, peer: PeerId, receiver: bytes, items: Iterable[Item]) -> dict[bytes, Stage | None]:
        with trio.fail_after(TURN_SECONDS):
            stream = await self._network.open_stream(peer, PROTOCOL)
        try:
            conversation = Conversation(stream)
            found: dict[bytes, Stage | None] = {}
            for item in items:
                with suppress(Unpaid):
                    found[item.digest] = await self._put(conversation, peer, receiver, item)
            await stream.finish()
            return found
        finally:
            with trio.CancelScope(shield=True):
                await stream.close()

    async def _put(self, conversation: Conversation, peer: PeerId, receiver: bytes, item: Item) -> Stage | None:
        base = stamp_base(peer, receiver, item.digest)
        stamp = self._found.get(base, bytes(8))
        for _ in range(TRIES):
            with trio.fail_after(TURN_SECONDS):
                answer = await conversation.ask("put", receiver, item.encoded(), stamp)
            match answer:
                case [str(word)] if word in _HAS:
                    return _HAS[word]
                case ["no", "bits", int(bits)]:
                    more = 0 if bits <= self._door else BITS_ABOVE
                    found = await self._stamp(base, min(bits + more, max(bits, MAX_BITS)), receiver)
                    if found is None:
                        raise Unpaid
                    stamp = found
                case ["no", str(why), int()]:
                    self.counters[f"no_{_word(why)}"] += 1
                    return None
                case _:
                    raise Refused(Reason.REQUEST, "not an answer of a mailbox")
        return None

    async def _stamp(self, base: bytes, bits: int, receiver: bytes) -> bytes | None:
        """What takes too long is found all the same, and paid with next time. Each receiver has us mine its share: a
        receiver's key cost a stamp as well."""
        done = trio.Event()

        def take(stamp: bytes) -> None:
            self._found[base] = stamp
            while len(self._found) > MOST_FOUND:
                self._found.popitem(last=False)
            done.set()

        self._found.pop(base, None)  # it was not enough
        if not self._stamps.ask(Order(base, bits, lambda: True, take), receiver.hex()):
            return None
        with trio.move_on_after(MINE_WITHIN):
            await done.wait()
        return self._found.get(base)


def _word(why: Value) -> str:
    """A mailbox's reason as one of the words we count: what it says must not fill our memory."""
    return str(why) if why in ("receiver", "claim", "full", "size", "expired") else "other"
