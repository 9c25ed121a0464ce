"""Attacks on what one node keeps: its memory, its board, its offers."""

import gc
import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import trio

from node.delivery import PROTOCOL
from node.mesh.figures import quantile
from node.network.memory import MemoryWorld
from node.network.seam import Network
from node.pool import POOL
from protocol.board import Board
from protocol.envelope import Item
from protocol.framing import Deframer, frame_with_length
from protocol.gossip.rpc import _text_field
from protocol.intent import Intent
from protocol.keys import BoxKey, SigningKey
from protocol.letter import write_letter
from protocol.limits import MAX_ITEM
from protocol.match import match
from protocol.message import Draft, Message
from protocol.offer import Line, Offer, Vendor
from protocol.terms import Fact, Money
from tests.driver import NET, SKIING, Neighbour, car_hire, let_pass, open_town, seed_of, wait_until

from .figures import Figure, at_least, at_most, told, within
from .frames import DIVISION, Forger, graft_flood, id_flood, ihave_flood, iwant_flood, subscription_flood
from .mallory import Mallory, open_mallory, open_sybils
from .town import HonestTown, open_honest_town

# ------------------------------------------------------------------------------------------------------- memory


async def memory(floods: int = 3, seconds: float = 60, nodes: int = 4, settle: float = 300) -> list[Figure]:
    """T8: some peers for each sort of flood. Two towns live the same life, one of them with floods in it, and are
    weighed five minutes after the flooders left. The grudge against them, an hour long, is part of it."""
    await _weigh_town(1, 2, nodes, 1)  # so that what is kept for good is there before either
    peaceful, _, _ = await _weigh_town(0, seconds, nodes, settle)
    flooded, worst, delivered = await _weigh_town(floods, seconds, nodes, settle)
    crowd = 5 * floods
    return [
        at_most("T8", f"{crowd} flooding peers, {seconds:g} s: memory after, of peace", flooded / peaceful, 1.1),
        told(
            "T8",
            "in peace, at the worst, after, in MiB",
            " ".join(f"{n / 2**20:.1f}" for n in (peaceful, worst, flooded)),
        ),
        at_least("T8", "honest delivery meanwhile", 100 * delivered, 100, " %"),
    ]


async def _weigh_town(floods: int, seconds: float, nodes: int, settle: float) -> tuple[int, int, float]:
    """Bytes at the end, bytes at the worst, and the part of honest wishes that arrived."""
    tracemalloc.start()
    try:
        async with open_honest_town(nodes) as honest:
            said, worst = await _let_flood(honest, floods, seconds)
            await trio.sleep(settle)
            _text_field.cache_clear()  # filled by the flooders, who live in the same process
            gc.collect()
            return tracemalloc.get_traced_memory()[0], worst, honest.part(said)
    finally:
        tracemalloc.stop()


async def _let_flood(honest: HonestTown, floods: int, seconds: float) -> tuple[list[bytes], int]:
    victim = honest.nodes[0]
    makers: list[Any] = [subscription_flood, ihave_flood, graft_flood, id_flood]

    async def attack(number: int, mallory: Mallory) -> None:
        peer = await mallory.befriend(victim.address)
        await trio.sleep(2)  # to hear something that can be wanted
        wanted = next(iter(mallory.heard), bytes(20))
        make = makers[number] if number < len(makers) else lambda rng: iwant_flood(rng, wanted)
        await mallory.flood(peer, make(mallory.rng), 20, seconds)

    async with open_sybils(honest.world, 5 * floods) as crowd, trio.open_nursery() as nursery:
        for number, mallory in enumerate(crowd):
            nursery.start_soon(attack, number % 5, mallory)
        said = await honest.talk(1, seconds)
    return said, tracemalloc.get_traced_memory()[1]


# ------------------------------------------------------------------------------------------------------- replay


async def replay(count: int = 1000) -> list[Figure]:
    """T9: captured wishes come again: after seven minutes, after a restart, after their end, on another network."""
    shown: dict[str, int] = {}
    async with open_honest_town(2) as honest:
        victim = honest.nodes[0]
        forger = Forger("captured", victim.node.clock.now())
        captured = [forger.good(life=3600).frame for _ in range(count)]
        assert await _tell(honest, "first", captured) == count
        await trio.sleep(400)  # the router's own memory of ids is six minutes at most
        shown["after seven minutes"] = await _tell(honest, "second", captured)
        await victim.crash()
        await victim.start()
        shown["after a restart"] = await _tell(honest, "third", captured)
        let_pass(honest.town, 3700)
        await trio.sleep(700)
        assert len(victim.node.board) == 0
        shown["after their end"] = await _tell(honest, "fourth", captured)
        forwarded = victim.node.gossip._router.statistics().counters.get("sent.forwarded", 0)
    other = Board("other")
    shown["on another network"] = sum(other.hear(one, DIVISION, "mallory", forger.now).accepted for one in captured)
    found = [at_most("T9", f"{count} wishes replayed {when}: shown", number, 0) for when, number in shown.items()]
    return [*found, at_most("T9", "passed on since the restart", forwarded, 0)]


async def _tell(honest: HonestTown, name: str, frames: list[bytes]) -> int:
    """How many of them were news to the victim."""
    victim = honest.nodes[0]
    before = victim.node.board.counters["accepted"]
    async with open_mallory(honest.world, name) as mallory:
        peer = await mallory.befriend(victim.address)
        await wait_until(victim, lambda node: mallory.network.peer_id in node.gossip.subscribers(DIVISION))
        for start in range(0, len(frames), 50):
            await mallory.publish(peer, *frames[start : start + 50])
            await trio.sleep(0.5)
    return victim.node.board.counters["accepted"] - before


# ------------------------------------------------------------------------------------------------------- offers


async def offer_flood(
    bots: int = 500, subnets: int = 5, peers: int = 25, *, max_offers: int = 30, measure_lag: bool = False
) -> list[Figure]:
    """T19: vendor bots answer one wish with the best price of all, ten honest vendors come when the pool is full, and
    the rest of the bots after them. Nobody is known. Each bot has a key of its own; they share peers and subnets."""
    async with AsyncExitStack() as stack:
        # A file and threads where the loop is measured; where time is virtual there can be none.
        path = Path(stack.enter_context(TemporaryDirectory())) / "node.db" if measure_lag else None
        town = await stack.enter_async_context(open_town())
        assert town.world is not None
        await town.open("Market", meeting=True, address="/ip4/8.1.1.1/tcp/4001")
        alice = await town.open("Alice", address="/ip4/8.2.2.2/tcp/4001", path=path)
        asked = await alice.desk.ask({**SKIING, "max_offers": max_offers}, 10)
        wish = alice.node.requester.wish(bytes.fromhex(asked["intent"]["id"]))
        assert wish is not None
        most = POOL * wish.intent.max_offers
        letters = []
        for number in range(bots):
            letters.append(best_offer(wish.revision, number))
            await trio.lowlevel.checkpoint()
        crowd = [
            await stack.enter_async_context(open_peer(town.world, number, number % subnets)) for number in range(peers)
        ]
        lags: list[float] = []
        largest = 0

        async def watch() -> None:
            nonlocal largest
            while True:
                began = perf_counter()
                await trio.sleep(0.01)
                lags.append(perf_counter() - began - 0.01)
                largest = max(largest, len(alice.node.threads.of_root(wish.root)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            early = bots * 4 // 5
            await offer_all(alice, crowd, letters[:early])
            honest = [
                await town.open(
                    f"Shop {n}", address=f"/ip4/8.{n + 10}.0.1/tcp/4001", catalogue=car_hire(f"{50 + n}.00")
                )
                for n in range(10)
            ]
            for shop in honest:
                await wait_until(shop, lambda node: node.vendor.counters["offered"] == 1)
            await trio.sleep(2)
            await offer_all(alice, crowd, letters[early:])
            await trio.sleep(3)  # what left the pool leaves the store
            nursery.cancel_scope.cancel()
        pool = alice.node.threads.of_root(wish.root)
        shops = {shop.node.vendor.public for shop in honest}
        kept = sum(live.other in shops for live in pool)
        stored = await alice.store.peek(lambda tx: len(tx.threads()))
        where = f"{bots} bots, {peers} peers, {subnets} subnets"
        found = [
            at_most("T19", f"{where}: vendors in the pool, at most", largest, most),
            at_most("T19", "threads in the store", stored, most),
        ]
        if subnets < most // 10:
            found.append(at_least("T19", "of 10 honest vendors kept, nobody known before", kept, 5))
        else:
            found.append(told("T19", "of 10 honest vendors kept (more subnets than places)", f"{kept}"))
        if measure_lag:
            found.append(within("T19", "loop lag, p99", 1000 * quantile(lags, 0.99), 100, " ms"))
            found.append(told("T19", "loop lag, worst", f"{1000 * max(lags):.0f} ms"))
        return found


def best_offer(wish: Message, number: int) -> Item:
    assert isinstance(wish.body, Intent)
    offer = Offer(
        Vendor(f"Bot {number}"),
        "mobility.car",
        (Line("Car", 1, "stay", 100, 100),),
        Money(100, "EUR"),
        props=(Fact("drive", "4x4"), Fact("winter_tyres", True)),
        meets=("drive", "winter_tyres"),
        when=wish.body.when,
        where=wish.body.where,
    )
    found = match(wish.body, offer)
    assert found.answers
    assert not found.deviates, "nobody answers this wish better"
    key, box = SigningKey(seed_of(f"bot {number} signs")), BoxKey(seed_of(f"bot {number} reads"))
    salt, nonce = seed_of(f"bot {number} salt")[:16], seed_of(f"bot {number} nonce")[:24]
    draft = Draft(
        "offer", offer, NET, wish.head.at, wish.head.at + 7200, 0, salt, ref=wish.id, root=wish.root, to=wish.author
    )
    return write_letter(draft, key, box, wish.body.box, own_is_box=False, n=0, nonce=nonce)[1]


def open_peer(world: MemoryWorld, number: int, subnet: int) -> Any:
    address = f"/ip4/9.{subnet >> 8}.{subnet & 255}.{number // 250 + number % 250 + 1}/tcp/{4000 + number}"
    return world.open_network(f"bots' peer {number}", address=address)


async def offer_all(alice: Neighbour, crowd: list[Network], letters: list[Item]) -> None:
    """All at once, each peer its part on one stream; until every letter was answered, by an ack or a hint."""

    async def offer(network: Network, mine: list[Item]) -> None:
        await network.dial(alice.address)
        stream = await network.open_stream(alice.peer_id, PROTOCOL)
        await stream.send_all(b"".join(frame_with_length(item.encoded()) for item in mine))
        deframer, answered = Deframer(MAX_ITEM), 0
        while answered < len(mine):
            answered += len(deframer.feed(await stream.receive_some()))
        await stream.close()

    async with trio.open_nursery() as nursery:
        for number, network in enumerate(crowd):
            nursery.start_soon(offer, network, letters[number :: len(crowd)])
