"""Hours in which nobody says anything: a node on a laptop sleeps through them."""

import trio
from trio.testing import MockClock

from tests.driver import SKIING, car_hire, open_town, wait_offers, wait_state

HOUR = 3600


class Steps(trio.abc.Instrument):
    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_a_quiet_hour_costs_next_to_nothing(clock: MockClock) -> None:
    """An open wish, an open offer, and nothing happens: no node writes to its store, and all tasks of one together
    wake less than once a second. Everything is still noticed when its hour comes: the offer ends, and then the wish."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        await town.open("Bob", catalogue=car_hire())
        await town.open("Carol")
        asked = (await alice.desk.ask({**SKIING, "expires": 6 * HOUR}, 10))["intent"]
        (offer,) = (await wait_offers(alice, asked["id"], 1))["offers"]
        await trio.sleep(0.2 * HOUR)
        before = {name: one.store.count for name, one in town.neighbours.items()}
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(HOUR)
        trio.lowlevel.remove_instrument(steps)
        assert {name: one.store.count for name, one in town.neighbours.items()} == before
        assert steps.count / len(town.neighbours) < HOUR
        assert alice.clock is not None
        await trio.sleep(offer["valid_until"] - alice.clock.now() + 2)
        await wait_state(alice, offer["id"], "void", seconds=1)
        await trio.sleep(asked["exp"] - alice.clock.now() + 2)
        await wait_state(alice, asked["id"], "expired", seconds=1)
