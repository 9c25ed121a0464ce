"""From a wish's publication to its first offer, stored: three whole nodes over libp2p on this machine, one of them a
vendor with a catalogue. `python -m tests.bench.offers [wishes]`: one line of JSON.

Alice knows only the market's node. Her first wish makes Bob dial her; the later ones find their stream open.
"""

import json
import sys
import time

import trio
import trio.testing

from node import garbage
from tests.driver import SKIING, Neighbour, car_hire, open_real_town, wait_until


async def measure(wishes: int) -> list[float]:
    """Seconds, in the order of the wishes."""
    times = []
    async with open_real_town() as town:
        await town.open("Market", meeting=True)
        bob = await town.open("Bob", catalogue=car_hire(stock=1000))
        alice = await town.open("Alice")
        market = town.neighbours["Market"]
        for person in (bob, alice):
            await wait_until(person, lambda node: "mobility" in node.gossip.topics_of(market.peer_id))
        garbage.settle()
        for _ in range(wishes):
            times.append(await _first_offer(alice))
    return times


async def _first_offer(alice: Neighbour) -> float:
    stored = trio.Event()

    async def watch(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        async for event in alice.desk.events(-1):
            if event["type"] == "offer.received":
                stored.set()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(watch)
            await trio.testing.wait_all_tasks_blocked(0.01)  # the watcher has asked what the last event was
            begin = time.perf_counter()
            await alice.desk.ask(SKIING, 10)
            await stored.wait()
            took = time.perf_counter() - begin
            nursery.cancel_scope.cancel()
    return took


if __name__ == "__main__":
    print(json.dumps(trio.run(measure, int(sys.argv[1]) if len(sys.argv) > 1 else 50)))
