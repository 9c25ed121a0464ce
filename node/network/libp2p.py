"""The network over libp2p: Noise over TCP, yamux for streams, and none of its defaults (README.md lists the dangers).

libp2p does the handshakes, the muxing, and the answers to identify and ping. Ours are TCP (`libp2p_tcp.py`), the life
of a connection, the streams (`libp2p_stream.py`) and everything above. Per connection two tasks run: one sends, one
waits for its end and asks a silent peer whether it is alive.
"""

import ipaddress
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

# libp2p's yamux would answer every read of its own protocols with a frame of credit.
os.environ.setdefault("PY_YAMUX_RELEASE_ON_READ", "0")

import trio
from libp2p import create_identity_from_seed, new_host
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.health.ping_probe import ping_connection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from node.network.address import TcpAddress, parse_address, parse_dialable
from node.network.groups import raise_single
from node.network.libp2p_logs import route_libp2p_logs
from node.network.libp2p_negotiate import agree_on
from node.network.libp2p_stream import WINDOW_BYTES, Libp2pStream, open_on, quietly
from node.network.libp2p_tcp import Pipe, bound, connect, open_listeners, reachable
from node.network.links import LinkBook, serve_stream
from node.network.seam import (
    Address,
    DialError,
    Handler,
    Link,
    LinkEvent,
    ListenError,
    Network,
    NetworkError,
    PeerId,
    Stream,
    StreamError,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetLimits:
    """How much of us a stranger may use. Times in seconds."""

    connections: int = 160  # a mesh of degree 12 and leaves around it; each costs about 0.15 MB
    connections_per_peer: int = 2  # two peers that dial each other at once make two; the newest are kept
    handshakes: int = 64  # under way at once, from everybody
    handshakes_per_address: int = 8  # under way at once from one public address
    cap_private_addresses: bool = False  # a LAN or a test mesh shares few addresses, and is trusted more
    streams_per_peer: int = 256  # as many as yamux lets either side open
    handshake_seconds: float = 10.0
    dial_seconds: float = 10.0
    negotiate_seconds: float = 10.0
    health_seconds: float = 20.0  # a link that was silent for so long is asked for a sign of life
    ping_seconds: float = 5.0  # and dropped without one in this time
    close_seconds: float = 5.0


@dataclass(eq=False)
class _Connection:
    swarm_conn: Any
    pipe: Pipe
    peer: PeerId
    inbound_streams: int = 0
    checked_at: int = 0  # bytes received when the buffers were last looked at


@dataclass(eq=False)
class _Dial:
    address: TcpAddress
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    done: trio.Event = field(default_factory=trio.Event)
    waiting: int = 0
    failure: str = ""


class Libp2pNetwork:
    """The seam over libp2p. Made by `open_libp2p_network`."""

    def __init__(self, host: Any, nursery: trio.Nursery, addresses: tuple[Address, ...], limits: NetLimits) -> None:
        self._host = host
        self._swarm = host.get_network()
        self._nursery = nursery
        self._addresses = addresses
        self._limits = limits
        self._book = LinkBook()
        self._connections: dict[Any, _Connection] = {}
        self._adopted = trio.lowlevel.ParkingLot()
        self._dials: dict[PeerId, _Dial] = {}
        self._handshakes: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._handlers: dict[str, Handler] = {}
        self._closing = False
        self._swarm.set_stream_handler(self._barrier)

    @property
    def peer_id(self) -> PeerId:
        return str(self._host.get_id())

    @property
    def addresses(self) -> tuple[Address, ...]:
        return self._addresses

    def links(self) -> tuple[Link, ...]:
        return self._book.all()

    def watch_links(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[LinkEvent]]:
        return self._book.watch()

    def statistics(self) -> dict[str, int]:
        live = self._connections.values()
        return dict(self._counts) | {
            "links": len(self._book.all()),
            "connections": len(live),
            "handshakes_under_way": self._handshakes.total(),
            "bytes_received": self._counts["bytes_received"] + sum(each.pipe.bytes_received for each in live),
            "bytes_sent": self._counts["bytes_sent"] + sum(each.pipe.bytes_sent for each in live),
        }

    # Dialling: one task per peer that is being dialled; callers wait for it together, and it ends with the last one.

    async def dial(self, address: Address) -> PeerId:
        try:
            target, peer = parse_dialable(address)
        except ValueError as error:
            raise DialError(str(error)) from None
        if peer == self.peer_id:
            raise DialError(f"{address} is our own address")
        while peer not in self._book:
            if self._closing:
                raise DialError("the network is closed")
            attempt = self._dials.get(peer)
            if attempt is None:
                attempt = self._dials[peer] = _Dial(target)
                self._nursery.start_soon(self._dial, attempt, peer)
            attempt.waiting += 1
            try:
                await attempt.done.wait()
            finally:
                attempt.waiting -= 1
                if attempt.waiting == 0:
                    attempt.scope.cancel()
            if attempt.failure and attempt.address == target:
                raise DialError(attempt.failure)
        return peer

    async def _dial(self, attempt: _Dial, peer: PeerId) -> None:
        self._counts["dials"] += 1
        attempt.failure = "the dial was given up"
        try:
            with attempt.scope:
                await self._connect(attempt.address, peer)
                attempt.failure = ""
        except DialError as error:
            self._counts["dials_failed"] += 1
            attempt.failure = str(error)
        finally:
            del self._dials[peer]
            attempt.done.set()

    async def _connect(self, target: TcpAddress, peer: PeerId) -> None:
        if len(self._connections) >= self._limits.connections:
            raise DialError(f"there are {len(self._connections)} connections already, and no more are allowed")
        pipe: Pipe | None = None
        try:
            with trio.fail_after(self._limits.dial_seconds):
                pipe = Pipe(await connect(target))
                self._nursery.start_soon(pipe.run)
                swarm_conn = await self._swarm.upgrade_outbound_raw_conn(
                    RawConnection(pipe, True), ID.from_base58(peer)
                )
            connection = self._adopt(swarm_conn, pipe, outbound=True)
            if connection is None:
                raise DialError(f"{target} hung up at once")
            self._nursery.start_soon(self._attend, connection)
            pipe = None
        except trio.TooSlowError:
            raise DialError(f"no answer from {target} within {self._limits.dial_seconds:g} s") from None
        except NetworkError:
            raise
        except Exception as error:
            raise DialError(f"no link to {target}: {_root_cause(error)}") from error
        finally:
            if pipe is not None:
                pipe.abort()

    # Being dialled.

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

    async def _be_shaken_hands(self, pipe: Pipe) -> _Connection | None:
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
        if self._closing or len(self._connections) >= limits.connections:
            return True
        if self._handshakes.total() >= limits.handshakes:
            return True
        capped = limits.cap_private_addresses or not ipaddress.ip_address(host).is_private
        return capped and self._handshakes[host] >= limits.handshakes_per_address

    # The life of a connection.

    def _adopt(self, swarm_conn: Any, pipe: Pipe, *, outbound: bool) -> _Connection | None:
        """Enter a finished connection in our books; whoever adopts it must `_attend` to it. None if it has ended."""
        connection = _Connection(swarm_conn, pipe, str(swarm_conn.muxed_conn.peer_id))
        if swarm_conn.is_closed or self._closing or connection.peer == self.peer_id:
            pipe.abort()
            return None
        self._counts["connections_dialled" if outbound else "connections_accepted"] += 1
        self._connections[swarm_conn] = connection
        pipe.on_received = partial(self._check_buffers, connection)
        for superfluous in self._of(connection.peer)[: -self._limits.connections_per_peer]:
            superfluous.pipe.abort()
        self._book.up(Link(connection.peer, outbound, pipe.remote))
        self._adopted.unpark_all()
        return connection

    def _of(self, peer: PeerId) -> list[_Connection]:
        """Our live connections to a peer, oldest first."""
        return [each for each in self._connections.values() if each.peer == peer and not each.swarm_conn.is_closed]

    async def _attend(self, connection: _Connection) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask_when_silent, connection)
                await connection.swarm_conn.event_closed.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._forget(connection)

    def _forget(self, connection: _Connection) -> None:
        connection.pipe.abort()
        if self._connections.pop(connection.swarm_conn, None) is None:
            return
        self._counts["bytes_received"] += connection.pipe.bytes_received
        self._counts["bytes_sent"] += connection.pipe.bytes_sent
        if not any(each.peer == connection.peer for each in self._connections.values()):
            self._book.down(connection.peer)

    async def _ask_when_silent(self, connection: _Connection) -> None:
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

    def _check_buffers(self, connection: _Connection) -> None:
        """yamux only warns when a peer sends more than its window; we hang up before it fills our memory."""
        if connection.pipe.bytes_received - connection.checked_at < WINDOW_BYTES:
            return
        connection.checked_at = connection.pipe.bytes_received
        buffers = connection.swarm_conn.muxed_conn.stream_buffers.values()
        if any(len(buffer) > 2 * WINDOW_BYTES for buffer in buffers):
            self._counts["windows_overrun"] += 1
            connection.pipe.abort()

    async def hang_up(self, peer: PeerId) -> None:
        ended = self._of(peer)
        async with trio.open_nursery() as nursery:
            for connection in ended:
                nursery.start_soon(connection.pipe.flush, 0.25)
        for connection in ended:
            self._forget(connection)
            self._spawn(quietly, connection.swarm_conn.close)

    # Streams.

    def serve(self, protocol: str, handler: Handler) -> None:
        self._handlers[protocol] = handler
        # For identify, which tells others what we speak; streams do not come this way (`_barrier`).
        self._host.set_stream_handler(TProtocol(protocol), _never_called)

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        connections = self._of(peer)
        if not connections:
            raise StreamError(f"there is no link to {peer}")
        self._counts["streams_opened"] += 1
        return await open_on(connections[-1].swarm_conn, protocol, self._limits.negotiate_seconds, self._spawn)

    async def _barrier(self, net_stream: Any) -> None:
        """Around every inbound stream, from its first byte: an exception that left here would stop the host."""
        connection = None
        try:
            connection = await self._connection_of(net_stream.swarm_conn)
            if connection is None or connection.inbound_streams >= self._limits.streams_per_peer:
                self._counts["streams_refused"] += 1
                connection = None
                await net_stream.reset()
                return
            connection.inbound_streams += 1
            await self._answer(net_stream)
        except Exception as error:
            log.debug("an inbound stream failed before or without a handler of ours: %r", error)
            self._counts["streams_failed"] += 1
            await quietly(net_stream.reset)
        finally:
            if connection is not None:
                connection.inbound_streams -= 1

    async def _answer(self, net_stream: Any) -> None:
        spoken = self._host.get_mux().handlers
        stream = Libp2pStream(net_stream, "", self._spawn)
        with trio.fail_after(self._limits.negotiate_seconds):
            protocol = await agree_on(stream, spoken)
        handler = self._handlers.get(protocol)
        if handler is None:  # identify and ping are libp2p's
            net_stream.set_protocol(protocol)
            await spoken[protocol](net_stream)
            return
        self._counts["streams_accepted"] += 1
        stream.agreed_on(protocol)
        await serve_stream(handler, stream, self._counts)

    async def _connection_of(self, swarm_conn: Any) -> _Connection | None:
        """A fast peer's first stream can be here before our handshake task has entered the link in the book."""
        while swarm_conn not in self._connections and not swarm_conn.is_closed and not self._closing:
            await self._adopted.park()
        return self._connections.get(swarm_conn)

    def _spawn(self, work: Callable[..., Awaitable[object]], *args: Any) -> None:
        self._nursery.start_soon(work, *args)

    # The end.

    async def close(self) -> None:
        """Say goodbye on every link, in parallel: libp2p would take 0.2 s for each, one after the other."""
        self._closing = True
        self._adopted.unpark_all()
        self._book.close()
        async with trio.open_nursery() as nursery:
            for connection in list(self._connections.values()):
                nursery.start_soon(self._close_connection, connection)
        await self._host.close()

    async def _close_connection(self, connection: _Connection) -> None:
        await connection.pipe.flush(0.25)
        connection.pipe.abort()
        await quietly(connection.swarm_conn.close)


@asynccontextmanager
async def open_libp2p_network(
    *,
    seed: bytes,
    listen: Sequence[Address],
    announce: Sequence[Address] = (),
    limits: NetLimits | None = None,
) -> AsyncIterator[Network]:
    """A node's door to the real world.

    `seed` is the 32-byte Ed25519 seed of the transport identity. `listen` holds addresses with an IP and a port (0
    finds a free one); with none, the node only dials. `announce` holds the addresses others should use, when they
    differ: behind a router, or with a name. Raises ListenError. Afterwards no task, socket or descriptor is left.
    """
    if len(seed) != 32:
        raise ValueError("a seed has 32 bytes")
    limits = limits or NetLimits()
    route_libp2p_logs()
    try:
        wanted = [parse_address(each) for each in listen]
        announced = [parse_address(each) for each in announce]
    except ValueError as error:
        raise ListenError(str(error)) from None
    listeners = await open_listeners(wanted)
    failure: Exception | None = None
    try:
        told = announced or list(dict.fromkeys(reachable(bound(each)) for each in listeners))
        host = _make_host(seed, told, limits)
        addresses = tuple(str(TcpAddress(each.kind, each.host, each.port, str(host.get_id()))) for each in told)
        async with host.run([]), trio.open_nursery() as nursery:
            network = Libp2pNetwork(host, nursery, addresses, limits)
            accepting = trio.CancelScope()
            if listeners:
                nursery.start_soon(_accept_from, listeners, network.accept, nursery, accepting)
            try:
                yield network
            except Exception as error:  # kept out of the groups that libp2p's nurseries would wrap around it
                failure = error
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.close_seconds):
                    accepting.cancel()
                    await network.close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise_single(group)
    finally:
        for listener in listeners:
            listener.socket.close()
    if failure is not None:
        raise failure


async def _accept_from(
    listeners: list[trio.SocketListener],
    accept: Callable[[trio.SocketStream], Awaitable[None]],
    nursery: trio.Nursery,
    scope: trio.CancelScope,
) -> None:
    with scope:
        await trio.serve_listeners(accept, listeners, handler_nursery=nursery)


def _make_host(seed: bytes, told: Sequence[TcpAddress], limits: NetLimits) -> Any:
    key_pair = create_identity_from_seed(seed)
    host = new_host(
        key_pair=key_pair,
        sec_opt={NOISE: Noise(key_pair, noise_privkey=create_noise_key_pair().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
        announce_addrs=[Multiaddr(each.transport) for each in told],
        disable_identify_address_discovery=True,
        connection_config=ConnectionConfig(
            min_connections=0,
            low_watermark=0,
            high_watermark=limits.connections + limits.handshakes,
            max_connections=limits.connections + limits.handshakes,
            max_connections_per_peer=limits.connections + limits.handshakes,  # ours are the limits that count
            inbound_upgrade_timeout=limits.handshake_seconds,
            outbound_upgrade_timeout=limits.dial_seconds,
        ),
    )
    swarm = host.get_network()
    swarm.auto_connector.maybe_connect = trio.lowlevel.checkpoint  # we choose whom to dial
    swarm.set_resource_manager(None)  # counts connections and streams a second time, and loses count when cancelled
    swarm.notifees.clear()  # no identify of our own: it would dial out on every link and store what strangers say
    host.remove_stream_handler(ID_PUSH)
    return host


async def _never_called(_net_stream: Any) -> None:
    raise AssertionError("libp2p negotiated a stream past our barrier")


def _root_cause(error: BaseException) -> str:
    """The innermost sentence of a chain of wrapped errors."""
    sentence = str(error) or type(error).__name__
    while (inner := error.__cause__) is not None:
        error = inner
        sentence = str(error) or sentence
    return sentence
