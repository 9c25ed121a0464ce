"""A stream over libp2p's yamux: our seam's promises on top of what yamux 0.8.1 does.

Used directly, it sends credit back on nearly every read and grows the window to 16 MiB, gives up after five seconds
when the peer reads slowly, tells a reset as a normal end, and leaks a stream that only one side closes. Here: credit
once half a window was read, waiting as long as the caller likes, resets that are StreamErrors, and a linger of ten
seconds after which a stream is reset whatever the peer does.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.stream_muxer.exceptions import MuxedStreamEOF

from node.network.libp2p_negotiate import ask_for
from node.network.seam import PeerId, StreamError

WINDOW_BYTES = 262_144  # yamux's initial window, and ours for good: what one peer may make us hold per stream
MESSAGE_BYTES = 65_507  # fills one Noise message: 65,535 less its 16-byte tag and yamux's 12-byte header
LINGER_SECONDS = 10.0  # how long a stream we closed waits for its peer to finish too
_FIRST_LOOK, _LATER_LOOKS = 0.002, 0.05  # yamux wakes nobody when credit arrives: a sender without has to look for it

Spawn = Callable[..., None]


class Libp2pStream:
    def __init__(self, net_stream: Any, protocol: str, spawn: Spawn) -> None:
        self._net_stream = net_stream
        self._yamux_stream = net_stream.muxed_stream
        self._yamux = net_stream.muxed_conn
        self._protocol = protocol  # empty until it is agreed on
        self._spawn = spawn
        self._sending = False
        self._finished = False
        self._closed = False
        self._ended = False
        self._dropped = False
        self._uncredited = 0

    @property
    def peer(self) -> PeerId:
        return str(self._yamux.peer_id)

    @property
    def protocol(self) -> str:
        return self._protocol

    def agreed_on(self, protocol: str) -> None:
        self._protocol = protocol

    async def send_all(self, data: bytes) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        if self._finished or self._closed:
            raise StreamError("sending on a stream that we finished")
        self._sending = True
        try:
            sent = 0
            while sent < len(data):
                await self._wait_for_credit()
                chunk = bytes(data[sent : sent + min(MESSAGE_BYTES, self._yamux_stream.send_window)])
                await self._yamux_stream.write(chunk)
                sent += len(chunk)
        except Exception as error:
            raise StreamError(f"sending to {self.peer} on {self._protocol}: {error}") from error
        finally:
            self._sending = False

    async def _wait_for_credit(self) -> None:
        look = _FIRST_LOOK
        while self._yamux_stream.send_window <= 0:
            if self._yamux_stream.closed:
                raise StreamError("the stream is closed")
            await trio.sleep(look)
            look = min(2 * look, _LATER_LOOKS)

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        if self._closed:
            raise StreamError("receiving on a stream that we closed")
        if self._ended:
            await trio.lowlevel.checkpoint()
            return b""
        try:
            data: bytes = await self._yamux.read_stream(self._yamux_stream.stream_id, max_bytes)
        except MuxedStreamEOF as error:
            if self._yamux_stream.reset_received or self._yamux.event_shutting_down.is_set():
                raise StreamError(f"{self.peer} broke off {self._protocol}") from error
            self._ended = True
            return b""
        except Exception as error:
            raise StreamError(f"receiving from {self.peer} on {self._protocol}: {error}") from error
        self._uncredited += len(data)
        if self._uncredited >= WINDOW_BYTES // 2:
            await self._give_credit()
        return data

    async def _give_credit(self) -> None:
        credit, self._uncredited = self._uncredited, 0
        self._yamux_stream.recv_window += credit
        with trio.CancelScope(shield=True):  # the bytes are in our hands: cancelling here would lose them
            try:
                await self._yamux_stream.send_window_update(credit)
            except Exception:
                pass  # the link is breaking; the next receive will say so

    async def finish(self) -> None:
        if not self._finished and not self._closed:
            self._finished = True
            await quietly(self._net_stream.close_write)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._hand_over(self._let_go)

    async def reset(self) -> None:
        if not self._dropped:
            self._closed = self._dropped = True
            await self._hand_over(self._drop)

    async def _hand_over(self, work: Callable[[trio.Event], Awaitable[None]]) -> None:
        """Closing goes on in the network's own tasks: neither a cancelled caller nor a full socket can stop it."""
        said = trio.Event()
        self._spawn(work, said)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await said.wait()

    async def _let_go(self, said: trio.Event) -> None:
        try:
            await quietly(self._net_stream.close)
        finally:
            said.set()
        with trio.move_on_after(LINGER_SECONDS):
            try:
                while not self._yamux_stream.recv_closed:  # what still comes is dropped, and earns no credit
                    await self._yamux.read_stream(self._yamux_stream.stream_id, WINDOW_BYTES)
            except Exception:
                return
        if not self._yamux_stream.closed:
            await quietly(self._net_stream.reset)

    async def _drop(self, said: trio.Event) -> None:
        try:
            await quietly(self._net_stream.reset)
        finally:
            said.set()


async def open_on(connection: Any, protocol: str, seconds: float, spawn: Spawn) -> Libp2pStream:
    """A new stream on a libp2p connection that speaks `protocol`. Raises StreamError.

    One round trip: the answer is waited for, so a peer that does not speak the protocol is known here and not at the
    first receive.
    """
    if connection.muxed_conn.stream_backlog_semaphore.value == 0:
        raise StreamError("too many streams to this peer are open")
    # yamux leaks a slot if this is cancelled. It waits only for room in the pipe, hence the short leash.
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 5.0) as leash:
        try:
            net_stream = await connection.new_stream()
        except Exception as error:
            raise StreamError(f"cannot open a stream: {error}") from error
    if leash.cancelled_caught:
        raise StreamError("cannot open a stream: the link is stuck")
    stream = Libp2pStream(net_stream, protocol, spawn)
    try:
        with trio.fail_after(seconds):
            await ask_for(stream, protocol)
    except BaseException as error:
        await stream.reset()
        if isinstance(error, trio.TooSlowError):
            raise StreamError(f"no answer to the wish to speak {protocol} within {seconds:g} s") from error
        raise
    return stream


async def quietly(closing: Callable[[], Awaitable[None]]) -> None:
    """Closing something that is already broken is no news."""
    try:
        await closing()
    except Exception:
        pass
