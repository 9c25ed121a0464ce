"""Work for others is done in pieces, in turns, and for no more than a fifth of the time."""

import trio
from trio.testing import MockClock

from node.pace import Pace


async def test_it_takes_a_fifth_of_the_time(clock: MockClock) -> None:
    """Ten askers at once: whatever a piece of work costs, four times as long belongs to the rest of the node."""
    worked = 0.0

    def steady() -> float:
        return trio.current_time() + worked

    def piece() -> None:
        nonlocal worked
        worked += 0.005

    pace = Pace(steady)
    began = steady()

    async def ask() -> None:
        for _ in range(30):
            await pace.work(piece)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
    assert 0.19 < worked / (steady() - began) < 0.21


async def test_who_asks_much_and_who_asks_little_take_turns(clock: MockClock) -> None:
    """Mallory has a thousand pieces waiting. Bob's one is the next but one."""
    pace, done = Pace(), list[str]()

    async def ask(name: str, pieces: int) -> None:
        for _ in range(pieces):
            await pace.work(lambda: done.append(name))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "Mallory", 1000)
        await trio.lowlevel.checkpoint()
        nursery.start_soon(ask, "Bob", 1)
    assert done.index("Bob") <= 3


async def test_all_that_an_iterator_makes(clock: MockClock) -> None:
    pace = Pace()
    for count in (0, 1, 15, 16, 17, 100):
        assert await pace.all_of(iter(range(count)), 16) == list(range(count))
