"""The life of a libp2p connection: from the handshake to its end, with the limits, the health and the book of links.

Per connection two tasks run: one sends, one waits for its end and asks a silent peer whether it is alive.
"""

import ipaddress
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.health.ping_probe import ping_connection
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from node.network.libp2p_limits import NetLimits
from node.network.libp2p_stream import WINDOW_BYTES, quietly
from node.network.libp2p_tcp import Pipe
from node.network.links import LinkBook
from node.network.seam import DialError, Link, PeerId


@dataclass(eq=False)
class Connection:
    """One TCP connection to a peer, past its handshake."""

    swarm_conn: Any
    pipe: Pipe
    peer: PeerId
    inbound_streams: int = 0
    checked_at: int = 0  # bytes received when the buffers were last looked at


class Connections:
    """All of them, and the book of links that follows from them."""

    def __init__(self, host: Any, nursery: trio.Nursery, limits: NetLimits, counts: Counter[str]) -> None:
        self.book = LinkBook()
        self.closing = False
        self.peer_id = str(host.get_id())
        self._swarm = host.get_network()
        self._nursery = nursery
        self._limits = limits
        self._counts = counts
        self._live: dict[Any, Connection] = {}
        self._adopted = trio.lowlevel.ParkingLot()
        self._handshakes: Counter[str] = Counter()

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
        return [each for each in self._live.values() if each.peer == peer and not each.swarm_conn.is_closed]

    def refuse_when_full(self) -> None:
        if len(self._live) >= self._limits.connections:
            raise DialError(f"there are {len(self._live)} connections already, and no more are allowed")

    async def shake_hands(self, stream: trio.SocketStream, peer: PeerId) -> None:
        """The dialler's side. Raises what libp2p raises, and DialError when the other side hung up at once."""
        pipe = Pipe(stream)
        self._nursery.start_soon(pipe.run)
        try:
            swarm_conn = await self._swarm.upgrade_outbound_raw_conn(RawConnection(pipe, True), ID.from_base58(peer))
        except BaseException:
            pipe.abort()
            raise
        connection = self._adopt(swarm_conn, pipe, outbound=True)
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
            return
        self._handshakes[host] += 1
        try:
            connection = await self._be_shaken_hands(pipe)
        except Exception:
            self._counts["handshakes_failed"] += 1
            return
        finally:
            self._handshakes[host] -= 1
            if not self._handshakes[host]:
                del self._handshakes[host]
        if connection is not None:
            await self._attend(connection)

    async def _be_shaken_hands(self, pipe: Pipe) -> Connection | None:
        self._nursery.start_soon(pipe.run)
        try:
            with trio.fail_after(self._limits.handshake_seconds):
                muxed = await self._swarm.upgrade_inbound_raw_conn(RawConnection(pipe, False), Multiaddr(pipe.remote))
        except BaseException:
            pipe.abort()
            raise
        for swarm_conn in self._swarm.get_connections(muxed.peer_id):
            if swarm_conn.muxed_conn is muxed:
                return self._adopt(swarm_conn, pipe, outbound=False)
        pipe.abort()  # it has hung up meanwhile
        return None

    def _is_crowded(self, host: str) -> bool:
        limits = self._limits
        if self.closing or len(self._live) >= limits.connections:
            return True
        if self._handshakes.total() >= limits.handshakes:
            return True
        capped = limits.cap_private_addresses or not ipaddress.ip_address(host).is_private
        return capped and self._handshakes[host] >= limits.handshakes_per_address

    def _adopt(self, swarm_conn: Any, pipe: Pipe, *, outbound: bool) -> Connection | None:
        """Enter a finished connection in our books; whoever adopts it must `_attend` to it. None if it has ended."""
        connection = Connection(swarm_conn, pipe, str(swarm_conn.muxed_conn.peer_id))
        if swarm_conn.is_closed or self.closing or connection.peer == self.peer_id:
            pipe.abort()
            return None
        self._counts["connections_dialled" if outbound else "connections_accepted"] += 1
        self._live[swarm_conn] = connection
        pipe.on_received = partial(self._check_buffers, connection)
        for superfluous in self.of(connection.peer)[: -self._limits.connections_per_peer]:
            superfluous.pipe.abort()
        self.book.up(Link(connection.peer, outbound, pipe.remote))
        self._adopted.unpark_all()
        return connection

    async def _attend(self, connection: Connection) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask_when_silent, connection)
                await connection.swarm_conn.event_closed.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        connection.pipe.abort()
        if self._live.pop(connection.swarm_conn, None) is None:
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
            answer = await ping_connection(
                connection.swarm_conn,
                ping_timeout=self._limits.ping_seconds,
                negotiate_timeout=max(1, int(self._limits.ping_seconds)),
            )
            if not answer.success and connection.pipe.bytes_received == heard:
                self._counts["links_silent"] += 1
                connection.pipe.abort()
                return

    def _check_buffers(self, connection: Connection) -> None:
        """yamux only warns when a peer sends more than its window; we hang up before it fills our memory."""
        if connection.pipe.bytes_received - connection.checked_at < WINDOW_BYTES:
            return
        connection.checked_at = connection.pipe.bytes_received
        buffers = connection.swarm_conn.muxed_conn.stream_buffers.values()
        if any(len(buffer) > 2 * WINDOW_BYTES for buffer in buffers):
            self._counts["windows_overrun"] += 1
            connection.pipe.abort()

    async def hang_up(self, peer: PeerId) -> None:
        ended = self.of(peer)
        async with trio.open_nursery() as nursery:
            for connection in ended:
                nursery.start_soon(connection.pipe.flush, 0.25)
        for connection in ended:
            self._forget(connection)
            self._nursery.start_soon(quietly, connection.swarm_conn.close)

    async def wait_adopted(self, swarm_conn: Any) -> Connection | None:
        """A fast peer's first stream can be here before our handshake task has entered the link in the book."""
        while swarm_conn not in self._live and not swarm_conn.is_closed and not self.closing:
            await self._adopted.park()
        return self._live.get(swarm_conn)

    async def close(self) -> None:
        """Say goodbye on every link, in parallel: libp2p would take 0.2 s for each, one after the other."""
        self.closing = True
        self._adopted.unpark_all()
        self.book.close()
        async with trio.open_nursery() as nursery:
            for connection in list(self._live.values()):
                nursery.start_soon(self._close_connection, connection)

    async def _close_connection(self, connection: Connection) -> None:
        await connection.pipe.flush(0.25)
        connection.pipe.abort()
        await quietly(connection.swarm_conn.close)
