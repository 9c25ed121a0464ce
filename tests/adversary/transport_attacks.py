"""Attacks on the places of a real node, over loopback."""

import time
from contextlib import AsyncExitStack

import trio

from node.network.address import parse_address
from node.network.libp2p import NetLimits, open_libp2p_network
from node.network.seam import Network, NetworkError, Worth
from tests.driver import seed_of

from .connections import hold_connections, hold_links
from .figures import Figure, at_least, at_most, told, within
from .proc import sockets_at

LISTEN = ["/ip4/127.0.0.1/tcp/0"]


async def idle_and_slow(idle: int = 300, slow: int = 50, hosts: int = 1) -> list[Figure]:
    """T7: connections that say nothing, and connections that say a byte now and then, from other loopback addresses
    than Carol's. Each is opened again when it is closed. Carol dials three times. The node's file descriptors are
    counted before, meanwhile, and when all have hung up."""
    limits = NetLimits(cap_private_addresses=True)
    addresses = tuple(f"127.0.{number}.2" for number in range(1, hosts + 1))
    async with open_libp2p_network(seed=seed_of("bob"), listen=LISTEN, limits=limits) as bob:
        port = parse_address(bob.addresses[0]).port
        before = sockets_at(port)
        async with hold_connections(port, idle, slow, addresses):
            await _until_all_came(bob, idle)
            times = []
            for number in range(3):
                async with open_libp2p_network(seed=seed_of(f"carol {number}"), listen=LISTEN) as carol:
                    times.append(await _time_dial(carol, bob))
            under_way, meanwhile = bob.statistics()["handshakes_under_way"], sockets_at(port)
        left = await _left_at(port, before)
    return [
        within("T7", f"{idle} idle and {slow} slow from {hosts} address(es): slowest dial", max(times), 2),
        told("T7", "handshakes they hold", f"{under_way} of {limits.handshakes}"),
        at_most("T7", "file descriptors it holds meanwhile", meanwhile, 512),
        at_most("T7", "left when they have hung up, more than before", left, 0),
    ]


async def silent_links(
    places: int = 128, subnets: int = 16, wait: float = 0.0, idle: int = 300, slow: int = 50
) -> list[Figure]:
    """T7: finished links that are never used, in all places there are for others, and idle and slow connections from
    twelve addresses beside them. Dave, in Bob's mesh, came before. `wait` seconds later three Carols dial, one after
    the other, and stay while those who were hung up on come back again and again."""
    kept = places // 4  # a fifth of all, for dials of our own: 32 of 160
    limits = NetLimits(connections=places + kept, kept_for_dials=kept, cap_private_addresses=True)
    addresses = tuple(f"127.{1 + number // 200}.{number % 200}.2" for number in range(subnets))
    async with AsyncExitStack() as stack:
        open_here = stack.enter_async_context
        bob = await open_here(open_libp2p_network(seed=seed_of("bob"), listen=LISTEN, limits=limits))
        dave = await open_here(open_libp2p_network(seed=seed_of("dave"), listen=LISTEN))
        await dave.dial(bob.addresses[0])
        bob.appraise_links(lambda: {dave.peer_id: Worth.MESH})
        port = parse_address(bob.addresses[0]).port
        before = sockets_at(port)  # Dave's among them
        async with (
            hold_links(bob, places - 1, addresses),
            hold_connections(port, idle, slow, addresses[:12]),
            AsyncExitStack() as visit,
        ):
            await trio.sleep(wait)
            held = len(bob.links())
            carols, times = set(), []
            for number in range(3):
                carol = await visit.enter_async_context(
                    open_libp2p_network(seed=seed_of(f"carol {number}"), listen=LISTEN)
                )
                carols.add(carol.peer_id)
                times.append(await _time_dial(carol, bob))
            await trio.sleep(2)
            there = {link.peer for link in bob.links()}
            meanwhile, counted = sockets_at(port), bob.statistics()
        left = await _left_at(port, before)
    return [
        at_least("T7", f"silent links from {subnets} subnets: places they and Dave hold", held, places),
        within("T7", "slowest of three dials", max(times), 2),
        at_least("T7", "of the three, still linked 2 s later", len(there & carols), 3),
        at_least("T7", "and Dave", len(there & {dave.peer_id}), 1),
        told(
            "T7",
            "made room",
            f"{counted.get('links_made_room', 0)} times, {counted.get('newcomers_refused', 0)} refused",
        ),
        at_most("T7", "links at once", len(there), places),
        at_most("T7", "file descriptors meanwhile", meanwhile, 512),
        at_most("T7", "left when they have hung up, more than before", left, 0),
    ]


async def _time_dial(carol: Network, bob: Network) -> float:
    began = time.perf_counter()
    try:
        with trio.fail_after(60):
            await carol.dial(bob.addresses[0])
    except (NetworkError, trio.TooSlowError):
        return float("inf")
    return time.perf_counter() - began


async def visitors(count: int = 600) -> list[Figure]:
    """T7: more connections in a life than py-libp2p has places (250), three at a time."""
    async with open_libp2p_network(seed=seed_of("bob"), listen=LISTEN) as bob:
        port = parse_address(bob.addresses[0]).port
        before = sockets_at(port)

        async def visit(name: str) -> None:
            async with open_libp2p_network(seed=seed_of(name), listen=[]) as visitor:
                for _ in range(count // 3):
                    await visitor.dial(bob.addresses[0])
                    await visitor.hang_up(bob.peer_id)

        async with trio.open_nursery() as nursery:
            for name in ("alice", "carol", "dave"):
                nursery.start_soon(visit, name)
        left = await _left_at(port, before)
        return [
            at_least("T7", "connections in a life: let in", bob.statistics()["connections_accepted"], count),
            at_most("T7", "file descriptors left of them", left, 0),
        ]


async def _until_all_came(bob: Network, count: int) -> None:
    with trio.fail_after(60):
        while True:
            statistics = bob.statistics()
            over = (statistics.get(name, 0) for name in ("connections_refused", "handshakes_given_up"))
            if sum(over) + statistics["handshakes_under_way"] >= count:
                return
            await trio.sleep(0.05)


async def _left_at(port: int, before: int) -> int:
    """Sockets more than before, once they are none; or after a minute."""
    left = 0
    with trio.move_on_after(60):
        while True:
            left = sockets_at(port) - before
            if left <= 0:
                break
            await trio.sleep(0.05)
    return left
