"""What both implementations share: the book of links with its watchers, the barrier around stream handlers, and how
many streams one peer may hold open."""

import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import trio

from node.network.seam import Handler, Link, LinkChosen, LinkDown, LinkEvent, LinkUp, NetworkError, PeerId, Stream

log = logging.getLogger(__name__)


class LinkBook:
    """Who is linked. Changes are synchronous, so watchers see them in the order in which they happened."""

    def __init__(self) -> None:
        self._links: dict[PeerId, Link] = {}
        self._watchers: set[trio.MemorySendChannel[LinkEvent]] = set()
        self._closed = False

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._links

    def all(self) -> tuple[Link, ...]:
        return tuple(self._links.values())

    def up(self, link: Link) -> None:
        """A connection was made. A peer's first one is an event, and a later one that makes the link outbound."""
        known = self._links.get(link.peer)
        if known is None:
            self._links[link.peer] = link
            self._tell(LinkUp(link))
        elif link.outbound and not known.outbound:
            chosen = self._links[link.peer] = replace(known, outbound=True)
            self._tell(LinkChosen(chosen))

    def down(self, peer: PeerId) -> None:
        """The last connection is gone."""
        if self._links.pop(peer, None) is not None:
            self._tell(LinkDown(peer))

    def close(self) -> None:
        for peer in list(self._links):
            self.down(peer)
        self._closed = True
        for watcher in self._watchers:
            watcher.close()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[trio.MemoryReceiveChannel[LinkEvent]]:
        sender, receiver = trio.open_memory_channel[LinkEvent](math.inf)
        with sender, receiver:
            for link in self._links.values():
                sender.send_nowait(LinkUp(link))
            if self._closed:
                sender.close()
            self._watchers.add(sender)
            try:
                yield receiver
            finally:
                self._watchers.discard(sender)

    def _tell(self, event: LinkEvent) -> None:
        for watcher in self._watchers:
            try:
                watcher.send_nowait(event)
            except trio.BrokenResourceError:
                pass  # the watcher closed its end early; its `async with` forgets it


async def serve_stream(handler: Handler, stream: Stream, counts: Counter[str]) -> None:
    """Run a handler so that nothing it raises goes further. A peer that breaks its stream is everyday life and only
    counted; anything else is a bug of ours, counted and shown with its traceback. Either costs the peer its stream."""
    try:
        await handler(stream)
    except NetworkError:
        counts["handler_streams_broken"] += 1
        await stream.reset()
    except Exception:
        counts["handler_errors"] += 1
        log.exception("the handler of %s failed; its stream is reset", stream.protocol)
        await stream.reset()
    else:
        await stream.close()


class OpenStreams:
    """Streams that peers hold open for one purpose: so many of one, so many in all. Who has none left is forgotten."""

    def __init__(self, of_one_peer: int, in_all: float = math.inf) -> None:
        self._of_one_peer = of_one_peer
        self._in_all = in_all
        self._open: Counter[PeerId] = Counter()

    def __len__(self) -> int:
        return self._open.total()

    @contextmanager
    def one_more(self, peer: PeerId) -> Iterator[bool]:
        """For the life of a stream of this peer. Gives False, and does not count it, when there is no room for it."""
        if self._open[peer] >= self._of_one_peer or len(self) >= self._in_all:
            yield False
            return
        self._open[peer] += 1
        try:
            yield True
        finally:
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]
