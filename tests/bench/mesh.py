"""Our nodes' gossip in one process, all of admission on: `python -m tests.bench.mesh libp2p|memory <plan>`."""

import hashlib
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import trio

from node import garbage
from node.clock import SystemClock
from node.gossip import Gossip
from node.network.address import parse_address
from node.network.memory import MemoryWorld
from node.network.seam import Network
from protocol import categories
from protocol.board import Board, Heard
from protocol.gossip import Params

from .phases import Flights, measure, report
from .plan import DIVISION, NET, Plan, most_hops
from .rss import resident_bytes
from .slow_wire import open_slow_wires

OpenNetwork = Callable[[int], AbstractAsyncContextManager[Network]]
"""The number of a node -> its network."""


class OurMesh:
    def __init__(self, gossips: list[Gossip]) -> None:
        self._gossips = gossips

    def publish(self, author: int, frame: bytes) -> None:
        gossip = self._gossips[author]
        assert gossip.hear(DIVISION, frame).accepted, "we believe what we say"
        gossip.publish(DIVISION, frame)

    def copies(self) -> int:
        total = 0
        for gossip in self._gossips:
            counters: Any = gossip.statistics()["router"].counters  # type: ignore[attr-defined]
            total += sum(count for name, count in counters.items() if name in _RECEIVED)
        return total

    def most_hops(self) -> int:
        """From any node to the one farthest from it, over the links of the mesh alone."""
        numbers = {gossip._network.peer_id: number for number, gossip in enumerate(self._gossips)}
        topic = categories.topic(NET, DIVISION)
        links = [
            (number, numbers[peer])
            for number, gossip in enumerate(self._gossips)
            for peer in gossip._router.mesh(topic)
        ]
        return most_hops(len(self._gossips), links)

    def mesh_sizes(self) -> list[int]:
        return [sum(gossip.statistics()["router"].mesh_sizes.values()) for gossip in self._gossips]  # type: ignore[attr-defined]


_RECEIVED = ("message.accepted", "message.duplicate", "message.ignored", "message.rejected")


async def run_mesh(open_network: OpenNetwork, plan: Plan) -> dict[str, Any]:
    flights = Flights(plan)

    async def on_heard(batch: list[Heard]) -> None:
        for heard in batch:
            assert heard.message is not None
            flights.delivered(heard.message.head.salt)

    params = Params(d=plan.d, d_low=plan.d_low, d_high=plan.d_high, heartbeat_interval=plan.heartbeat)
    networks: list[Network] = []
    gossips: list[Gossip] = []

    async def live(number: int, task_status: trio.TaskStatus[None]) -> None:
        """One node, in a task of its own: whoever opens a network must also be the one to close it."""
        async with open_network(number) as network, trio.open_nursery() as nursery:
            gossip = Gossip(network, Board(plan.net), SystemClock(), random.Random(number), on_heard, params)
            await nursery.start(gossip.run)
            gossip.join(DIVISION)
            networks.append(network)
            gossips.append(gossip)
            task_status.started()

    before = resident_bytes()
    async with trio.open_nursery() as nursery:
        for number in range(plan.nodes):
            await nursery.start(live, number)
        async with _where_to_dial(networks, plan.delay) as addresses:
            async with trio.open_nursery() as dials:
                for a, b in plan.links:
                    dials.start_soon(networks[a].dial, addresses[b])
            mesh = OurMesh(gossips)
            links = [sum(number in link for link in plan.links) for number in range(plan.nodes)]
            with trio.fail_after(60):
                while not _is_ready(mesh, gossips, links, plan):  # noqa: ASYNC110 - meshes tell nobody when they are full
                    await trio.sleep(0.1)
            if plan.settle_garbage:
                garbage.settle()  # as a node does once it is up
            await trio.sleep(plan.settle)
            bytes_per_node = (resident_bytes() - before) / plan.nodes
            result = await measure(flights, mesh)
            result |= {"mesh_sizes": mesh.mesh_sizes(), "bytes_per_node": bytes_per_node, "mesh_hops": mesh.most_hops()}
        nursery.cancel_scope.cancel()
    return result


@asynccontextmanager
async def _where_to_dial(networks: list[Network], delay: float) -> AsyncIterator[list[str]]:
    """Each of them, by a way that makes all bytes late."""
    addresses = [network.addresses[0] for network in networks]
    if not delay:
        yield addresses
        return
    near = [parse_address(address) for address in addresses]
    async with open_slow_wires([address.port for address in near], delay) as ports:
        yield [str(replace(address, port=port)) for address, port in zip(near, ports, strict=True)]


def _is_ready(mesh: OurMesh, gossips: list[Gossip], links: list[int], plan: Plan) -> bool:
    heard = all(len(gossip.subscribers(DIVISION)) == count for gossip, count in zip(gossips, links, strict=True))
    full = all(size >= min(plan.d_low, count) for size, count in zip(mesh.mesh_sizes(), links, strict=True))
    return heard and full


def _seed(number: int) -> bytes:
    return hashlib.sha256(b"bench node %d" % number).digest()


def over_libp2p() -> OpenNetwork:
    from node.network.libp2p import open_libp2p_network  # a second to import, which the memory network does without

    return lambda number: open_libp2p_network(seed=_seed(number), listen=["/ip4/127.0.0.1/tcp/0"])


def over_memory() -> OpenNetwork:
    world = MemoryWorld()
    return lambda number: world.open_network(_seed(number))


if __name__ == "__main__":
    kind = sys.argv.pop(1)
    report(partial(run_mesh, over_libp2p() if kind == "libp2p" else over_memory()))
