"""Fetching what others left for us: our mailboxes, asked to hold items for our keys, and visited while we are there.

For every key and every mailbox that holds for it there is one stream, on which we wait for the next item. What we took
in is released; what we could not take in yet stays there, and is looked at again ever less often. A mailbox that is
gone, or brings us rubbish, is visited ever less often; what the others hold arrives all the same, and twice is once.
From whom we await something is said on a short visit beside it: we may be gone before the next item comes.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from protocol.codec import Value
from protocol.envelope import Item, read_item
from protocol.errors import Reason, Refused
from protocol.keys import SigningKey
from protocol.kinds import Body
from protocol.limits import MAX_LIFE, STAMP_BITS
from protocol.mailbox import MAX_GRANT_BYTES, MAX_KNOWN, MailboxClaim, MailboxGrant
from protocol.message import Draft, mine_stamp, speak
from protocol.terms import Route

from ..clock import Chance, Clock
from ..config import MOST_MAILBOXES
from ..conversation import Conversation, expect_binaries
from ..network.seam import Address, Network, NetworkError, PeerId, StreamError
from ..policy import Shares, lives_in_public, may_be_dialled
from .host import MAX_WAIT, PROTOCOL

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("inbox")

AGREE_WITHIN = 3.0
"""Seconds our mailboxes have to agree before a wish goes out without naming them."""

NOT_AGAIN = 60.0
"""Seconds in which a mailbox that did not agree is not asked again: a person who asks does not wait for it twice."""

TURN_SECONDS = 20.0
CLAIM_LIFE = 300
FIRST_RETRY, LAST_RETRY = 1.0, 300.0

MAX_RUBBISH = 64
"""Items in one visit that are no news to us before we leave for LAST_RETRY."""

LONG_VISIT = 60.0
"""Seconds after which a visit went well: the next one follows soon."""

STAYED_FIRST, STAYED_LAST = 30, 3600
"""Seconds between two looks at what we could not take in yet."""

TELL_EVERY = 5.0
"""Seconds between two visits that only say what is known: a vendor may make many offers in them."""

ITEMS_PER_SECOND, ITEM_BURST = 5.0, 100.0
"""What one mailbox may have us open."""


class Opener(Protocol):
    """Delivery, as an inbox sees it."""

    async def receive_from_mailbox(self, encoded: bytes, mailbox: PeerId) -> bool: ...

    @property
    def welcomed(self) -> int:
        """How many messages were believed, new ones and copies, ever."""


@dataclass(slots=True, eq=False)
class Inbox:
    """One key of ours at one mailbox."""

    key: SigningKey
    address: Address
    exp: Callable[[], int]
    """Until when it should hold, seconds UTC; in the past: no longer."""
    known: Callable[[], Iterable[bytes]]
    """Channels whose items should never be pushed out."""
    told: list[bytes] | None = None
    """Those that the mailbox has heard of; None: who knows."""
    telling: trio.Lock = field(default_factory=trio.Lock)
    changed: trio.Event = field(default_factory=trio.Event)
    """Set when others may be known than it was told."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Inboxes:
    def __init__(
        self,
        network: Network,
        opener: Opener,
        clock: Clock,
        chance: Chance,
        net: str,
        mailboxes: tuple[Address, ...],
    ) -> None:
        self._network = network
        self._opener = opener
        self._clock = clock
        self._chance = chance
        self._net = net
        self._public = lives_in_public(net, network.addresses)
        self._mailboxes = mailboxes[:MOST_MAILBOXES]
        self._inboxes: dict[tuple[bytes, Address], Inbox] = {}
        self._refused_at: dict[Address, float] = {}
        self._shares = Shares(ITEMS_PER_SECOND, ITEM_BURST)
        self._nursery: trio.Nursery | None = None
        self.counters: Counter[str] = Counter()

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            for inbox in list(self._inboxes.values()):
                nursery.start_soon(self._keep, inbox)
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None  # the node ends; what others still ask of us begins nothing

    # -------------------------------------------------------------------------------------------------- agreeing

    @property
    def to_ask(self) -> tuple[Address, ...]:
        """Our mailboxes, but for those that lately would not hold for us."""
        now = self._clock.steady()
        return tuple(one for one in self._mailboxes if now >= self._refused_at.get(one, -NOT_AGAIN) + NOT_AGAIN)

    async def agree(self, key: SigningKey, exp: int) -> tuple[Route, ...]:
        """Ask our mailboxes to hold items for this key. Returns ways back over those that agreed in time."""
        agreed: dict[Address, Address] = {}

        async def ask(address: Address) -> None:
            try:
                async with self._visit(address) as (conversation, peer):
                    await self._grant(conversation, peer, key, exp)
                agreed[address] = self._where(address, peer)
            except (NetworkError, Refused, trio.TooSlowError) as why:
                log.debug("a mailbox does not hold for us", why=str(why) or "too slow")
                self.counters["not_agreed"] += 1
                self._refused_at[address] = self._clock.steady()

        with trio.move_on_after(AGREE_WITHIN) as patience:
            async with trio.open_nursery() as nursery:
                for address in self.to_ask:
                    nursery.start_soon(ask, address)
        if patience.cancelled_caught:  # who says nothing is not waited for again, either
            self.counters["not_agreed_in_time"] += 1
            for address in self._mailboxes:
                if address not in agreed:
                    self._refused_at[address] = self._clock.steady()
        ways = (agreed[address] for address in self._mailboxes if address in agreed)
        return tuple(Route("mailbox", way) for way in ways if may_be_dialled(way, self._public))

    def _where(self, address: Address, peer: PeerId) -> Address:
        """A mailbox named by a host name is told to others by the address it was found at."""
        if may_be_dialled(address, self._public):
            return address
        remote = next((link.remote for link in self._network.links() if link.peer == peer and link.outbound), "")
        return f"{remote}/p2p/{peer}"

    def keep(
        self, key: SigningKey, address: Address, exp: Callable[[], int], known: Callable[[], Iterable[bytes]]
    ) -> None:
        """Fetch what lies there for this key, until `exp` or `leave`."""
        if (key.public, address) not in self._inboxes:
            inbox = self._inboxes[key.public, address] = Inbox(key, address, exp, known)
            if self._nursery is not None:
                self._nursery.start_soon(self._keep, inbox)

    def known_changed(self, author: bytes) -> None:
        """Something is awaited on another channel for this key: its mailboxes hear of it at once."""
        for inbox in self._inboxes.values():
            if inbox.key.public == author:
                inbox.changed.set()

    def leave(self, author: bytes) -> None:
        """This key is no more: nobody needs to hold for it."""
        for inbox in [inbox for inbox in self._inboxes.values() if inbox.key.public == author]:
            inbox.scope.cancel()
            if self._nursery is not None:
                self._nursery.start_soon(self._end, inbox)

    async def _end(self, inbox: Inbox) -> None:
        """Said once; a mailbox that does not hear it forgets when the grant expires."""
        with suppress(NetworkError, Refused, trio.TooSlowError):
            async with self._visit(inbox.address) as (conversation, peer):
                await self._grant(conversation, peer, inbox.key, inbox.exp(), room=0)

    def view(self) -> dict[str, str]:
        """Our mailboxes, and what they say, in words."""
        now = self._clock.steady()
        found = {}
        for address in self._mailboxes:
            keys = sum(inbox.address.endswith(address.rpartition("/")[2]) for inbox in self._inboxes.values())
            refused = now < self._refused_at.get(address, -NOT_AGAIN) + NOT_AGAIN
            found[address] = (
                f"holds for {keys} of our keys" if keys else "holds nothing for us" if refused else "not asked yet"
            )
        return found

    # -------------------------------------------------------------------------------------------------- fetching

    async def _keep(self, inbox: Inbox) -> None:
        try:
            with inbox.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._stay_known, inbox)
                    await self._stay(inbox)
                    nursery.cancel_scope.cancel()
        finally:
            self._inboxes.pop((inbox.key.public, inbox.address), None)

    async def _stay(self, inbox: Inbox) -> None:
        retry = FIRST_RETRY
        while self._clock.certain() < inbox.exp():
            began = self._clock.steady()
            if not await self._come(inbox, self._fetch):
                retry = LAST_RETRY
            if self._clock.steady() - began >= LONG_VISIT:
                retry = FIRST_RETRY
            await trio.sleep(retry * self._chance.choices.uniform(0.8, 1.2))
            retry = min(LAST_RETRY, retry * 2)

    async def _stay_known(self, inbox: Inbox) -> None:
        """Where this does not get through, the other visit says it at its next turn."""
        while True:
            await inbox.changed.wait()
            inbox.changed = trio.Event()
            if _known(inbox) != inbox.told:
                await self._come(inbox, self._tell_known)
                await trio.sleep(TELL_EVERY)

    async def _come(self, inbox: Inbox, why: Callable[[Conversation, PeerId, Inbox], Awaitable[None]]) -> bool:
        """One visit for this. False: what we heard there we refuse."""
        try:
            async with self._visit(inbox.address) as (conversation, peer):
                await self._claim(conversation, peer, inbox)
                await why(conversation, peer, inbox)
        except (NetworkError, trio.TooSlowError) as error:
            log.debug("mailbox not reached", error=str(error))
            self.counters["not_reached"] += 1
        except Refused as refused:
            self.counters[refused.reason.value] += 1
            return False
        return True

    @asynccontextmanager
    async def _visit(self, address: Address) -> AsyncIterator[tuple[Conversation, PeerId]]:
        with trio.fail_after(TURN_SECONDS):
            peer = await self._network.dial(address)
            stream = await self._network.open_stream(peer, PROTOCOL)
        try:
            yield Conversation(stream), peer
        finally:
            with trio.CancelScope(shield=True):
                await stream.close()

    async def _claim(self, conversation: Conversation, peer: PeerId, inbox: Inbox) -> None:
        answer = await self._try_claim(conversation, peer, inbox)
        if answer[:2] == ["no", "receiver"]:  # it forgot us, or never knew
            await self._grant(conversation, peer, inbox.key, inbox.exp())
            answer = await self._try_claim(conversation, peer, inbox)
        if answer[0] != "claimed":
            raise StreamError("our claim was not believed")
        inbox.told = None  # if it forgot us, then this as well

    async def _try_claim(self, conversation: Conversation, peer: PeerId, inbox: Inbox) -> list[Value]:
        answer = await _asked(conversation, "challenge")
        match answer:
            case ["challenge", bytes(challenge)] if len(challenge) == 32:
                pass
            case _:
                raise Refused(Reason.REQUEST, "not a challenge")
        now = self._clock.now()
        frame = self._say("mailbox.claim", MailboxClaim(peer, challenge), inbox.key, now + CLAIM_LIFE)
        return await _asked(conversation, "claim", frame)

    async def _grant(
        self, conversation: Conversation, peer: PeerId, key: SigningKey, exp: int, room: int = MAX_GRANT_BYTES
    ) -> None:
        now = self._clock.now()
        draft = self._draft("mailbox.grant", MailboxGrant(peer, room), max(now + 1, min(exp, now + MAX_LIFE)))
        bits = STAMP_BITS.get(self._net, 0)
        if bits:
            draft = await trio.to_thread.run_sync(mine_stamp, draft, key.public, bits)
        else:
            draft = mine_stamp(draft, key.public, 0)
        answer = await _asked(conversation, "grant", speak(draft, key).frame)
        if answer != ["granted"]:
            raise StreamError("the mailbox does not hold for us")

    def _say(self, kind: str, body: Body, key: SigningKey, exp: int) -> bytes:
        return speak(self._draft(kind, body, exp), key).frame

    def _draft(self, kind: str, body: Body, exp: int) -> Draft:
        now = self._clock.now()
        return Draft(kind, body, self._net, at=now, exp=exp, seq=now, salt=self._chance.bytes(16))

    async def _tell_known(self, conversation: Conversation, _peer: PeerId, inbox: Inbox) -> None:
        async with inbox.telling:  # or of two visits the one that knows less might have the last word
            known = _known(inbox)
            if known != inbox.told:
                inbox.told = None  # until it answers
                _expect(await _asked(conversation, "know", list[Value](known)), "known")
                inbox.told = known

    async def _fetch(self, conversation: Conversation, peer: PeerId, inbox: Inbox) -> None:
        """Until the key expires, or the mailbox has nothing but rubbish for us. Raises Refused for that."""
        rubbish, pause, stayed = 0, 0, False
        while self._clock.certain() < inbox.exp():
            await self._tell_known(conversation, peer, inbox)
            wait = min(pause, MAX_WAIT) if stayed else MAX_WAIT
            began = self._clock.steady()
            with trio.fail_after(wait + TURN_SECONDS):
                answer = await conversation.ask("next", wait)
            _expect(answer, "items", 2)
            items = expect_binaries(answer[1])
            done = await self._take_in(items, peer)
            self.counters["fetched"] += len(done.released)
            if done.released:
                _expect(await _asked(conversation, "release", done.released), "released")
            rubbish += len(items) - done.welcome
            if rubbish > MAX_RUBBISH:
                raise Refused(Reason.OVER_SHARE, "a mailbox full of what we do not want")
            stayed = stayed or len(done.released) < len(items)
            if stayed:
                pause = max(pause, STAYED_FIRST)
            if items:
                continue
            # One that does not wait as it was asked to makes nobody spin.
            await trio.sleep(max(0.0, min(wait, 1.0) - (self._clock.steady() - began)))
            if stayed:
                await trio.sleep(max(0, pause - wait))
                await self._claim(conversation, peer, inbox)  # what stayed there is shown again after a new claim
                pause, stayed = min(STAYED_LAST, 2 * pause), False
            else:
                pause = 0

    async def _take_in(self, items: list[bytes], peer: PeerId) -> "Taken":
        done = Taken()
        for encoded in items:
            if not self._shares.take(peer, self._clock.steady()):
                await trio.sleep(1 / ITEMS_PER_SECOND)
            digest = _digest(encoded)
            before = self._opener.welcomed
            try:
                if await self._opener.receive_from_mailbox(encoded, peer):
                    done.released.append(digest)
            except Refused as refused:
                self.counters[f"rubbish_{refused.reason.value}"] += 1
                done.released.append(digest)
            done.welcome += self._opener.welcomed > before
        return done


@dataclass(slots=True)
class Taken:
    """What became of a handful of items."""

    released: list[Value] = field(default_factory=list)
    """Digests of what the mailbox may let go."""
    welcome: int = 0
    """How many were messages for us."""


def _known(inbox: Inbox) -> list[bytes]:
    return list(inbox.known())[:MAX_KNOWN]


async def _asked(conversation: Conversation, *parts: Value) -> list[Value]:
    with trio.fail_after(TURN_SECONDS):
        return await conversation.ask(*parts)


def _expect(answer: list[Value], word: str, size: int = 1) -> None:
    if answer[0] != word or len(answer) != size:
        raise Refused(Reason.REQUEST, "not what a mailbox answers")


def _digest(encoded: bytes) -> bytes:
    """Raises Refused for what no mailbox holds."""
    item = read_item(encoded)
    if not isinstance(item, Item):
        raise Refused(Reason.ITEM, "a mailbox holds items")
    return item.digest
