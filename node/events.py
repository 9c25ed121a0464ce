"""What happened, for people and programs that watch: stored, numbered, and told live."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import trio

from .clock import Clock
from .store import Store, Tx
from .trail import Trail

TICK = 1.0
"""Seconds between two looks at what time ends, at least."""

LOOK_EVERY = 60.0
"""And at most: what waits for an hour of the wall clock must not sleep through its jumps."""


class EventLog:
    """Events are written in the transaction of what caused them, then announced: a watcher that was away asks with
    `since` and misses nothing (up to the last 10,000)."""

    def __init__(self, store: Store, clock: Clock, trail: Trail | None = None) -> None:
        self._store = store
        self._trail = trail
        self._clock = clock
        self._changed = trio.Event()

    def write(self, tx: Tx, type: str, data: dict[str, Any]) -> None:
        """Inside a transaction. Follow it with announce() once that is committed."""
        tx.add_event(type, self._clock.now(), data)
        if self._trail is not None and isinstance(data.get("intent"), str):
            self._trail.note(bytes.fromhex(data["intent"]), type, **{k: v for k, v in data.items() if k != "intent"})

    async def add(self, type: str, data: dict[str, Any]) -> None:
        """For what has no transaction of its own."""
        await self._store.transact(lambda tx: self.write(tx, type, data))
        self.announce()

    def announce(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    @property
    def next_change(self) -> trio.Event:
        """Set when something happens from now on. Take it before you look, and nothing is missed."""
        return self._changed

    async def since(self, since: int) -> AsyncIterator[dict[str, Any]]:
        """All events after number `since`, then new ones for ever; -1: only new ones."""
        if since < 0:
            since = await self._store.transact(lambda tx: tx.last_event())
        while True:
            changed = self._changed
            batch = await self._store.transact(lambda tx, after=since: tx.events_after(after))  # type: ignore[misc]
            for event in batch:
                since = event["id"]
                yield event
            if not batch:
                await changed.wait()

    async def rest(self, next_due: Callable[[], float]) -> None:
        """Until the hour that `next_due` names has surely come, or something happens, which may bring an earlier one.
        For those who look after deadlines: in quiet hours they sleep."""
        await trio.sleep(TICK)
        with trio.move_on_after(min(LOOK_EVERY, max(0.0, next_due() - self._clock.certain()))):
            await self._changed.wait()
