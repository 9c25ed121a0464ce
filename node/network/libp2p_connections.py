"""The life of a libp2p connection: from the handshake to its end, with the limits, the health and the book of links.

Per connection three tasks run: one reads, one sends what the kernel did not take at once, one asks a silent peer
whether it is alive.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from random import SystemRandom
from typing import Any

import trio
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE

from node.network.libp2p_limits import NetLimits
from node.network.libp2p_negotiate import agree_on, ask_for, hear_answer, wish
from node.network.libp2p_noise import SealedPipe
from node.network.libp2p_stream import Libp2pStream
from node.network.libp2p_tcp import Pipe
from node.network.libp2p_yamux import PROTOCOL as YAMUX
from node.network.libp2p_yamux import Yamux
from node.network.links import LinkBook
from node.network.places import Guest, Places
from node.network.seam import DialError, Link, PeerId, StreamError
from protocol.gossip import any_place


@dataclass(eq=False)
class Connection:
    """One TCP connection to a peer, past its handshake."""

    yamux: Yamux
    pipe: Pipe
    peer: PeerId
    outbound: bool
    since: float
    """trio's time."""
    inbound_streams: int = 0

    @property
    def host(self) -> str:
        return self.pipe.get_remote_address()[0]


class _Wished:
    """The dialler's pipe while it wishes for Noise: its first Noise message leaves with the wish, and the answer to the
    wish is heard before the answer to the message. A round trip less, and everybody speaks Noise."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._answered = False
        self.write = pipe.write
        self.close = pipe.close
        self.get_remote_address = pipe.get_remote_address

    async def read(self, n: int | None = None) -> bytes:
        if not self._answered:
            await hear_answer(self._pipe, NOISE)
            self._answered = True
        return await self._pipe.read(n)


_place_of = lru_cache(maxsize=512)(any_place)
OnStream = Callable[[Connection, Libp2pStream], None]


class Connections:
    """All of them, and the book of links that follows from them."""

    def __init__(
        self,
        noise: Any,
        ours: PeerId,
        nursery: trio.Nursery,
        limits: NetLimits,
        counts: Counter[str],
        on_stream: OnStream,
    ) -> None:
        """`noise` is libp2p's transport; `on_stream` hears of streams that peers open."""
        self.book = LinkBook()
        self.places = Places(SystemRandom(), limits.grace_seconds, private_subnets=limits.cap_private_addresses)
        self.closing = False
        self.peer_id = ours
        self._noise = noise
        self._nursery = nursery
        self._limits = limits
        self._counts = counts
        self._on_stream = on_stream
        self._live: dict[Yamux, Connection] = {}
        self._handshakes: Counter[str] = Counter()
        self._under_way: dict[Pipe, str] = {}
        """Inbound handshakes and whence they come, oldest first; the same as `_handshakes` counts."""

    def statistics(self) -> dict[str, int]:
        live = self._live.values()
        return {
            "links": len(self.book.all()),
            "connections": len(live),
            "handshakes_under_way": self._handshakes.total(),
            "bytes_received": self._counts["bytes_received"] + sum(each.pipe.bytes_received for each in live),
            "bytes_sent": self._counts["bytes_sent"] + sum(each.pipe.bytes_sent for each in live),
        }

    def of(self, peer: PeerId) -> list[Connection]:
        """Our live connections to a peer, oldest first."""
        return [each for each in self._live.values() if each.peer == peer and not each.pipe.is_closed]

    def refuse_when_full(self) -> None:
        if len(self._live) >= self._limits.connections:
            raise DialError(f"there are {len(self._live)} connections already, and no more are allowed")

    async def shake_hands(self, stream: trio.SocketStream, peer: PeerId) -> None:
        """The dialler's side. Raises what libp2p raises, and DialError when the other side hung up at once."""
        pipe = Pipe(stream)
        self._nursery.start_soon(pipe.run)
        try:
            pipe.send(wish(NOISE))
            session = await self._noise.secure_outbound(RawConnection(_Wished(pipe), True), ID.from_base58(peer))
            sealed = SealedPipe(pipe, session)
            await ask_for(sealed, YAMUX)
        except BaseException:
            pipe.abort()
            raise
        connection = self._adopt(sealed, outbound=True)
        if connection is None:
            raise DialError(f"{pipe.remote} hung up at once")
        self._nursery.start_soon(self._attend, connection)

    async def accept(self, stream: trio.SocketStream) -> None:
        """An inbound connection, from its first byte to its last. Whatever a stranger sends ends here, at worst in a
        counter; and what the connection took (a slot, a task) is given back when it ends."""
        pipe = Pipe(stream)
        host, _port = pipe.get_remote_address()
        if self._is_crowded(host):
            self._counts["connections_refused"] += 1
            pipe.abort()
            return
        self._handshakes[host] += 1
        self._under_way[pipe] = host
        try:
            connection = await self._be_shaken_hands(pipe)
        except Exception:
            self._counts["handshakes_failed"] += 1
            return
        finally:
            self._handshake_over(pipe)
        if connection is not None:
            await self._attend(connection)

    async def _be_shaken_hands(self, pipe: Pipe) -> Connection | None:
        self._nursery.start_soon(pipe.run)
        try:
            with trio.fail_after(self._limits.handshake_seconds):
                await agree_on(pipe, (NOISE,))
                sealed = SealedPipe(pipe, await self._noise.secure_inbound(RawConnection(pipe, False)))
                if self._who_leaves_for(sealed) is not None:  # or who dials would believe in a link for a moment
                    await agree_on(sealed, (YAMUX,))
        except BaseException:
            pipe.abort()
            raise
        return self._adopt(sealed, outbound=False)

    def _is_crowded(self, host: str) -> bool:
        if self.closing or self._is_over_its_part(host, [each.host for each in self._inbound()]):
            return True
        if self._handshakes.total() >= self._limits.handshakes:
            self._give_one_up()
        return False

    def _inbound(self) -> list[Connection]:
        return [each for each in self._live.values() if not each.outbound]

    def _who_leaves_for(self, newcomer: SealedPipe) -> list[Connection] | None:
        """Connections that must end so that this inbound one has a place, mostly none at all; None: it must go away
        itself. Asked when a peer has proved who it is: a bare connection pushes nobody out."""
        limits, inbound = self._limits, self._inbound()
        # Who fills all places must not keep us from dialling: those we choose are not all one enemy.
        places = limits.connections - min(limits.kept_for_dials, limits.connections // 5)
        if len(inbound) < places and len(self._live) < limits.connections:
            return []
        if earlier := [each for each in inbound if each.peer == newcomer.peer]:
            return earlier  # it comes again, and takes the place it has
        chosen = {each.peer for each in self._live.values() if each.outbound}
        guests = [Guest(each.peer, each.host, each.since, each.peer in chosen) for each in inbound]
        host, _port = newcomer.pipe.get_remote_address()
        leaver = self.places.who_leaves(guests, Guest(newcomer.peer, host, trio.current_time()))
        return None if leaver is None else self.of(leaver)

    def _make_room(self, leaving: list[Connection], newcomer: PeerId) -> None:
        for connection in leaving:
            if connection.peer != newcomer:
                self._counts["links_made_room"] += 1
                self.places.has_left(connection.peer, trio.current_time())
            connection.yamux.go_away()
            self._forget(connection)

    def _give_one_up(self) -> None:
        """The oldest handshake from where most come: an honest one takes a few round trips, and who says nothing from
        a dozen addresses waits in vain on each of them."""
        most = max(self._handshakes.values())
        oldest = next(pipe for pipe, host in self._under_way.items() if self._handshakes[host] == most)
        self._counts["handshakes_given_up"] += 1
        self._handshake_over(oldest)
        oldest.abort()

    def _handshake_over(self, pipe: Pipe) -> None:
        host = self._under_way.pop(pipe, None)
        if host is not None:
            self._handshakes[host] -= 1
            if not self._handshakes[host]:
                del self._handshakes[host]

    def _is_over_its_part(self, host: str, inbound: list[str]) -> bool:
        limits = self._limits
        if ipaddress.ip_address(host).is_private and not limits.cap_private_addresses:
            return False
        here = _place_of(host)
        there = [_place_of(each) for each in (*inbound, *self._handshakes.elements())]
        return (
            self._handshakes[host] >= limits.handshakes_per_address
            or sum(place.host == here.host for place in there) >= limits.inbound_per_address
            or sum(place.subnet == here.subnet for place in there) >= limits.inbound_per_subnet
        )

    def _adopt(self, sealed: SealedPipe, *, outbound: bool) -> Connection | None:
        """Enter a finished connection in our books; whoever adopts it must `_attend` to it. None if it has ended, or
        there is no place for it."""
        pipe = sealed.pipe
        if pipe.is_closed or self.closing or sealed.peer == self.peer_id:
            pipe.abort()
            return None
        leaving = [] if outbound else self._who_leaves_for(sealed)
        if leaving is None:
            self._counts["newcomers_refused"] += 1
            pipe.abort()
            return None
        yamux = Yamux(sealed, outbound, self._make_stream)
        connection = Connection(yamux, pipe, sealed.peer, outbound, trio.current_time())
        yamux.on_stream = partial(self._on_stream, connection)
        self._counts["connections_dialled" if outbound else "connections_accepted"] += 1
        self._live[yamux] = connection
        for superfluous in self.of(connection.peer)[: -self._limits.connections_per_peer]:
            superfluous.pipe.abort()
        self.book.up(Link(connection.peer, outbound, pipe.remote))
        self._make_room(leaving, connection.peer)
        return connection

    def _make_stream(self, yamux: Yamux, number: int, ours: bool) -> Libp2pStream:
        return Libp2pStream(yamux, number, self._nursery.start_soon, ours=ours)

    async def _attend(self, connection: Connection) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask_when_silent, connection)
                await connection.yamux.run()
                nursery.cancel_scope.cancel()
        finally:
            if (rule := connection.yamux.broken_rule) is not None:
                self._counts["links_broke_rules"] += 1
                if rule.counted:
                    self._counts[rule.counted] += 1
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        connection.yamux.end()
        if self._live.pop(connection.yamux, None) is None:
            return
        self._counts["bytes_received"] += connection.pipe.bytes_received
        self._counts["bytes_sent"] += connection.pipe.bytes_sent
        if not any(each.peer == connection.peer for each in self._live.values()):
            self.book.down(connection.peer)

    async def _ask_when_silent(self, connection: Connection) -> None:
        """A frozen peer, or one behind a mapping that a router forgot, never closes its side. Bytes are proof of life;
        without any for a while it is asked for some."""
        while True:
            heard = connection.pipe.bytes_received
            await trio.sleep(self._limits.health_seconds)
            if connection.pipe.bytes_received != heard:
                continue
            with trio.move_on_after(self._limits.ping_seconds):
                try:
                    await connection.yamux.ping()
                except StreamError:
                    return  # it has ended meanwhile
            if connection.pipe.bytes_received == heard:
                self._counts["links_silent"] += 1
                connection.pipe.abort()
                return

    async def hang_up(self, peer: PeerId) -> None:
        ended = self.of(peer)
        async with trio.open_nursery() as nursery:
            for connection in ended:
                nursery.start_soon(self._say_goodbye, connection)
        for connection in ended:
            self._forget(connection)

    async def close(self) -> None:
        """Say goodbye on every link, in parallel."""
        self.closing = True
        self.book.close()
        async with trio.open_nursery() as nursery:
            for connection in list(self._live.values()):
                nursery.start_soon(self._say_goodbye, connection)

    async def _say_goodbye(self, connection: Connection) -> None:
        connection.yamux.go_away()
        await connection.pipe.flush(0.25)
        connection.yamux.end()
        await trio.lowlevel.checkpoint()
