"""Finding the stamps that others ask for: one at a time, in small pieces, for half of a core at most."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import trio

from protocol.envelope import digest, zero_bits

from ..clock import Clock
from ..policy import Shares

MAX_BITS = 22
"""Stamps dearer than this are not paid: some four million hashes."""

HASHES_PER_SECOND, HASH_BURST = 2**MAX_BITS / 600, float(2**MAX_BITS)
"""Hashes one peer, or one receiver, may have us do for its stamps: the dearest once in ten minutes."""

HASHES_AT_ONCE = 20_000
"""In one go in a worker thread, some 40 ms; then it rests as long. Neither shutting down nor the others wait for it."""

MAX_WAITING = 64
"""Stamps that wait to be found."""


@dataclass(frozen=True, slots=True)
class Order:
    about: bytes
    """32 bytes: the stamp is found when BLAKE2b-256(about || stamp) has `bits` trailing zero bits."""
    bits: int
    is_wanted: Callable[[], bool]
    found: Callable[[bytes], None]


class StampMine:
    def __init__(self, clock: Clock, counters: Counter[str]) -> None:
        self._clock = clock
        self._counters = counters
        self._shares = Shares(HASHES_PER_SECOND, HASH_BURST)
        self._orders: OrderedDict[bytes, Order] = OrderedDict()
        """By what they are about, in the order asked; the first is being worked on."""
        self._more = trio.Event()

    def __len__(self) -> int:
        return len(self._orders)

    def ask(self, order: Order, who: str) -> bool:
        """Take an order on, for somebody who wants to see this stamp. False if it is not taken on: too dear, too many,
        or more than their share. Whoever wants it asks again."""
        if order.about in self._orders:
            return True
        if order.bits > MAX_BITS:
            self._counters["stamps_too_dear"] += 1
        elif len(self._orders) >= MAX_WAITING:
            self._counters["too_many_stamps"] += 1
        elif not self._shares.take(who, self._clock.steady(), 2**order.bits):
            self._counters["stamps_over_share"] += 1
        else:
            self._orders[order.about] = order
            self._more.set()
            return True
        return False

    async def run(self) -> None:
        while True:
            while not self._orders:
                self._more = trio.Event()
                await self._more.wait()
            order = next(iter(self._orders.values()))
            tried = 0
            while order.is_wanted():
                began = self._clock.steady()
                stamp = await trio.to_thread.run_sync(find_stamp, order.about, order.bits, tried)
                if stamp is not None:
                    order.found(stamp)
                    break
                tried += HASHES_AT_ONCE
                await trio.sleep(self._clock.steady() - began)
            del self._orders[order.about]


def find_stamp(about: bytes, bits: int, start: int) -> bytes | None:
    """A stamp of so many bits, among the next few from `start`."""
    for number in range(start, start + HASHES_AT_ONCE):
        stamp = number.to_bytes(8, "big")
        if zero_bits(digest(about + stamp)) >= bits:
            return stamp
    return None
