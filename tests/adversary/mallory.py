"""Mallory on gossip: a peer that speaks raw RPCs over any network, and need not run the protocol.

What she does with what she hears is a behaviour: a function of (mallory, from whom, topic, data).
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeAlias

import trio

from node.network.memory import MemoryWorld
from node.network.seam import Network, NetworkError, PeerId, Stream
from protocol.errors import Refused
from protocol.framing import Deframer, frame_with_length
from protocol.gossip import PROTOCOLS
from protocol.gossip.rpc import (
    decode_rpc,
    encode_control,
    encode_graft,
    encode_publish,
    encode_subscription,
    message_id,
)
from protocol.limits import MAX_RPC

from .frames import TOPIC

Behaviour: TypeAlias = "Callable[[Mallory, PeerId, str, bytes], Awaitable[None]]"


class Mallory:
    def __init__(self, network: Network, nursery: trio.Nursery, behaviour: Behaviour, seed: str = "mallory") -> None:
        self.network = network
        self.rng = random.Random(seed)
        self.behaviour = behaviour
        self.heard: dict[bytes, bytes] = {}
        """Message id -> data."""
        self.pruned = 0
        self.streams: dict[PeerId, Stream] = {}
        self._nursery = nursery
        for protocol in PROTOCOLS:
            network.serve(protocol, self._hear)

    async def befriend(self, address: str, *, graft: bool = True) -> PeerId:
        """Dial, subscribe, and ask to be in the mesh."""
        peer = await self.network.dial(address)
        await self.greet(peer, graft=graft)
        return peer

    async def greet(self, peer: PeerId, *, graft: bool = True) -> None:
        """The same with who is linked already."""
        self.streams[peer] = await self.network.open_stream(peer, PROTOCOLS[0])
        await self.say(peer, encode_subscription(TOPIC, True))
        if graft:
            await self.say(peer, encode_control([encode_graft(TOPIC)]))

    async def say(self, peer: PeerId, *rpcs: bytes) -> None:
        for rpc in rpcs:
            await self.streams[peer].send_all(frame_with_length(rpc))

    async def publish(self, peer: PeerId, *frames: bytes) -> None:
        await self.say(peer, *[encode_publish(TOPIC, frame) for frame in frames])

    async def flood(self, peer: PeerId, rpcs: Iterable[bytes], per_second: float, seconds: float) -> int:
        """So many a second for so long; how many went out before the victim hung up."""
        end = trio.current_time() + seconds
        sent = 0
        try:
            for rpc in rpcs:
                if trio.current_time() >= end:
                    break
                await self.say(peer, rpc)
                sent += 1
                await trio.sleep(1 / per_second)
        except NetworkError:
            pass
        return sent

    async def spread(self, source: PeerId, topic: str, data: bytes) -> None:
        """To all she knows but the one it came from."""
        for peer in list(self.streams):
            if peer != source:
                try:
                    await self.say(peer, encode_publish(topic, data))
                except NetworkError:
                    self.streams.pop(peer, None)

    async def _hear(self, stream: Stream) -> None:
        deframer = Deframer(MAX_RPC)
        while data := await stream.receive_some():
            for raw in deframer.feed(data):
                try:
                    rpc = decode_rpc(raw)
                except Refused:
                    continue
                self.pruned += len(rpc.prune)
                for message in rpc.messages:
                    mid = message_id(message.topic, message.data)
                    if mid not in self.heard:
                        self.heard[mid] = message.data
                        self._nursery.start_soon(self.behaviour, self, stream.peer, message.topic, message.data)


# ------------------------------------------------------------------------------------------------- behaviours


async def drop_all(mallory: Mallory, source: PeerId, topic: str, data: bytes) -> None:
    """Hear everything, tell nothing."""


async def behave(mallory: Mallory, source: PeerId, topic: str, data: bytes) -> None:
    await mallory.spread(source, topic, data)


async def duplicate(mallory: Mallory, source: PeerId, topic: str, data: bytes) -> None:
    """Say everything ten times, also to whom it came from."""
    for _ in range(10):
        await mallory.spread("", topic, data)


def drop_victim(author: bytes) -> Behaviour:
    """A good forwarder, but for one person's words."""

    async def act(mallory: Mallory, source: PeerId, topic: str, data: bytes) -> None:
        if author not in data:
            await mallory.spread(source, topic, data)

    return act


def delay(seconds: float) -> Behaviour:
    async def act(mallory: Mallory, source: PeerId, topic: str, data: bytes) -> None:
        await trio.sleep(seconds)
        await mallory.spread(source, topic, data)

    return act


@asynccontextmanager
async def open_mallory(
    world: MemoryWorld, name: str = "mallory", behaviour: Behaviour = drop_all, address: str | None = None
) -> AsyncIterator[Mallory]:
    """One of hers, on the memory network."""
    async with world.open_network(name, address=address) as network, trio.open_nursery() as nursery:
        yield Mallory(network, nursery, behaviour, name)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_sybils(
    world: MemoryWorld, count: int, behaviour: Behaviour = drop_all, home: Callable[[int], str | None] = lambda _n: None
) -> AsyncIterator[list[Mallory]]:
    """Many of hers, each with keys of its own. `home`: the address of each, as a multiaddr; None: any."""
    async with trio.open_nursery() as nursery:
        opened: list[Mallory] = []
        for number in range(count):
            opened.append(await nursery.start(_live, world, f"sybil {number}", behaviour, home(number)))
        yield opened
        nursery.cancel_scope.cancel()


async def _live(
    world: MemoryWorld,
    name: str,
    behaviour: Behaviour,
    address: str | None,
    task_status: trio.TaskStatus[Mallory] = trio.TASK_STATUS_IGNORED,
) -> None:
    async with open_mallory(world, name, behaviour, address) as mallory:
        task_status.started(mallory)
        await trio.sleep_forever()
