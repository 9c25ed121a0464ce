"""Connections that want nothing but our places: those that say nothing, those that say a byte now and then, and those
that finish their handshake, answer when they are asked whether they live, and want nothing more."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import trio
from libp2p import create_identity_from_seed
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.security.noise.transport import Transport as Noise

from node.network.address import parse_address
from node.network.libp2p import NetLimits
from node.network.libp2p_connections import Connections
from node.network.seam import LinkDown, Network
from protocol.keys import SigningKey, peer_id
from tests.driver import seed_of

HELLO = b"\x13/multistream/1.0.0\n"
PAUSE = 0.5
"""Seconds between two bytes of a slow one."""


@asynccontextmanager
async def hold_connections(port: int, idle: int, slow: int, hosts: tuple[str, ...]) -> AsyncIterator[None]:
    """Open so many to 127.0.0.1, from these loopback addresses in turn, and open each again when it is closed."""
    async with trio.open_nursery() as nursery:
        for number in range(idle + slow):
            nursery.start_soon(_hold, port, hosts[number % len(hosts)], number >= idle)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def hold_links(goal: Network, count: int, hosts: Sequence[str]) -> AsyncIterator[None]:
    """So many peers, each with its handshake done and nothing to say, from these loopback addresses in turn. Whoever is
    hung up on, or refused, comes back as somebody else. Starts when all were linked."""
    arrived = [trio.Event() for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for number, event in enumerate(arrived):
            nursery.start_soon(_hold_link, goal, f"idle {number}", hosts[number % len(hosts)], event)
        with trio.fail_after(60):
            for event in arrived:
                await event.wait()
        yield
        nursery.cancel_scope.cancel()


async def _hold_link(goal: Network, name: str, host: str, arrived: trio.Event) -> None:
    port = parse_address(goal.addresses[0]).port
    for life in itertools.count():
        seed = seed_of(f"{name}, life {life}")
        noise = Noise(create_identity_from_seed(seed), noise_privkey=create_new_key_pair().private_key)
        async with trio.open_nursery() as nursery:
            ours = peer_id(SigningKey(seed).public)
            links = Connections(noise, ours, nursery, NetLimits(), Counter(), lambda _link, stream: stream.drop())
            # Refusals have many forms: libp2p's, ours, the kernel's. She does not care which.
            with suppress(Exception):
                await links.shake_hands(await connect_from(host, port), goal.peer_id)
                async with links.book.watch() as events:
                    arrived.set()
                    while not isinstance(await events.receive(), LinkDown):
                        pass
            nursery.cancel_scope.cancel()
        await trio.sleep(PAUSE)


async def connect_from(host: str, port: int) -> trio.SocketStream:
    """To 127.0.0.1, from another loopback address."""
    return await trio.open_tcp_stream("127.0.0.1", port, local_address=host)


async def _hold(port: int, host: str, slow: bool) -> None:
    while True:
        try:
            async with await connect_from(host, port) as stream:
                async with trio.open_nursery() as nursery:
                    if slow:
                        nursery.start_soon(_dribble, stream)
                    while await stream.receive_some():
                        pass
                    nursery.cancel_scope.cancel()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except BaseExceptionGroup as group:
            if group.split((OSError, trio.BrokenResourceError, trio.ClosedResourceError))[1] is not None:
                raise
        await trio.sleep(PAUSE)


async def _dribble(stream: trio.SocketStream) -> None:
    for byte in HELLO * 100:
        await stream.send_all(bytes([byte]))
        await trio.sleep(PAUSE)
