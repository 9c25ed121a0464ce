"""Being connected: enough links of our own choosing, and address records nobody can forge or hoard."""

from contextlib import AsyncExitStack
from typing import Any

import trio
from trio.testing import MockClock

from node.conversation import Conversation
from node.network.seam import LinkUp, Network
from node.peering import PROTOCOL, WANTED
from protocol.address import NodeAddress
from protocol.keys import SigningKey
from protocol.message import Draft, speak
from tests.driver import NET, Neighbour, open_town, seed_of, wait_until


def record(name: str, at: int, address: str = "/ip4/10.3.3.3/tcp/4001", **changed: Any) -> bytes:
    fields = {"at": at, "exp": at + 3600, "seq": at, **changed}
    draft = Draft("address", NodeAddress((address,)), NET, salt=bytes(16), **fields)
    return speak(draft, SigningKey(seed_of(name))).frame


def is_well_linked(neighbour: Neighbour, nodes: int) -> bool:
    """By four links of its own choosing, or with everybody there is."""
    links = neighbour.node.network.links()
    return sum(link.outbound for link in links) >= WANTED or len(links) == nodes - 1


async def test_everybody_gets_links_of_its_own_choosing(clock: MockClock) -> None:
    """Eight nodes know only the meeting node at first, and it knew nobody when the first of them asked; after a while
    each has four links that it chose itself."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        for number in range(8):
            await town.open(f"Node {number}")
        for neighbour in list(town.neighbours.values())[1:]:
            await wait_until(neighbour, lambda _node, one=neighbour: is_well_linked(one, 9), 120)


async def test_the_market_may_go(clock: MockClock) -> None:
    """The meeting node is a convenience: after it is gone, a restarted node finds the others by itself. It is at
    another address now, where nobody finds it, so every link is one that it dialled: from what its store remembers."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        nodes = [await town.open(f"Node {number}") for number in range(5)]
        for node in nodes:
            await wait_until(node, lambda _node, one=node: is_well_linked(one, 6), 120)
        last = nodes[-1]  # it came when the others were there, so it has dialled them, and remembers
        await market.crash()
        await last.crash()
        await last.start(address="/ip4/10.99.99.99/tcp/4001")
        await wait_until(last, lambda node: sum(link.outbound for link in node.network.links()) >= 3, 120)


async def test_who_answers_nothing_but_pings_fills_no_place_of_our_choosing(clock: MockClock) -> None:
    """T5: Victor knows nobody but the market when eight of Mallory's, who speak nothing at all, are all it can name. He
    dials them; later eight honest nodes come. He ends with four links of his choosing to those who speak gossip, and
    has hung up on the others."""
    async with open_town() as town, trio.open_nursery() as nursery, AsyncExitStack() as stack:
        assert town.world is not None
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        corpses, dialled = set(), set()

        async def watch(corpse: Network) -> None:
            async with corpse.watch_links() as links:
                async for event in links:
                    if isinstance(event, LinkUp) and not event.link.outbound:
                        dialled.add(corpse.peer_id)

        for number in range(8):
            name = f"Corpse {number}"
            corpse = await stack.enter_async_context(town.world.open_network(seed_of(name)))
            nursery.start_soon(watch, corpse)
            await corpse.dial(market.address)
            await ask(corpse, market, record(name, market.clock.now(), corpse.addresses[0].partition("/p2p/")[0]))
            corpses.add(corpse.peer_id)
        victor = await town.open("Victor")
        await wait_until(victor, lambda _node: len(dialled) >= WANTED - 1, 120)
        for number in range(8):
            await town.open(f"Node {number}")

        def is_free(node: Any) -> bool:
            return not any(link.peer in corpses for link in node.network.links()) and is_well_linked(victor, 10)

        await wait_until(victor, is_free, 1200)
        assert (await victor.desk.status())["counters"]["peering"]["useless"] >= WANTED - 1
        nursery.cancel_scope.cancel()


async def ask(asker: Any, meeting: Neighbour, frame: bytes) -> list[bytes] | None:
    stream = await asker.open_stream(meeting.peer_id, PROTOCOL)
    try:
        with trio.fail_after(30):
            answer = await Conversation(stream).ask("peers", frame, 16)
        return list(answer[1])
    except Exception:
        return None
    finally:
        await stream.reset()


async def test_records_of_others_and_bad_ones_are_not_taken(clock: MockClock) -> None:
    """Mallory can say where she is, and nothing about anybody else; nothing expired, of another net or too long-lived
    is handed on."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        assert town.world is not None
        now = market.clock.now()
        async with town.world.open_network(seed_of("Mallory")) as mallory:
            await mallory.dial(market.address)
            bad = [
                record("Alice", now),
                record("Mallory", now, exp=now + 25 * 3600),
                record("Mallory", now - 7200),
                record("Mallory", now + 9000),
                b"garbage",
            ]
            for frame in bad:
                assert await ask(mallory, market, frame) == []
            assert await ask(mallory, market, record("Mallory", now)) == []
            async with town.world.open_network(seed_of("Carol")) as carol:
                await carol.dial(market.address)
                assert await ask(carol, market, b"") == [record("Mallory", now)]
        assert market.is_up
