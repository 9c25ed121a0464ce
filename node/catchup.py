"""Catch-up: what a node missed while it was away, fetched from every new link and now and then from all.

    asker -> ["list", salt, [divisions], after, most]      answer: ["ids", [id...], next]
    asker -> ["get", [id...]]                              answer: ["frames", [frame...]]

Tombstones are listed like wishes, or a withdrawn wish would come back with the first peer that missed its end. Frames
pass the same verdicts as on gossip, and what is new is passed on there: so a healed partition heals for everybody.
"""

from collections import Counter, OrderedDict
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
from .listing import Listings, Order
from .network.seam import LinkUp, Network, NetworkError, PeerId, Stream
from .policy import Shares

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("catchup")

PROTOCOL = "/intentcast/sync/1"

EVERY = 600.0
"""Seconds between two rounds with a peer that stays: gossip brings nearly all, this the rest."""

AFTER_FAILURE = 60.0
"""Seconds after a round that broke off."""

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
"""Of one peer; who asks faster waits for the answer."""

ORDERS_PER_SECOND, ORDER_BURST = 1 / 30, 6.0
"""Listings in a new order, of one peer: it needs one a round. A full board's costs a third of a second."""

ORDERS_AT_ONCE = 2
"""Of one stream; the one not asked for longest is forgotten."""

MAX_REJECTED = 4
"""Frames that no honest node can have believed, from one link: then it is no link."""

SHARE_PAUSE, SHARE_PAUSES = 1.0, 20
"""Seconds to wait when a peer's share is used up, and how often in a row before the rest is left for another time."""


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
        self._order_shares = Shares(ORDERS_PER_SECOND, ORDER_BURST)
        self._listings = Listings(board)
        self._rejected: Counter[PeerId] = Counter()
        self.counters: Counter[str] = Counter()
        gossip.on_joined = self.ask_all_again

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
                    self._rejected.pop(event.peer, None)
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
                pause = AFTER_FAILURE
                try:
                    await self._ask(peer)
                    self.counters["rounds"] += 1
                    pause = EVERY
                except NetworkError as error:
                    self.counters["failed"] += 1
                    log.debug("catch-up failed", error=str(error))
                except Refused as refused:
                    self.counters[refused.reason.value] += 1
                except trio.TooSlowError:
                    self.counters["slow"] += 1
                with trio.move_on_after(pause * self._chance.choices.uniform(0.9, 1.1)):
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
        pauses = 0
        while missing:
            wanted = missing[:ASK_AT_ONCE]
            with trio.fail_after(TURN_SECONDS):
                answer = await conversation.ask("get", list[Value](wanted))
            frames = _read_frames(answer)
            if not frames:
                missing = missing[len(wanted) :]  # they were taken down meanwhile
                continue
            places = _places_of(frames, wanted)
            if places is None:
                self.counters["not_asked_for"] += 1
                raise Refused(Reason.REQUEST, "frames that were not asked for")
            done, heard = self._take(frames, peer)
            if heard:
                await self._on_heard(heard)
            if self._rejected[peer] >= MAX_REJECTED:
                self.counters["hung_up"] += 1
                with trio.CancelScope(shield=True):  # when the link is down, we are cancelled
                    await self._network.hang_up(peer)
            # As many as fitted came, in the order asked; go on behind the last that was judged.
            if done == len(frames):
                missing = missing[places[-1] + 1 :]
                pauses = 0
                continue
            missing = missing[places[done] :]
            pauses = 0 if done else pauses + 1
            if pauses > SHARE_PAUSES:
                raise trio.TooSlowError
            self.counters["over_share"] += 1
            await trio.sleep(SHARE_PAUSE)

    def _take(self, frames: list[bytes], peer: PeerId) -> tuple[int, list[Heard]]:
        """Judge frames while the peer's share lasts: how many, and what is new."""
        learned: list[Heard] = []
        for number, frame in enumerate(frames):
            division = claimed_division(frame)
            if division is None or division not in self._gossip.divisions:
                self.counters["other_division"] += 1
                continue
            if not self._gossip.may_judge(peer):
                return number, learned
            heard = self._gossip.hear(division, frame, peer)
            if heard.accepted:
                self.counters["learned"] += 1
                learned.append(heard)
                self._gossip.forward(division, frame)
            elif heard.rejected:
                self.counters["rejected"] += 1
                self._rejected[peer] += 1
        return len(frames), learned

    # ------------------------------------------------------------------------------------------------ answering

    async def _answer(self, stream: Stream) -> None:
        if self._served[stream.peer] >= SERVED_AT_ONCE:
            self.counters["too_many_streams"] += 1
            await stream.reset()
            return
        conversation = Conversation(stream)
        orders: OrderedDict[tuple[bytes, frozenset[str]], Order] = OrderedDict()
        self._served[stream.peer] += 1
        try:
            while True:
                with trio.fail_after(TURN_SECONDS * 2):
                    question = await conversation.listen()
                    if question is None:
                        return
                    if not self._shares.take(stream.peer, trio.current_time()):
                        await trio.sleep(SERVED_AT_ONCE / QUESTIONS_PER_SECOND)
                    await self._answer_one(conversation, question, orders)
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

    async def _answer_one(
        self,
        conversation: Conversation,
        question: list[Value],
        orders: OrderedDict[tuple[bytes, frozenset[str]], Order],
    ) -> None:
        match question:
            case ["list", salt, divisions, after, most]:
                most = expect_int(most, 1, 1000)
                cursor = expect_bytes(after)
                if len(cursor) not in (0, 32):
                    raise Refused(Reason.REQUEST, "a cursor has 0 or 32 bytes")
                page = min(most, PAGE)
                key = (expect_bytes(salt, 16), frozenset(expect_words(divisions)))
                if key not in orders:
                    if not self._order_shares.take(conversation.stream.peer, trio.current_time()):
                        self.counters["too_many_orders"] += 1
                        raise Refused(Reason.REQUEST, "too many listings in a new order")
                    orders[key] = await self._listings.order(key[0], key[1])
                orders.move_to_end(key)
                while len(orders) > ORDERS_AT_ONCE:
                    orders.popitem(last=False)
                ids, last = await self._listings.page(orders[key], cursor, page)
                await conversation.say("ids", list[Value](ids), last)
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


def _places_of(frames: list[bytes], wanted: list[bytes]) -> list[int] | None:
    """Which of the ids asked for each frame has, in ascending order; None if one has another, or comes twice."""
    index = {one: number for number, one in enumerate(wanted)}
    places: list[int] = []
    for frame in frames:
        try:
            place = index.get(read_frame(frame).id)
        except Refused:
            return None
        if place is None or (places and place <= places[-1]):
            return None
        places.append(place)
    return places


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
