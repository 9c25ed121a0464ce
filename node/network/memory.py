"""A whole network in one process: delay, loss, bandwidth, partition, crash and restart, reproducible from one seed.

It passes the same contract suite as libp2p. Time is trio's: under `trio.testing.MockClock(autojump_threshold=0)` a
simulated hour takes as long as its work. Each direction of each pair of peers has its own random generator, made from
the world's seed and the two peer ids: with a shared one, the order in which trio runs tasks would decide who draws
what.
"""

import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio
from nacl.signing import SigningKey

from node.network.address import parse_address, parse_dialable
from node.network.groups import raise_single
from node.network.links import LinkBook, serve_stream
from node.network.memory_link import Conditions, MemoryLink, MemoryStream, Tap, Wire
from node.network.places import GRACE_SECONDS, Guest, Places
from node.network.seam import (
    Address,
    Appraise,
    DialError,
    Handler,
    Link,
    LinkEvent,
    ListenError,
    Network,
    PeerId,
    Stream,
    StreamError,
)
from protocol.keys import peer_id

__all__ = ["Conditions", "MemoryNetwork", "MemoryWorld"]

DIAL_SECONDS = 10.0
NEGOTIATE_SECONDS = 10.0
_DIAL_ROUND_TRIPS = 5  # TCP, two negotiations, and Noise's one and a half
_STREAMS_PER_LINK = 256  # inbound, as the libp2p implementation allows


class MemoryWorld:
    """Everything between the networks opened in it. What happens to links happens at once and at both ends."""

    def __init__(self, seed: int = 0, conditions: Conditions | None = None) -> None:
        self._seed = seed
        self._default = conditions or Conditions()
        self._conditions: dict[frozenset[PeerId], Conditions] = {}
        self._chances: dict[tuple[PeerId, PeerId], random.Random] = {}
        self._running: dict[PeerId, MemoryNetwork] = {}
        self._listening: dict[str, MemoryNetwork] = {}
        self._homes: dict[PeerId, str] = {}
        self._groups: list[set[PeerId]] = []
        self.tap: Tap | None = None
        """Told of every chunk a stream carries, when it is sent."""

    @asynccontextmanager
    async def open_network(
        self,
        identity: bytes | str,
        *,
        address: Address | None = None,
        listening: bool = True,
        inbound: int | None = None,
        grace: float = GRACE_SECONDS,
    ) -> AsyncIterator[Network]:
        """A node's door to this world. `identity` is an Ed25519 seed, or any name, which stands for one.

        Without `address` (as `/ip4/10.0.0.7/tcp/4001`), each identity has one of its own that survives restarts. Not
        listening, it cannot be dialled. `inbound` places are for links that others make, by default any number; after
        `grace` seconds one may have to make room. Raises ListenError when the address or the identity is in use."""
        ours = self.peer_id(identity)
        if address is None:
            home = self._homes.setdefault(ours, f"/ip4/10.{_spread(len(self._homes) + 1)}/tcp/4001")
        else:
            try:
                home = parse_address(address).transport
            except ValueError as error:
                raise ListenError(str(error)) from None
        if home in self._listening or ours in self._running:
            raise ListenError(f"cannot listen on {home}: it is in use")
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                network = self._running[ours] = MemoryNetwork(
                    self,
                    ours,
                    home,
                    listening,
                    nursery,
                    inbound,
                    Places(random.Random(f"{self._seed} {ours} places"), grace),
                )
                if listening:
                    self._listening[home] = network
                try:
                    yield network
                except Exception as error:  # kept out of the group that the nursery would wrap around it
                    failure = error
                finally:
                    self._remove(network)
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise_single(group)
        if failure is not None:
            raise failure

    @staticmethod
    def peer_id(identity: bytes | str) -> PeerId:
        seed = hashlib.sha256(identity.encode()).digest() if isinstance(identity, str) else identity
        return peer_id(bytes(SigningKey(seed).verify_key))

    # The weather.

    def set_conditions(self, a: PeerId, b: PeerId, conditions: Conditions) -> None:
        """Between these two, from now on, also on the link they have."""
        self._conditions[frozenset((a, b))] = conditions

    def conditions(self, a: PeerId, b: PeerId) -> Conditions:
        return self._conditions.get(frozenset((a, b)), self._default)

    def partition(self, *groups: Iterable[PeerId], notice: float = 0.0) -> None:
        """From now on only peers of one group reach each other; those in no group are one more. Links across break
        after `notice` seconds of silence, unless `heal` comes first: then what was under way arrives late."""
        self._groups = [set(group) for group in groups]
        for link in self._links():
            if not self.can_reach(*link.ends):
                if notice > 0:
                    link.hold()
                    self._running[link.ends[0]].spawn(_break_if_held, link, notice)
                else:
                    link.break_off()

    def heal(self) -> None:
        self._groups = []
        for link in self._links():
            link.release()

    def can_reach(self, a: PeerId, b: PeerId) -> bool:
        return all((a in group) == (b in group) for group in self._groups)

    def cut(self, a: PeerId, b: PeerId) -> None:
        """Break the link between two peers, if there is one. They may dial again."""
        for link in self._links():
            if set(link.ends) == {a, b}:
                link.break_off()

    def crash(self, peer: PeerId) -> None:
        """As kill -9: links and streams break, handlers stop where they are, and nothing works there any more. The
        same identity can be opened again at once, while the `async with` of its former life still runs."""
        network = self._running.get(peer)
        if network is not None:
            self._remove(network)

    def _links(self) -> list[MemoryLink]:
        return [link for network in self._running.values() for link in network.dialled_links()]

    def _remove(self, network: "MemoryNetwork") -> None:
        if self._running.get(network.peer_id) is network:
            del self._running[network.peer_id]
        if self._listening.get(network.home) is network:
            del self._listening[network.home]
        network.shut()

    # For the networks in it.

    def find(self, transport: str) -> "MemoryNetwork | None":
        return self._listening.get(transport)

    def join(self, dialler: "MemoryNetwork", accepter: "MemoryNetwork") -> MemoryLink:
        a, b = dialler.peer_id, accepter.peer_id

        def broken() -> None:
            dialler.lost(b, link)
            accepter.lost(a, link)

        def wire(source: PeerId, goal: PeerId) -> Wire:
            chance = self._chances.setdefault((source, goal), random.Random(f"{self._seed} {source} {goal}"))
            return Wire(chance, lambda: self.conditions(a, b), lambda: link.break_off())

        link = MemoryLink(a, b, (wire(a, b), wire(b, a)), broken, self.tap)
        accepter.accept(dialler, link)
        return link


class MemoryNetwork:
    """The seam in memory. Made by `MemoryWorld.open_network`."""

    def __init__(
        self,
        world: MemoryWorld,
        ours: PeerId,
        home: str,
        listening: bool,
        nursery: trio.Nursery,
        most_inbound: int | None,
        places: Places,
    ) -> None:
        self._world = world
        self._ours = ours
        self.home = home
        self._addresses = (f"{home}/p2p/{ours}",) if listening else ()
        self._nursery = nursery
        self._tasks: set[trio.CancelScope] = set()
        self._book = LinkBook()
        self._links: dict[PeerId, tuple[MemoryLink, MemoryNetwork]] = {}
        self._inbound_streams: Counter[PeerId] = Counter()
        self._most_inbound = most_inbound
        self._places = places
        self._handlers: dict[str, Handler] = {}
        self._dialling: dict[PeerId, trio.Lock] = {}
        self._counts: Counter[str] = Counter()
        self._shut = False

    @property
    def peer_id(self) -> PeerId:
        return self._ours

    @property
    def addresses(self) -> tuple[Address, ...]:
        return self._addresses

    def serve(self, protocol: str, handler: Handler) -> None:
        self._handlers[protocol] = handler

    def appraise_links(self, appraise: Appraise) -> None:
        self._places.appraise = appraise

    def links(self) -> tuple[Link, ...]:
        return self._book.all()

    def watch_links(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[LinkEvent]]:
        return self._book.watch()

    def statistics(self) -> dict[str, int]:
        return dict(self._counts) | {"links": len(self._links), "connections": len(self._links)}

    async def dial(self, address: Address) -> PeerId:
        try:
            target, peer = parse_dialable(address)
        except ValueError as error:
            raise DialError(str(error)) from None
        if peer == self._ours:
            raise DialError(f"{address} is our own address")
        await trio.lowlevel.checkpoint()
        async with self._dialling.setdefault(peer, trio.Lock()):
            if peer not in self._book:
                self._counts["dials"] += 1
                try:
                    await self._dial(target.transport, peer)
                except DialError:
                    self._counts["dials_failed"] += 1
                    raise
        return peer

    async def _dial(self, transport: str, peer: PeerId) -> None:
        found = self._world.find(transport)
        if self._shut:
            raise DialError("the network is closed")
        if found is None:
            await trio.sleep(2 * self._world.conditions(self._ours, peer).delay)
            raise DialError(f"cannot reach {transport}: nobody listens there")
        seconds = 2 * _DIAL_ROUND_TRIPS * self._world.conditions(self._ours, found.peer_id).delay
        if seconds > DIAL_SECONDS or not self._world.can_reach(self._ours, found.peer_id):
            await trio.sleep(DIAL_SECONDS)
            raise DialError(f"no answer from {transport} within {DIAL_SECONDS:g} s")
        await trio.sleep(seconds)
        if self._shut or self._world.find(transport) is not found:
            raise DialError(f"{transport} hung up during the handshake")
        if found.peer_id != peer:
            raise DialError(f"no link to {transport}: {found.peer_id} is there, not {peer}")
        if peer not in self._links:  # else both dialled at once: one link serves, and now it is of our choosing too
            if not found.make_room_for(self):
                raise DialError(f"{transport} hung up: it has no place for one more")
            link = self._world.join(self, found)
            self._links[peer] = (link, found)
            self.spawn(link.run)
        self._counts["connections_dialled"] += 1
        self._book.up(Link(peer, True, transport))

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        if peer not in self._links:
            raise StreamError(f"there is no link to {peer}")
        link, other = self._links[peer]
        self._counts["streams_opened"] += 1
        stream = MemoryStream(link, self._ours, protocol, self.spawn)
        link.carry(self._ours, len(protocol), lambda: other.asked_for(stream, link))
        try:
            with trio.fail_after(NEGOTIATE_SECONDS):
                await stream.wait_agreed()
        except BaseException as error:
            await stream.reset()
            if isinstance(error, trio.TooSlowError):
                raise StreamError(
                    f"no answer to the wish to speak {protocol} within {NEGOTIATE_SECONDS:g} s"
                ) from error
            raise
        return stream

    async def hang_up(self, peer: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        if peer in self._links:
            self._links[peer][0].break_off()

    # What the world and the other networks do to this one; nothing here waits.

    def make_room_for(self, newcomer: "MemoryNetwork") -> bool:
        """Hang up on somebody if all inbound places are taken. False: on nobody, and there is none for the newcomer."""
        guests = [
            Guest(peer, _host_of(other.home), link.since, chosen=self._is_chosen(peer))
            for peer, (link, other) in self._links.items()
            if link.ends[1] == self._ours
        ]
        if self._most_inbound is None or len(guests) < self._most_inbound:
            return True
        now = trio.current_time()
        leaver = self._places.who_leaves(guests, Guest(newcomer.peer_id, _host_of(newcomer.home), now))
        if leaver is None:
            self._counts["newcomers_refused"] += 1
            return False
        self._counts["links_made_room"] += 1
        self._places.has_left(leaver, now)
        self._links[leaver][0].break_off()
        return True

    def _is_chosen(self, peer: PeerId) -> bool:
        return any(link.peer == peer and link.outbound for link in self._book.all())

    def accept(self, dialler: "MemoryNetwork", link: MemoryLink) -> None:
        self._links[dialler.peer_id] = (link, dialler)
        self._counts["connections_accepted"] += 1
        port = 49_152 + self._counts["connections_accepted"] % 16_384  # not the port it listens on, as in life
        self._book.up(Link(dialler.peer_id, False, f"{dialler.home.rpartition('/')[0]}/{port}"))

    def asked_for(self, theirs: MemoryStream, link: MemoryLink) -> None:
        """A peer wishes for a stream."""
        peer, protocol = link.other(self._ours), theirs.protocol
        handler = self._handlers.get(protocol)
        if handler is None or self._inbound_streams[peer] >= _STREAMS_PER_LINK:
            self._counts["streams_refused"] += 1
            if handler is None:
                link.carry(self._ours, 0, theirs.refused)
            else:
                link.carry(self._ours, 0, lambda: theirs.fail("too many streams"))
            return
        self._counts["streams_accepted"] += 1
        ours = MemoryStream(link, self._ours, protocol, self.spawn)
        ours.agreed(theirs)
        link.carry(self._ours, len(protocol), lambda: theirs.agreed(ours))
        self.spawn(self._serve, handler, ours)

    async def _serve(self, handler: Handler, stream: MemoryStream) -> None:
        self._inbound_streams[stream.peer] += 1
        try:
            await serve_stream(handler, stream, self._counts)
        finally:
            self._inbound_streams[stream.peer] -= 1

    def lost(self, peer: PeerId, link: MemoryLink) -> None:
        if peer in self._links and self._links[peer][0] is link:
            del self._links[peer]
            self._book.down(peer)

    def dialled_links(self) -> list[MemoryLink]:
        return [link for link, _other in self._links.values() if link.ends[0] == self._ours]

    def shut(self) -> None:
        self._shut = True
        for link, _other in list(self._links.values()):
            link.break_off()
        for scope in self._tasks:
            scope.cancel()
        self._book.close()

    def spawn(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """A task that ends with this network, or with its crash."""
        if not self._shut:
            self._nursery.start_soon(self._run, work, args)

    async def _run(self, work: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        with trio.CancelScope() as scope:
            self._tasks.add(scope)
            try:
                if not self._shut:
                    await work(*args)
            finally:
                self._tasks.discard(scope)


async def _break_if_held(link: MemoryLink, seconds: float) -> None:
    await trio.sleep(seconds)
    if link.is_held:
        link.break_off()


def _host_of(home: Address) -> str:
    return parse_address(home).host


def _spread(number: int) -> str:
    return f"{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
