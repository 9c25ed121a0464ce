"""Catch-up: what a node missed while it was away, fetched from every new link and now and then from all.

    asker -> ["compare", salt, [range...]]                 answer: ["marks", [mark...]]
    asker -> ["open", salt, [range...], most]              answer: ["parts", [marks or ids...]]
    asker -> ["get", [id...]]                              answer: ["frames", [frame...]]

What to ask is decided by protocol/reconcile.py; what it costs follows what differs. Ends are among the ids like wishes,
or a withdrawn wish would come back with the first peer that missed its end. Frames pass the same verdicts as on gossip,
and what is new is passed on there: so a healed partition heals for everybody.

Nothing is kept for a link that breaks: what was fetched hangs on the board and differs no more, so the next round, over
whatever link, goes on where this one was.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from protocol.board import Board, Heard
from protocol.codec import Value
from protocol.envelope import ID_BYTES, read_frame
from protocol.errors import Reason, Refused
from protocol.intent import Intent, IntentClose, division_of
from protocol.limits import SYNC_ANSWER, SYNC_GET, SYNC_SALT
from protocol.message import Message
from protocol.reconcile import Compare, Open, Walk, read_question

from .clock import Chance
from .conversation import Conversation, Visitors, expect_binaries
from .gossip import Gossip
from .network.seam import LinkDown, LinkUp, Network, NetworkError, PeerId, Stream
from .pace import Pace
from .policy import Shares

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("catchup")

PROTOCOL = "/intentcast/sync/1"

EVERY = 600.0
"""Seconds between two rounds with a peer that stays: gossip brings nearly all, this the rest."""

AFTER_FAILURE = 60.0
"""Seconds after a round that broke off."""

TURN_SECONDS = 20.0
"""For one question and its answer."""

ASKED_SECONDS = 5.0
"""What was asked of one peer is not asked of another for so long: a frame comes once, and who is slow delays little."""

MAX_FRUITLESS = 64
"""Frames asked for so often in one round without learning anything: what is listed is old, worthless or not there."""

RANGES_IN_A_PIECE = 16
PREPARED_IN_A_PIECE = 10
"""Ranges looked at, and fingerprints computed, in one go: about two milliseconds in which nothing else happens."""

SERVED_AT_ONCE = 4
"""Streams of one peer; it needs one."""

QUESTIONS_PER_SECOND, QUESTION_BURST = 10.0, 50.0
"""Of one peer; who asks faster waits for the answer. Sixty-four ranges count as one question more."""

MAX_REJECTED = 4
"""Frames that no honest node can have believed, from one link: then it is no link."""

SHARE_PAUSE, SHARE_PAUSES = 1.0, 20
"""Seconds to wait when a peer's share is used up, and how often in a row before the rest is left for another time."""


class Fruitless(Exception):
    """Nothing of what a peer lists is of use."""


@dataclass(eq=False, slots=True)
class Round:
    """One peer, asked once for all that we lack."""

    peer: PeerId
    conversation: Conversation
    walk: Walk
    fruitless: int = 0
    pauses: int = 0
    """In a row, for its share."""
    turned_over: Counter[str] = field(default_factory=Counter)
    """Frames fetched by division, where they only push out what this peer brought before."""

    async def ask(self, *question: Value) -> list[Value]:
        with trio.fail_after(TURN_SECONDS):
            return await self.conversation.ask(*question)


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
        self._shares = Shares(QUESTIONS_PER_SECOND, QUESTION_BURST)
        self._pace = Pace()
        self._asked: dict[bytes, tuple[PeerId, float]] = {}
        """Frames that are on their way: who was asked, and when."""
        self._answered = trio.Event()
        """Set, and replaced, when some of them are not any more."""
        self._rejected: Counter[PeerId] = Counter()
        self.counters: Counter[str] = Counter()
        self._visitors = Visitors(self.counters, SERVED_AT_ONCE)
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
                elif isinstance(event, LinkDown):
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
                except Fruitless:
                    self.counters["fruitless"] += 1
                    pause = EVERY
                except trio.TooSlowError:
                    self.counters["slow"] += 1
                with trio.move_on_after(pause * self._chance.choices.uniform(0.9, 1.1)):
                    await again.wait()

    async def _ask(self, peer: PeerId) -> None:
        divisions = list(self._gossip.divisions)
        if not divisions:
            return
        await self._prepare(divisions)
        stream = await self._network.open_stream(peer, PROTOCOL)
        try:
            walk = Walk(self._board.tree_of, self._chance.bytes(SYNC_SALT), self._chance.choices)
            one = Round(peer, Conversation(stream), walk)
            comparison = walk.begin(divisions)
            walk.compared(comparison, comparison.read(await one.ask(*comparison.value())))
            while (question := walk.ask()) is not None:
                parts = question.read(await one.ask(*question.value()))
                listed = await self._pace.all_of(walk.opened(question, parts), RANGES_IN_A_PIECE)
                await self._fetch(one, {id: division for some in listed for division, id in some})
            if walk.left:
                self.counters["unfinished"] += 1
            await stream.finish()
        finally:
            with trio.CancelScope(shield=True):
                await stream.close()

    async def _fetch(self, one: Round, missing: dict[bytes, str]) -> None:
        """`missing`: ids and their divisions, as they were listed."""
        while True:
            wanted = self._choose(one, missing)
            if wanted:
                await self._get(one, wanted, missing)
            elif missing:  # all of it is on its way from others
                with trio.move_on_after(ASKED_SECONDS):
                    await self._answered.wait()
            else:
                return

    def _choose(self, one: Round, missing: dict[bytes, str]) -> list[bytes]:
        """What to ask for next. What is not missing any more, or would not stay, is crossed off."""
        wanted: list[bytes] = []
        lately = trio.current_time() - ASKED_SECONDS
        for id, division in list(missing.items()):
            if self._board.get(id) is not None:
                del missing[id]
            elif id in self._asked and self._asked[id][1] > lately:
                continue
            elif not self._would_stay(one, division):
                self.counters["no_room"] += 1
                del missing[id]
            else:
                wanted.append(id)
                if len(wanted) == SYNC_GET:
                    break
        return wanted

    def _would_stay(self, one: Round, division: str) -> bool:
        """Two full boards differ for good, and need not swap all they have every ten minutes. A few frames are looked
        at all the same: there may be ends among them."""
        if self._board.has_room_for(division, one.peer):
            return True
        one.turned_over[division] += 1
        return one.turned_over[division] <= SYNC_GET

    async def _get(self, one: Round, wanted: list[bytes], missing: dict[bytes, str]) -> None:
        frames = await self._get_frames(one, wanted)
        places = _places_of(frames, wanted)
        if places is None:
            self.counters["not_asked_for"] += 1
            raise Refused(Reason.REQUEST, "frames that were not asked for")
        done, heard = self._take(frames, one.peer)
        if heard:
            await self._on_heard(heard)
        if self._rejected[one.peer] >= MAX_REJECTED:
            self.counters["hung_up"] += 1
            with trio.CancelScope(shield=True):  # when the link is down, we are cancelled
                await self._network.hang_up(one.peer)
        # As many as fitted came, in the order asked; go on behind the last that was judged.
        is_over_share = done < len(frames)
        judged = places[done] if is_over_share else places[-1] + 1 if places else len(wanted)
        for id in wanted[:judged]:
            del missing[id]
        if not heard and not (is_over_share and done == 0):
            one.fruitless += 1
            if one.fruitless == MAX_FRUITLESS:
                raise Fruitless
        one.pauses = one.pauses + 1 if is_over_share and done == 0 else 0
        if one.pauses > SHARE_PAUSES:
            raise trio.TooSlowError
        if is_over_share:
            self.counters["over_share"] += 1
            await trio.sleep(SHARE_PAUSE)

    async def _get_frames(self, one: Round, wanted: list[bytes]) -> list[bytes]:
        claim = one.peer, trio.current_time()
        self._asked.update(dict.fromkeys(wanted, claim))
        try:
            answer = await one.ask("get", list[Value](wanted))
        finally:
            for id in wanted:
                if self._asked.get(id) == claim:
                    del self._asked[id]
            self._answered.set()
            self._answered = trio.Event()
        if len(answer) != 2 or answer[0] != "frames":
            raise Refused(Reason.REQUEST, "not a list of frames")
        return expect_binaries(answer[1])

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
        await self._visitors.receive(stream, self._converse)

    async def _converse(self, conversation: Conversation) -> None:
        while True:
            with trio.fail_after(TURN_SECONDS * 2):
                question = await conversation.listen()
                if question is None:
                    return
                await self._answer_one(conversation, question)

    async def _answer_one(self, conversation: Conversation, question: list[Value]) -> None:
        peer = conversation.stream.peer
        asked = read_question(question)
        if asked is not None:
            await self._admit(peer, 1 + len(asked.ranges) / 64)
            await self._prepare({one.division for one in asked.ranges})
        match asked:
            case Compare():
                marks = await self._pace.all_of(asked.answers(self._board.tree_of), RANGES_IN_A_PIECE)
                await conversation.say("marks", list[Value](marks))
            case Open():
                parts = await self._pace.all_of(asked.answers(self._board.tree_of), RANGES_IN_A_PIECE)
                await conversation.say("parts", list[Value](parts))
            case None:
                if len(question) != 2 or question[0] != "get":
                    raise Refused(Reason.REQUEST, "neither compare nor open nor get")
                await self._admit(peer, 1)
                wanted = expect_binaries(question[1], ID_BYTES)
                if len(wanted) > SYNC_GET:
                    raise Refused(Reason.REQUEST, f"at most {SYNC_GET} at once")
                await conversation.say("frames", list[Value](self._fitting(wanted)))

    async def _admit(self, peer: PeerId, cost: float) -> None:
        while not self._shares.take(peer, trio.current_time(), cost):  # noqa: ASYNC110  a share comes back with time
            await trio.sleep(cost / QUESTIONS_PER_SECOND)

    async def _prepare(self, divisions: Iterable[str]) -> None:
        """Bring the fingerprints of whole divisions up to date, piece by piece. What changes meanwhile is little."""
        for division in divisions:
            tree = self._board.tree_of(division)
            for _ in range(1 + len(tree) // PREPARED_IN_A_PIECE):
                if await self._pace.work(lambda tree=tree: tree.prepare(PREPARED_IN_A_PIECE)):  # type: ignore[misc]
                    break

    def _fitting(self, wanted: list[bytes]) -> list[bytes]:
        frames: list[bytes] = []
        size = 0
        for one in wanted:
            posting = self._board.get(one)
            if posting is None:
                continue
            size += len(posting.message.frame) + 3
            if frames and size > SYNC_ANSWER:
                break
            frames.append(posting.message.frame)
        return frames


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
