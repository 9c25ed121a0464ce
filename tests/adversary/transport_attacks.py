"""Attacks on the places of a real node, over loopback."""

import time

import trio

from node.network.address import parse_address
from node.network.libp2p import NetLimits, open_libp2p_network
from node.network.seam import Network
from tests.driver import seed_of

from .connections import hold_connections
from .figures import Figure, at_most, told

LISTEN = ["/ip4/127.0.0.1/tcp/0"]


async def idle_and_slow(idle: int = 300, slow: int = 50, hosts: int = 1) -> list[Figure]:
    """T7: connections that say nothing, and connections that say a byte now and then, from other loopback addresses
    than Carol's. Each is opened again when it is closed. Carol dials three times."""
    limits = NetLimits(cap_private_addresses=True)
    addresses = tuple(f"127.0.{number}.2" for number in range(1, hosts + 1))
    async with open_libp2p_network(seed=seed_of("bob"), listen=LISTEN, limits=limits) as bob:
        port = parse_address(bob.addresses[0]).port
        async with hold_connections(port, idle, slow, addresses):
            await _until_all_came(bob, idle)
            times = []
            for number in range(3):
                async with open_libp2p_network(seed=seed_of(f"carol {number}"), listen=LISTEN) as carol:
                    began = time.perf_counter()
                    try:
                        with trio.fail_after(10):
                            await carol.dial(bob.addresses[0])
                    except Exception:
                        times.append(float("inf"))
                        continue
                    times.append(time.perf_counter() - began)
            under_way = bob.statistics()["handshakes_under_way"]
    return [
        at_most("T7", f"{idle} idle and {slow} slow from {hosts} address(es): slowest dial", max(times), 2, " s"),
        told("T7", "handshakes they hold", f"{under_way} of {limits.handshakes}"),
    ]


async def _until_all_came(bob: Network, count: int) -> None:
    with trio.fail_after(20):
        while True:
            statistics = bob.statistics()
            over = (statistics.get(name, 0) for name in ("connections_refused", "handshakes_given_up"))
            if sum(over) + statistics["handshakes_under_way"] >= count:
                return
            await trio.sleep(0.05)
