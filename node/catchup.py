"""Catch-up: what a node missed while it was away, fetched from every new link and now and then from all.

    asker -> ["list", salt, [divisions], after, most]      answer: ["ids", [id...], next]
    asker -> ["get", [id...]]                              answer: ["frames", [frame...]]

Tombstones are listed like wishes, or a withdrawn wish would come back with the first peer that missed its end. Frames
pass the same verdicts as on gossip, and what is new is passed on there: so a healed partition heals for everybody.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
import trio

from protocol.board import Board, Heard
from protocol.codec import Value
from protocol.envelope import read_frame
from protocol.errors import Reason, Refused
from protocol.intent import Intent, IntentClose, division_of
from protocol.message import Message

from .clock import Chance
from .conversation import Conversation, expect_binaries, expect_bytes, expect_int, expect_words
from .gossip import Gossip
from .network.seam import LinkUp, Network, NetworkError, PeerId, Stream
from .policy import Shares

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("catchup")

PROTOCOL = "/intentcast/sync/1"

EVERY = 600.0
"""Seconds between two rounds with a peer that stays: gossip brings nearly all, this the rest."""

PAGE = 256
"""Ids in one answer: the codec's limit for arrays."""

ASK_AT_ONCE = 64
ANSWER_BYTES = 50_000
TURN_SECONDS = 20.0
"""For one question and its answer."""

MAX_PAGES = 200
"""Pages of one round, some 50,000 wishes; what is behind them comes with another link or the next round."""

SERVED_AT_ONCE = 4
"""Streams of one peer; it needs one."""

QUESTIONS_PER_SECOND, QUESTION_BURST = 10.0, 50.0
"""Of one peer. A page of a full board costs some 20 ms; who asks faster waits for the answer."""


class CatchUp:
    def __init__(
        self,
        network: Network,
        gossip: Gossip,
        board: Board,
        chance: Chance,
        on_heard: Callable[[list[Heard]], Awaitable[None]],
    ) -> None:
        self._network = network
        self._gossip = gossip
        self._board = board
        self._chance = chance
        self._on_heard = on_heard
        self._peers: dict[PeerId, trio.CancelScope] = {}
        self._again: dict[PeerId, trio.Event] = {}
        self._served: Counter[PeerId] = Counter()
        self._shares = Shares(QUESTIONS_PER_SECOND, QUESTION_BURST)
        self.counters: Counter[str] = Counter()

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery, self._network.watch_links() as links:
            self._network.serve(PROTOCOL, self._answer)
            task_status.started()
            async for event in links:
                if isinstance(event, LinkUp):
                    scope = trio.CancelScope()
                    self._peers[event.link.peer] = scope
                    self._again[event.link.peer] = trio.Event()
                    nursery.start_soon(self._follow, event.link.peer, scope)
                else:
                    self._again.pop(event.peer, None)
                    gone = self._peers.pop(event.peer, None)
                    if gone is not None:
                        gone.cancel()

    def ask_all_again(self) -> None:
        """A division was joined: everybody we are linked to may hold wishes of it."""
        for event in self._again.values():
            event.set()

    # --------------------------------------------------------------------------------------------------- asking

    async def _follow(self, peer: PeerId, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                self._again[peer] = again = trio.Event()
                try:
                    await self._ask(peer)
                    self.counters["rounds"] += 1
                except NetworkError as error:
                    self.counters["failed"] += 1
                    log.debug("catch-up failed", error=str(error))
                except Refused as refused:
                    self.counters[refused.reason.value] += 1
                except trio.TooSlowError:
                    self.counters["slow"] += 1
                with trio.move_on_after(EVERY * self._chance.choices.uniform(0.9, 1.1)):
                    await again.wait()

    async def _ask(self, peer: PeerId) -> None:
        divisions: list[Value] = list(self._gossip.divisions)
        if not divisions:
            return
        stream = await self._network.open_stream(peer, PROTOCOL)
        try:
            conversation = Conversation(stream)
            salt, after = self._chance.bytes(16), b""
            for _ in range(MAX_PAGES):
                with trio.fail_after(TURN_SECONDS):
                    answer = await conversation.ask("list", salt, divisions, after, PAGE)
                ids, after = _read_ids(answer)
                missing = [one for one in ids if self._board.get(one) is None]
                await self._fetch(conversation, peer, missing)
                if not after:
                    break
            await stream.finish()
        finally:
            with trio.CancelScope(shield=True):
                await stream.close()

    async def _fetch(self, conversation: Conversation, peer: PeerId, missing: list[bytes]) -> None:
        while missing:
            wanted = missing[:ASK_AT_ONCE]
            with trio.fail_after(TURN_SECONDS):
                answer = await conversation.ask("get", list[Value](wanted))
            frames = _read_frames(answer)
            if not frames:
                missing = missing[len(wanted) :]  # they were taken down meanwhile
                continue
            heard = self._take(frames, peer)
            if heard:
                await self._on_heard(heard)
            # As many as fitted came, in the order asked; go on behind the last.
            missing = missing[min(len(frames), len(wanted)) :]

    def _take(self, frames: list[bytes], peer: PeerId) -> list[Heard]:
        learned: list[Heard] = []
        for frame in frames:
            division = claimed_division(frame)
            if division is None or division not in self._gossip.divisions:
                self.counters["not_asked_for"] += 1
                continue
            heard = self._gossip.hear(division, frame, peer)
            if heard.accepted:
                self.counters["learned"] += 1
                learned.append(heard)
                self._gossip.forward(division, frame)
            elif heard.rejected:
                self.counters["rejected"] += 1
        return learned

    # ------------------------------------------------------------------------------------------------ answering

    async def _answer(self, stream: Stream) -> None:
        if self._served[stream.peer] >= SERVED_AT_ONCE:
            self.counters["too_many_streams"] += 1
            await stream.reset()
            return
        conversation = Conversation(stream)
        self._served[stream.peer] += 1
        try:
            while True:
                with trio.fail_after(TURN_SECONDS * 2):
                    question = await conversation.listen()
                    if question is None:
                        return
                    if not self._shares.take(stream.peer, trio.current_time()):
                        await trio.sleep(SERVED_AT_ONCE / QUESTIONS_PER_SECOND)
                    await self._answer_one(conversation, question)
        except Refused as refused:
            self.counters[refused.reason.value] += 1
            await stream.reset()
        except trio.TooSlowError:
            self.counters["idle"] += 1
            await stream.reset()
        finally:
            self._served[stream.peer] -= 1
            if not self._served[stream.peer]:
                del self._served[stream.peer]

    async def _answer_one(self, conversation: Conversation, question: list[Value]) -> None:
        match question:
            case ["list", salt, divisions, after, most]:
                most = expect_int(most, 1, 1000)
                cursor = expect_bytes(after)
                if len(cursor) not in (0, 32):
                    raise Refused(Reason.REQUEST, "a cursor has 0 or 32 bytes")
                page = min(most, PAGE)
                found = self._board.listing(set(expect_words(divisions)), expect_bytes(salt, 16), cursor, page)
                last = found[-1][0] if len(found) == page else b""
                await conversation.say("ids", [one for _, one in found], last)
            case ["get", ids]:
                wanted = expect_binaries(ids, 32)
                if len(wanted) > ASK_AT_ONCE:
                    raise Refused(Reason.REQUEST, f"at most {ASK_AT_ONCE} at once")
                await conversation.say("frames", list[Value](self._fitting(wanted)))
            case _:
                raise Refused(Reason.REQUEST, "neither list nor get")

    def _fitting(self, wanted: list[bytes]) -> list[bytes]:
        frames: list[bytes] = []
        size = 0
        for one in wanted:
            posting = self._board.get(one)
            if posting is None:
                continue
            size += len(posting.message.frame) + 3
            if frames and size > ANSWER_BYTES:
                break
            frames.append(posting.message.frame)
        return frames


def _read_ids(answer: list[Value]) -> tuple[list[bytes], bytes]:
    if len(answer) != 3 or answer[0] != "ids":
        raise Refused(Reason.REQUEST, "not a list of ids")
    after = expect_bytes(answer[2])
    if len(after) not in (0, 32):
        raise Refused(Reason.REQUEST, "a cursor has 0 or 32 bytes")
    return expect_binaries(answer[1], 32), after


def _read_frames(answer: list[Value]) -> list[bytes]:
    if len(answer) != 2 or answer[0] != "frames":
        raise Refused(Reason.REQUEST, "not a list of frames")
    return expect_binaries(answer[1])


def claimed_division(frame: bytes) -> str | None:
    """The division an unverified frame says it belongs to: where it will be judged. None: it is not even a frame."""
    try:
        body = read_frame(frame).peek_unverified().get("body")
    except Refused:
        return None
    category = body.get("category") if isinstance(body, dict) else None
    return division_of(category) if isinstance(category, str) else None


def division_of_message(message: Message) -> str:
    assert isinstance(message.body, Intent | IntentClose)
    return division_of(message.body.category)
