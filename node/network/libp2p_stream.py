"""A stream on our yamux: the seam's promises, and libp2p's identify on it.

Credit goes back once half a window was read. Sending waits as long as the caller likes; what is sent is handed over at
once and cannot be cut by cancelling. A reset is a StreamError, never a normal end. A stream that we closed waits ten
seconds for its peer to finish too, then it is reset, whatever the peer does.
"""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID

from node.network.libp2p_negotiate import ask_for
from node.network.libp2p_yamux import ACK, DATA, DATA_BYTES, FIN, RST, SYN, WINDOW, WINDOW_BYTES, BrokenRule, Yamux
from node.network.seam import PeerId, StreamError

LINGER_SECONDS = 10.0  # how long a stream we closed waits for its peer to finish too
_SMALL = 1_024  # bytes; what arrives in smaller pieces while nobody reads is kept together

Spawn = Callable[..., None]


class _Waiter:
    """Where one task waits for another to wake it: an Event that can be used again, at a third of its cost."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        if self._task is not None:
            raise trio.BusyResourceError("another task is waiting here")
        self._task = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)


class Libp2pStream:
    def __init__(self, yamux: Yamux, number: int, spawn: Spawn, *, ours: bool) -> None:
        """`ours`: opened by us."""
        self.id = number
        self.send_window = WINDOW_BYTES
        self._yamux = yamux
        self._pipe = yamux.sealed.pipe
        self._spawn = spawn
        self._protocol = ""  # until it is agreed on
        self._hello = SYN if ours else ACK  # a flag of the first frame we send
        self._window = WINDOW_BYTES  # what the peer may still send
        self._read = 0  # bytes that earned no credit yet
        self._inbox: deque[bytes | bytearray] = deque()
        self._readable = _Waiter()
        self._writable = _Waiter()
        self._sending = False
        self._finished = False
        self._closed = False
        self._peer_finished = False
        self._failure = ""

    @property
    def peer(self) -> PeerId:
        return self._yamux.peer

    @property
    def protocol(self) -> str:
        return self._protocol

    def agreed_on(self, protocol: str) -> None:
        self._protocol = protocol

    # ---------------------------------------------------------------------------------------------------- sending

    async def send_all(self, data: bytes) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._check_sending()
        await trio.lowlevel.checkpoint_if_cancelled()
        self._sending = True
        try:
            sent = 0
            while sent < len(data):
                while self.send_window <= 0 and not self._failure and not self._closed:
                    await self._writable.wait()
                if self._pipe.is_full:
                    await self._wait_not_full()
                self._check_sending()
                chunk = bytes(data[sent : sent + min(DATA_BYTES, self.send_window)])
                self._send_data(chunk)
                sent += len(chunk)
        finally:
            self._sending = False

    def _check_sending(self) -> None:
        if self._failure:
            raise StreamError(f"sending to {self.peer} on {self._protocol}: {self._failure}")
        if self._finished or self._closed:
            raise StreamError("sending on a stream that we finished")

    def _send_data(self, chunk: bytes) -> None:
        flags, self._hello = self._hello, 0
        self.send_window -= len(chunk)
        self._yamux.send(DATA, flags, self.id, len(chunk), chunk)

    async def _wait_not_full(self) -> None:
        try:
            await self._pipe.wait_not_full()
        except ConnectionClosedError:
            raise StreamError("the link broke") from None

    # -------------------------------------------------------------------------------------------------- receiving

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        if self._closed:
            raise StreamError("receiving on a stream that we closed")
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._inbox:
            if self._failure:
                raise StreamError(f"receiving from {self.peer} on {self._protocol}: {self._failure}")
            if self._peer_finished:
                return b""
            await self._readable.wait()
            if self._closed:
                raise StreamError("the stream was closed meanwhile")
        data = bytes(self._inbox.popleft())
        if len(data) > max_bytes:
            self._inbox.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._read += len(data)
        if self._read >= WINDOW_BYTES // 2 and not self._peer_finished:
            self._give_credit()
        return data

    def _give_credit(self) -> None:
        credit, self._read = self._read, 0
        self._window += credit
        flags, self._hello = self._hello, 0
        try:
            self._yamux.send(WINDOW, flags, self.id, credit)
        except StreamError:
            pass  # the link is breaking; the next receive will say so

    # ---------------------------------------------------------------------------------------------------- ending

    async def finish(self) -> None:
        self._finish()
        await trio.lowlevel.checkpoint()

    def _finish(self) -> None:
        if self._finished or self._closed or self._failure:
            return
        self._finished = True
        self._say(FIN)
        self._forget_if_over()

    async def close(self) -> None:
        if not self._closed:
            self._finish()
            self._closed = True
            self._inbox.clear()
            self._wake()
            if not self._peer_finished and not self._failure:
                self._spawn(self._linger)
        await trio.lowlevel.checkpoint()

    async def _linger(self) -> None:
        with trio.move_on_after(LINGER_SECONDS):
            while not self._peer_finished and not self._failure:
                await self._readable.wait()
        self.drop()

    async def reset(self) -> None:
        self.drop()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def drop(self) -> None:
        if not self._failure and not (self._finished and self._peer_finished):
            self._say(RST)
        self._closed = True
        self.broke("we reset the stream")

    def _say(self, flag: int) -> None:
        flags, self._hello = self._hello | flag, 0
        try:
            self._yamux.send(WINDOW, flags, self.id, 0)
        except StreamError:
            pass  # the link is breaking, and says the same more loudly

    def _forget_if_over(self) -> None:
        if self._finished and self._peer_finished:
            self._yamux.forget(self)

    def _wake(self) -> None:
        self._readable.wake()
        self._writable.wake()

    # --------------------------------------------------------------------- what arrives; nothing here waits

    def reserve(self, size: int) -> None:
        """The peer announces so many bytes. Raises BrokenRule if its window does not hold them."""
        if self._peer_finished:
            raise BrokenRule("sent more on a stream it had finished")
        self._window -= size
        if self._window < 0:
            raise BrokenRule("sent more than its window holds", "windows_overrun")

    def arrived(self, data: bytes) -> None:
        if not self._closed and not self._failure:  # else it is dropped, and earns no credit
            if len(data) < _SMALL and self._inbox:
                # In one piece with its like: a window of single bytes would take forty times its size.
                tail = self._inbox[-1]
                if type(tail) is bytearray and len(tail) < DATA_BYTES:
                    tail += data
                else:
                    self._inbox.append(bytearray(data))
            else:
                self._inbox.append(data)
            self._readable.wake()

    def credited(self, credit: int) -> None:
        self.send_window += credit
        self._writable.wake()

    def peer_finished(self) -> None:
        self._peer_finished = True
        self._forget_if_over()
        self._readable.wake()

    def broke(self, why: str) -> None:
        """Reset by either side, or the link is gone. What arrived before and was not read is lost with it."""
        if not self._failure:
            self._failure = why
            self._inbox.clear()
            self._yamux.forget(self)
        self._wake()


class LibraryStream:
    """The same stream as libp2p's identify sees it, which says what it has to say and hears nothing."""

    def __init__(self, stream: Libp2pStream, remote: tuple[str, int]) -> None:
        self.muxed_conn = SimpleNamespace(peer_id=ID.from_base58(stream.peer))
        self._stream = stream
        self._remote = remote

    async def write(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def close(self) -> None:
        await self._stream.close()

    async def reset(self) -> None:
        await self._stream.reset()

    def get_remote_address(self) -> tuple[str, int]:
        return self._remote


async def open_on(yamux: Yamux, protocol: str, seconds: float) -> Libp2pStream:
    """A new stream that speaks `protocol`. Raises NotSpokenError and StreamError.

    One round trip: the answer is waited for, so a peer that does not speak the protocol is known here and not at the
    first receive.
    """
    stream = yamux.open()
    try:
        with trio.fail_after(seconds):
            await ask_for(stream, protocol)
    except BaseException as error:
        await stream.reset()
        if isinstance(error, trio.TooSlowError):
            raise StreamError(f"no answer to the wish to speak {protocol} within {seconds:g} s") from error
        raise
    stream.agreed_on(protocol)
    return stream
