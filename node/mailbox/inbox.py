"""Fetching what others left for us: our mailboxes, asked to hold items for our keys, and visited while we are there.

For every key and every mailbox that holds for it there is one stream, on which we wait for the next item. What we took
in is released; what we could not take in yet stays there. A mailbox that is gone, or brings us rubbish, is visited ever
less often; what the others hold arrives all the same, and twice is once.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
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
from ..policy import lives_in_public, may_be_dialled
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

MAX_RUBBISH = 16
"""Items in one visit that are none of ours before we leave."""


class Opener(Protocol):
    """Delivery, as an inbox sees it."""

    async def receive_from_mailbox(self, encoded: bytes, mailbox: PeerId) -> bool: ...


@dataclass(frozen=True, slots=True, eq=False)
class Inbox:
    """One key of ours at one mailbox."""

    key: SigningKey
    address: Address
    exp: Callable[[], int]
    """Until when it should hold, seconds UTC; in the past: no longer."""
    known: Callable[[], Iterable[bytes]]
    """Channels whose items should never be pushed out."""
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
        self._nursery: trio.Nursery | None = None
        self.counters: Counter[str] = Counter()

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            for inbox in list(self._inboxes.values()):
                nursery.start_soon(self._keep, inbox)
            await trio.sleep_forever()

    # -------------------------------------------------------------------------------------------------- agreeing

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
                for address in self._mailboxes:
                    if self._clock.steady() >= self._refused_at.get(address, -NOT_AGAIN) + NOT_AGAIN:
                        nursery.start_soon(ask, address)
        if patience.cancelled_caught:
            self.counters["not_agreed_in_time"] += 1
        ways = (agreed[address] for address in self._mailboxes if address in agreed)
        return tuple(Route("mailbox", way) for way in ways if may_be_dialled(way, self._public))

    def _where(self, address: Address, peer: PeerId) -> Address:
        """A mailbox named by a host name is told to others by the address it was found at."""
        if may_be_dialled(address, self._public):
            return address
        remote = next((link.remote for link in self._network.links() if link.peer == peer), "")
        return f"{remote}/p2p/{peer}"

    def keep(
        self, key: SigningKey, address: Address, exp: Callable[[], int], known: Callable[[], Iterable[bytes]]
    ) -> None:
        """Fetch what lies there for this key, until `exp` or `leave`."""
        if (key.public, address) not in self._inboxes:
            inbox = self._inboxes[key.public, address] = Inbox(key, address, exp, known)
            if self._nursery is not None:
                self._nursery.start_soon(self._keep, inbox)

    def leave(self, author: bytes) -> None:
        """This key is no more."""
        for inbox in [inbox for inbox in self._inboxes.values() if inbox.key.public == author]:
            inbox.scope.cancel()

    def statistics(self) -> dict[str, int]:
        return {"inboxes": len(self._inboxes), **self.counters}

    # -------------------------------------------------------------------------------------------------- fetching

    async def _keep(self, inbox: Inbox) -> None:
        retry = FIRST_RETRY
        try:
            with inbox.scope:
                while self._clock.now() < inbox.exp():
                    try:
                        async with self._visit(inbox.address) as (conversation, peer):
                            await self._claim(conversation, peer, inbox)
                            retry = FIRST_RETRY
                            await self._fetch(conversation, peer, inbox)
                    except (NetworkError, trio.TooSlowError) as error:
                        log.debug("mailbox not reached", error=str(error))
                        self.counters["not_reached"] += 1
                    except Refused as refused:
                        self.counters[refused.reason.value] += 1
                        retry = LAST_RETRY
                    await trio.sleep(retry * self._chance.choices.uniform(0.8, 1.2))
                    retry = min(LAST_RETRY, retry * 2)
        finally:
            self._inboxes.pop((inbox.key.public, inbox.address), None)

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
        answer = await _asked(conversation, "challenge")
        match answer:
            case ["challenge", bytes(challenge)] if len(challenge) == 32:
                pass
            case _:
                raise Refused(Reason.REQUEST, "not a challenge")
        now = self._clock.now()
        frame = self._say("mailbox.claim", MailboxClaim(peer, challenge), inbox.key, now + CLAIM_LIFE)
        answer = await _asked(conversation, "claim", frame)
        if answer[:2] == ["no", "receiver"]:  # it forgot us, or never knew
            await self._grant(conversation, peer, inbox.key, inbox.exp())
            return await self._claim(conversation, peer, inbox)
        if answer[0] != "claimed":
            raise StreamError("our claim was not believed")
        return None

    async def _grant(self, conversation: Conversation, peer: PeerId, key: SigningKey, exp: int) -> None:
        now = self._clock.now()
        draft = self._draft("mailbox.grant", MailboxGrant(peer, MAX_GRANT_BYTES), min(exp, now + MAX_LIFE))
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

    async def _fetch(self, conversation: Conversation, peer: PeerId, inbox: Inbox) -> None:
        told: list[bytes] = []
        rubbish = 0
        while self._clock.now() < inbox.exp():
            known = list(inbox.known())[:MAX_KNOWN]
            if known != told:
                if (await _asked(conversation, "know", list[Value](known)))[0] != "known":
                    raise Refused(Reason.REQUEST, "not what a mailbox answers")
                told = known
            with trio.fail_after(MAX_WAIT + TURN_SECONDS):
                answer = await conversation.ask("next", MAX_WAIT)
            if len(answer) != 2 or answer[0] != "items":
                raise Refused(Reason.REQUEST, "not what a mailbox answers")
            done: list[Value] = []
            for encoded in expect_binaries(answer[1]):
                digest = _digest(encoded)
                try:
                    if await self._opener.receive_from_mailbox(encoded, peer):
                        done.append(digest)
                except Refused as refused:
                    self.counters[f"rubbish_{refused.reason.value}"] += 1
                    done.append(digest)
                    rubbish += 1
            self.counters["fetched"] += len(done)
            if done and (await _asked(conversation, "release", done))[0] != "released":
                raise Refused(Reason.REQUEST, "not what a mailbox answers")
            if rubbish > MAX_RUBBISH:
                await trio.sleep(TURN_SECONDS)  # somebody floods us by way of it: no faster than this
                rubbish = 0


async def _asked(conversation: Conversation, *parts: Value) -> list[Value]:
    with trio.fail_after(TURN_SECONDS):
        return await conversation.ask(*parts)


def _digest(encoded: bytes) -> bytes:
    """Raises Refused for what no mailbox holds."""
    item = read_item(encoded)
    if not isinstance(item, Item):
        raise Refused(Reason.ITEM, "a mailbox holds items")
    return item.digest
