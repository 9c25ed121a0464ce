"""The attacks of scripts/adversary in small, each with the goals of the long form."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.driver import SKIING, car_hire, open_town, wait_offers, wait_until

from . import mesh_attacks, node_attacks, points, process_attacks, transport_attacks, wire_attacks
from .figures import Figure


def expect(figures: list[Figure]) -> None:
    missed = [figure.line() for figure in figures if not figure.reached]
    assert not missed, "\n".join(missed)
    assert any(figure.goal for figure in figures)


@pytest.mark.parametrize(
    ("attack", "size"),
    [
        (mesh_attacks.invalid_flood, (3, 2, 200, 5)),
        (mesh_attacks.valid_flood, (400, 200, 20, 4)),
        (mesh_attacks.eclipse, (50, 1)),
        (mesh_attacks.bad_forwarders, (10,)),
        (mesh_attacks.honest_soak, (5, 3)),
        (node_attacks.memory, (1, 4, 2)),
        (node_attacks.replay, (100,)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_in_virtual_time(
    attack: Callable[..., Awaitable[list[Figure]]], size: tuple[Any, ...], clock: MockClock
) -> None:
    """Bad neighbours, floods, a crowd of sybils, replays; and a time in which nobody is bad, and nobody punished."""
    expect(await attack(*size))


async def test_vendor_bots_do_not_crowd_out_vendors(clock: MockClock) -> None:
    """Sixty bots of five subnets, with the best offers there can be, and a pool for thirty: ten honest vendors who come
    when it is full are in it."""
    expect(await node_attacks.offer_flood(60, 5, 20, max_offers=3))


async def test_a_vendor_with_a_contract_is_let_in_whatever_the_crowd(clock: MockClock) -> None:
    """Bots of forty subnets fill a pool for ten with the best offers. Nobody else comes in, but Bob, who kept his word
    once; and what was passed over is in no store, also after a restart."""
    async with AsyncExitStack() as stack:
        town = await stack.enter_async_context(open_town())
        assert town.world is not None
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        first = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, first, 1))["offers"]
        await alice.desk.accept(offer["id"], "alice@example.org", None, [], 20)
        await bob.stop()
        await alice.crash()
        await alice.start()
        asked = await alice.desk.ask({**SKIING, "max_offers": 1}, 10)
        wish = alice.node.requester.wish(bytes.fromhex(asked["intent"]["id"]))
        assert wish is not None
        letters = [node_attacks.best_offer(wish.revision, number) for number in range(40)]
        crowd = [await stack.enter_async_context(node_attacks.open_peer(town.world, n, n)) for n in range(40)]
        await node_attacks.offer_all(alice, crowd, letters)
        await bob.start()
        carol = await town.open("Carol", catalogue=car_hire())
        for shop in (bob, carol):
            await wait_until(shop, lambda node: node.vendor.answer_to(wish.revision.id) is not None)
        await wait_until(carol, lambda node: node.delivery.counters["hint_busy"] == 1)
        for _ in range(2):
            await trio.sleep(3)
            pool = alice.node.threads.of_root(wish.root)
            assert len(pool) == 10
            assert bob.node.vendor.public in {live.other for live in pool}
            assert carol.node.vendor.public not in {live.other for live in pool}
            rows = await alice.store.peek(lambda tx: {row.id for row in tx.threads() if row.root == wish.root})
            assert rows == {live.id for live in pool}
            await alice.crash()
            await alice.start()


@pytest.mark.parametrize("attack", [wire_attacks.spellings, wire_attacks.realms, wire_attacks.weak_keys])
def test_of_bytes(attack: Callable[[], list[Figure]]) -> None:
    """Other spellings of a wish, signatures in a wrong place, keys that are weak."""
    expect(attack())


def test_rpc_mutants() -> None:
    """Nothing is raised, and the next honest wish is believed."""
    expect(wire_attacks.rpc_mutants(1000, seed=5))


@pytest.mark.live
@pytest.mark.parametrize("addresses", [1, 12])
async def test_connections_that_want_nothing(addresses: int) -> None:
    """More handshakes than there is room for, from one address and from a dozen: Carol is let in."""
    expect(await transport_attacks.idle_and_slow(100, 20, addresses))


@pytest.mark.live
async def test_links_that_are_never_used() -> None:
    """Mallory holds 31 of 32 places from four subnets: three from elsewhere have a place at once, and keep it."""
    expect(await transport_attacks.silent_links(32, 4, idle=60, slow=10))


@pytest.mark.live
async def test_a_process_lives_through_mutants() -> None:
    """On gossip and on every direct protocol; then it answers who asks how it does."""
    expect(await process_attacks.mutants(3))


def test_borderline_signatures_are_what_they_seem() -> None:
    """The points they are made of: eight of small order, in all their spellings; a verifier that multiplies by the
    cofactor would take each; ours takes those alone whose key and R a careful library makes, or that could be."""
    small = points.torsion()
    assert len(set(small)) == 8
    assert all(points.times(8, point) == points.NEUTRAL for point in small)
    assert sum(len(points.spellings(point)) for point in small) == 14
    made = list(points.cases())
    assert all(case.is_cofactored for case in made[:: len(made) // 30])
    taken = [case.what for case in made if case.expected()]
    assert {what for what in taken if "small" in what} == set()
    assert "A mixed 0, R mixed 0" in taken
