"""Request and answer on one stream: varint-framed canonical msgpack arrays. For catch-up, mailboxes, finding peers."""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import trio

from protocol.codec import Value, decode, encode
from protocol.errors import Reason, Refused
from protocol.framing import Deframer, frame_with_length
from protocol.limits import MAX_ITEM

from .network.links import OpenStreams
from .network.seam import Stream, StreamError


class Conversation:
    """One side of a stream that carries small values, in turns."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._deframer = Deframer(MAX_ITEM)
        self._ready: list[bytes] = []

    async def say(self, *parts: Value) -> None:
        await self.stream.send_all(frame_with_length(encode(list(parts))))

    async def listen(self) -> list[Value] | None:
        """The other side's next array; None when it has finished. Raises Refused and StreamError."""
        while not self._ready:
            data = await self.stream.receive_some()
            if not data:
                if self._deframer.pending:
                    raise StreamError("broke off in the middle of a value")
                return None
            self._ready.extend(self._deframer.feed(data))
        value = decode(self._ready.pop(0), MAX_ITEM)
        if not isinstance(value, list) or not value or type(value[0]) is not str:
            raise Refused(Reason.REQUEST, "not an array that begins with a word")
        return value

    async def ask(self, *parts: Value) -> list[Value]:
        """Say and listen. Raises StreamError if the other side ends instead of answering."""
        await self.say(*parts)
        answer = await self.listen()
        if answer is None:
            raise StreamError("ended without an answer")
        return answer


class Visitors:
    """Those who ask us, each on a stream of its own: so many at once. Who asks nonsense, or takes too long, is counted
    and its stream reset."""

    def __init__(self, counters: Counter[str], of_one_peer: int, in_all: float = math.inf) -> None:
        self._counters = counters
        self._streams = OpenStreams(of_one_peer, in_all)

    async def receive(self, stream: Stream, talk: Callable[[Conversation], Awaitable[None]]) -> None:
        """Hold the conversation `talk`; it may raise Refused and trio.TooSlowError."""
        with self._streams.one_more(stream.peer) as has_room:
            if not has_room:
                self._counters["too_many_streams"] += 1
                await stream.reset()
                return
            try:
                await talk(Conversation(stream))
            except Refused as refused:
                self._counters[refused.reason.value] += 1
                await stream.reset()
            except trio.TooSlowError:
                self._counters["idle"] += 1
                await stream.reset()


def expect_bytes(value: Value, size: int | None = None) -> bytes:
    if type(value) is not bytes or (size is not None and len(value) != size):
        raise Refused(Reason.REQUEST, "bytes of another length were expected")
    return value


def expect_binaries(value: Value, size: int | None = None) -> list[bytes]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise Refused(Reason.REQUEST, "a list was expected")
    return [expect_bytes(item, size) for item in value]


def expect_int(value: Value, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise Refused(Reason.REQUEST, f"a number from {low} to {high} was expected")
    return value
