"""/ipfs/ping/1.0.0, answered: 32 bytes come and go back, again and again, until the peer has finished.

libp2p's own answers thousands that came at once before anybody else of this node has a turn, and keeps an entry for
every peer that ever asked.
Spec: https://github.com/libp2p/specs/blob/master/ping/ping.md
"""

from collections import Counter

import trio

from node.network.links import OpenStreams
from node.network.seam import Stream, StreamError

PING = "/ipfs/ping/1.0.0"
PING_BYTES = 32
STREAMS_PER_PEER = 2  # as many as the specification says a listener should accept
PINGS_PER_SECOND = 20  # on one stream; who waits for each answer over 50 ms or more never asks more often
IDLE_SECONDS = 10.0  # without a ping, then the stream is closed, as py-libp2p does


class Pings:
    """Who asks more often than it may is answered later, all the same: its stream is its own."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._streams = OpenStreams(STREAMS_PER_PEER)

    async def answer(self, stream: Stream) -> None:
        with self._streams.one_more(stream.peer) as has_room:
            if has_room:
                await self._echo(stream)
            else:
                self._counts["ping_streams_refused"] += 1
                await stream.reset()

    async def _echo(self, stream: Stream) -> None:
        while True:
            next_second = trio.current_time() + 1
            for _ in range(PINGS_PER_SECOND):
                with trio.move_on_after(IDLE_SECONDS) as idle:
                    ping = await _receive_ping(stream)
                    await stream.send_all(ping)
                if idle.cancelled_caught or not ping:
                    return
            if trio.current_time() < next_second:
                self._counts["pings_held_back"] += 1
            await trio.sleep_until(next_second)


async def _receive_ping(stream: Stream) -> bytes:
    """b"" when the peer has finished."""
    ping = b""
    while len(ping) < PING_BYTES:
        more = await stream.receive_some(PING_BYTES - len(ping))
        if not more and ping:
            raise StreamError("the stream ended in the middle of a ping")
        if not more:
            break
        ping += more
    return ping
