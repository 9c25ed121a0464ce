"""The seam over libp2p: dialling, and streams in both directions. Connections are `libp2p_connections.py`'s."""

import logging
from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import trio
from libp2p.custom_types import TProtocol

from node.network.address import TcpAddress, parse_dialable
from node.network.libp2p_connections import Connection, Connections
from node.network.libp2p_limits import NetLimits
from node.network.libp2p_negotiate import agree_on
from node.network.libp2p_ping import PING, Pings
from node.network.libp2p_stream import Libp2pStream, LibraryStream, open_on
from node.network.libp2p_tcp import connect
from node.network.links import serve_stream
from node.network.seam import Address, Appraise, DialError, Handler, Link, LinkEvent, PeerId, Stream, StreamError

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Dial:
    address: TcpAddress
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    done: trio.Event = field(default_factory=trio.Event)
    waiting: int = 0
    failure: str = ""


class Libp2pNetwork:
    """Made by `open_libp2p_network`."""

    def __init__(
        self, host: Any, noise: Any, nursery: trio.Nursery, addresses: tuple[Address, ...], limits: NetLimits
    ) -> None:
        self._host = host
        self._peer_id = str(host.get_id())
        self._nursery = nursery
        self._addresses = addresses
        self._limits = limits
        self._counts: Counter[str] = Counter()
        self._connections = Connections(noise, self._peer_id, nursery, limits, self._counts, self._on_stream)
        self._dials: dict[PeerId, _Dial] = {}
        self._handlers: dict[str, Handler] = {}
        self.serve(PING, Pings(self._counts).answer)

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def addresses(self) -> tuple[Address, ...]:
        return self._addresses

    def appraise_links(self, appraise: Appraise) -> None:
        self._connections.places.appraise = appraise

    def links(self) -> tuple[Link, ...]:
        return self._connections.book.all()

    def watch_links(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[LinkEvent]]:
        return self._connections.book.watch()

    def statistics(self) -> dict[str, int]:
        return dict(self._counts) | self._connections.statistics()

    async def accept(self, stream: trio.SocketStream) -> None:
        await self._connections.accept(stream)

    async def hang_up(self, peer: PeerId) -> None:
        await self._connections.hang_up(peer)

    async def close(self) -> None:
        await self._connections.close()

    # Dialling: one task per peer that is being dialled; callers wait for it together, and it ends with the last one.

    async def dial(self, address: Address) -> PeerId:
        try:
            target, peer = parse_dialable(address)
        except ValueError as error:
            raise DialError(str(error)) from None
        if peer == self.peer_id:
            raise DialError(f"{address} is our own address")
        while peer not in self._connections.book:
            if self._connections.closing:
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
        self._connections.refuse_when_full()
        try:
            with trio.fail_after(self._limits.dial_seconds):
                await self._connections.shake_hands(await connect(target), peer)
        except trio.TooSlowError:
            raise DialError(f"no answer from {target} within {self._limits.dial_seconds:g} s") from None
        except DialError:
            raise
        except Exception as error:
            raise DialError(f"no link to {target}: {_root_cause(error)}") from error

    # Streams.

    def serve(self, protocol: str, handler: Handler) -> None:
        self._handlers[protocol] = handler
        # For identify, which tells others what we speak; streams do not come this way (`_barrier`).
        self._host.set_stream_handler(TProtocol(protocol), _never_called)

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        connections = self._connections.of(peer)
        if not connections:
            raise StreamError(f"there is no link to {peer}")
        self._counts["streams_opened"] += 1
        return await open_on(connections[-1].yamux, protocol, self._limits.negotiate_seconds)

    def _on_stream(self, connection: Connection, stream: Libp2pStream) -> None:
        if connection.inbound_streams >= self._limits.streams_per_peer:
            self._counts["streams_refused"] += 1
            stream.drop()
        else:
            connection.inbound_streams += 1
            self._nursery.start_soon(self._barrier, connection, stream)

    async def _barrier(self, connection: Connection, stream: Libp2pStream) -> None:
        """Around every inbound stream, from its first byte: an exception that left here would stop the node."""
        try:
            await self._answer(connection, stream)
        except Exception as error:
            log.debug("an inbound stream failed before or without a handler of ours: %r", error)
            self._counts["streams_failed"] += 1
            stream.drop()
        finally:
            connection.inbound_streams -= 1

    async def _answer(self, connection: Connection, stream: Libp2pStream) -> None:
        spoken = self._host.get_mux().handlers
        with trio.fail_after(self._limits.negotiate_seconds):
            protocol = await agree_on(stream, spoken)
        stream.agreed_on(protocol)
        handler = self._handlers.get(protocol)
        if handler is None:  # identify is libp2p's
            await spoken[protocol](LibraryStream(stream, connection.pipe.get_remote_address()))
            await stream.close()
            return
        self._counts["streams_accepted"] += 1
        await serve_stream(handler, stream, self._counts)


async def _never_called(_net_stream: Any) -> None:
    raise AssertionError("libp2p negotiated a stream past our barrier")


def _root_cause(error: BaseException) -> str:
    """The innermost sentence of a chain of wrapped errors."""
    sentence = str(error) or type(error).__name__
    while (inner := error.__cause__) is not None:
        error = inner
        sentence = str(error) or sentence
    return sentence
