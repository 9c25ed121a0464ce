"""The phases of a mesh measurement, the same for every contestant in Python: idle, under a load, as fast as it goes."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import trio

from protocol.envelope import Realm, sign
from protocol.intent import Intent
from protocol.keys import BoxKey, SigningKey
from protocol.message import Draft

from .plan import Plan

_NOTE = "Four people with skis, arriving on the evening flight. "
_SALT = b"\xb1" * 16


def wish_payload(plan: Plan, now: int) -> bytes:
    """The payload of a wish whose frame has exactly `plan.bytes` bytes; its salt is `_SALT`."""

    def payload(note: int) -> bytes:
        intent = Intent(
            action="rent",
            category="mobility.car.suv",
            title="A 4x4 from Lyon airport, five days",
            box=BoxKey(hashlib.sha256(b"box").digest()).public,
            note=(_NOTE * 20)[:note],
            quantity=2,
        )
        draft = Draft("intent", intent, plan.net, now, now + 3600, 1, _SALT)
        return replace(draft, stamp=bytes(8)).payload()

    around = len(sign(payload(40), SigningKey(bytes(32)), Realm.GOSSIP, plan.net)) - 40
    return payload(plan.bytes - around)


class Authors:
    """Wishes by fresh authors, as many as planned; then the same authors again, who then repeat themselves: too few
    authors are a mistake of the plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._before, self._after = wish_payload(plan, int(time.time()) - 1).split(_SALT)
        self._keys = [SigningKey(hashlib.sha256(b"author %d" % number).digest()) for number in range(plan.authors)]
        assert len(self.frame(0)) == plan.bytes

    def frame(self, number: int) -> bytes:
        """Signed when it is asked for, as a node does."""
        payload = self._before + number.to_bytes(16, "big") + self._after
        return sign(payload, self._keys[number], Realm.GOSSIP, self._plan.net)


class Mesh(Protocol):
    """A contestant, linked and warm."""

    def publish(self, author: int, frame: bytes) -> None: ...

    def copies(self) -> int:
        """Messages received by all nodes so far, duplicates included."""


@dataclass
class _Flight:
    missing: int
    since: float
    landed: trio.Event = field(default_factory=trio.Event)
    took: float | None = None


class Flights:
    """Follows every message from its publication to its last receiver."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.authors = Authors(plan)
        self.mesh: Mesh | None = None
        self.deliveries = 0
        self._next = 0
        self._flying: dict[int, _Flight] = {}

    def delivered(self, salt: bytes) -> None:
        """One more node believes the message with this salt."""
        self.deliveries += 1
        number = int.from_bytes(salt, "big")
        flight = self._flying.get(number)
        if flight is not None:
            flight.missing -= 1
            if not flight.missing:
                del self._flying[number]
                flight.took = time.perf_counter() - flight.since
                flight.landed.set()

    async def fly(self) -> float | None:
        """Publish by the next node in turn; the seconds until all others believe it, None if they never did."""
        assert self.mesh is not None
        number, self._next = self._next, self._next + 1
        flight = self._flying[number] = _Flight(self.plan.nodes - 1, time.perf_counter())
        self.mesh.publish(number % self.plan.nodes, self.authors.frame(number))
        with trio.move_on_after(self.plan.deadline):
            await flight.landed.wait()
        self._flying.pop(number, None)
        return flight.took


async def measure(flights: Flights, mesh: Mesh) -> dict[str, Any]:
    """All phases, one after the other, over a mesh that is ready."""
    flights.mesh = mesh
    plan = flights.plan
    for _ in range(plan.warm_messages):
        await flights.fly()
    return {"idle": await _idle(flights), "load": await _load(flights), "flow": await _flow(flights, mesh)}


async def _idle(flights: Flights) -> list[float | None]:
    times = []
    for _ in range(flights.plan.idle_messages):
        times.append(await flights.fly())
        await trio.sleep(flights.plan.idle_pause)
    return times


async def _load(flights: Flights) -> list[float | None]:
    plan = flights.plan
    times: list[float | None] = []

    async def one() -> None:
        times.append(await flights.fly())

    async with trio.open_nursery() as nursery:
        begin = trio.current_time()
        for number in range(int(plan.load_rate * plan.load_seconds)):
            await trio.sleep_until(begin + number / plan.load_rate)
            nursery.start_soon(one)
    return times


async def _flow(flights: Flights, mesh: Mesh) -> dict[str, Any]:
    lost = 0
    end = trio.current_time() + flights.plan.flow_seconds

    async def keep_one_flying() -> None:
        nonlocal lost
        while trio.current_time() < end:
            if await flights.fly() is None:
                lost += 1

    begin, used = time.perf_counter(), time.process_time()
    deliveries, copies = flights.deliveries, mesh.copies()
    async with trio.open_nursery() as nursery:
        for _ in range(flights.plan.window):
            nursery.start_soon(keep_one_flying)
    return {
        "deliveries": flights.deliveries - deliveries,
        "copies": mesh.copies() - copies,
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - used,
        "lost": lost,
    }


def report(run: Callable[[Plan], Any]) -> None:
    """The main program of a contestant: the plan comes as its argument, the result leaves as one line of JSON."""
    print(json.dumps(trio.run(run, Plan.parse(sys.argv[1]))))
