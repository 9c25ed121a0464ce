"""The seam between intentcast and whatever carries bytes.

Below the gossip router and the direct messages there are *links* between peers, and a link carries any number of
*streams*. Two real implementations, `libp2p.py` and `memory.py`, pass one contract suite (`tests/contract`).
Everything above this page could forget that libp2p exists.

A peer is named by the text form of its peer id (base58 of the identity multihash of its Ed25519 key, `12D3Koo...`).
An address is a multiaddr that ends in `/p2p/<peer id>`.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TypeAlias

import trio

PeerId = str
Address = str


class NetworkError(Exception):
    """Something between us and a peer did not work. Says nothing about the peer's intentions."""


class DialError(NetworkError):
    """No link to that address could be made."""


class StreamError(NetworkError):
    """The stream broke, was reset, or could not be opened; the link may live on."""


class NotSpokenError(StreamError):
    """The peer was asked and answered that it does not speak this protocol."""


class ListenError(NetworkError):
    """An address could not be listened on. The text says which and why (a port in use, say)."""


@dataclass(frozen=True)
class Link:
    """One peer we are connected to, however many connections that takes."""

    peer: PeerId
    outbound: bool
    """True if we chose this peer: at least one of its connections was dialled by us."""
    remote: str
    """Where the peer was seen, as a multiaddr without /p2p; for caps per subnet, never for identity."""


@dataclass(frozen=True)
class LinkUp:
    link: Link


@dataclass(frozen=True)
class LinkDown:
    peer: PeerId


@dataclass(frozen=True)
class LinkChosen:
    """A link that the peer made is of our choosing, too: both dialled at once, and ours arrived later."""

    link: Link


LinkEvent = LinkUp | LinkChosen | LinkDown


class Worth(IntEnum):
    """What we would miss without a link, from nothing to what is never given up for a stranger."""

    NOTHING = 0
    USEFUL = 1
    """It lately brought something nobody else had brought."""
    THREAD = 2
    """We have an offer with this peer, made or heard."""
    MESH = 3
    CONTRACT = 4
    NAMED = 5
    """Our person named it: to join, as a static peer, as a mailbox."""


Appraise: TypeAlias = Callable[[], Mapping[PeerId, Worth]]
"""What linked peers are worth at the moment; who is not in it, nothing. Asked only when a place must be made free."""


class Stream(Protocol):
    """One ordered, reliable, encrypted two-way flow of bytes with an authenticated peer."""

    @property
    def peer(self) -> PeerId: ...

    @property
    def protocol(self) -> str: ...

    async def send_all(self, data: bytes) -> None:
        """Send, waiting for flow control as long as it takes: the deadline is the caller's. Raises StreamError.

        When cancelled, a part may be under way: reset the stream (the link and its other streams are unharmed).
        One task at a time may send on a stream; a second one gets trio.BusyResourceError."""

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        """Up to max_bytes; b"" when the peer finished sending. Raises StreamError when the stream broke.

        Cancelling loses no bytes. One task at a time may receive on a stream."""

    async def finish(self) -> None:
        """Say that nothing more will be sent. Receiving goes on. Idempotent, never raises NetworkError."""

    async def close(self) -> None:
        """Finish and let go. Idempotent, never raises NetworkError, never blocks for more than a second."""

    async def reset(self) -> None:
        """Drop the stream at once, both ways. Idempotent, never raises NetworkError."""


Handler = Callable[[Stream], Awaitable[None]]


class Network(Protocol):
    """What a node can do with the world. Made by `open_libp2p_network` or `MemoryWorld.open_network`."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others can dial us, each ending in /p2p/<our peer id>."""

    def serve(self, protocol: str, handler: Handler) -> None:
        """Answer inbound streams of this protocol. The stream is closed when the handler returns and reset when it
        raises; an exception of a handler is counted and costs its peer that stream, never the node anything."""

    async def dial(self, address: Address) -> PeerId:
        """Connect, or find the existing link. Raises DialError (also for a wrong peer id, our own address, or a
        malformed one). Safe to call from several tasks: one dial per peer is under way at a time."""

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        """A new stream to a linked peer. Raises NotSpokenError when the peer does not speak it, StreamError when not
        linked, when it did not answer in time, or when too many are open: those say nothing of what it speaks."""

    async def hang_up(self, peer: PeerId) -> None:
        """Drop the link to this peer, if there is one. What the peer has not read yet may be lost."""

    def appraise_links(self, appraise: Appraise) -> None:
        """Whom to spare when all inbound places are taken and a newcomer gets somebody's; the rule is in places.py.
        Those we dialled are safe without it."""

    def links(self) -> tuple[Link, ...]: ...

    def watch_links(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[LinkEvent]]:
        """Subscribe to link events. First, at once, a LinkUp for every link that exists; afterwards each change in
        order. At most one LinkUp per peer without a LinkDown between, and at most one LinkChosen after it. The channel
        is unbounded in practice by the number of links; a watcher that does not read loses nothing but memory. It ends
        when the network closes."""

    def statistics(self) -> dict[str, int]:
        """Counters by name, for people: dials, handler_errors, refused, ..."""
