"""The live script: around a node stand neighbours that know only the wire, and each thing they try is a row.

    speaker   well-behaved, publishes          liar      a fresh one for each lie, and then gone
    listener  well-behaved, publishes nothing  outsider  outside the mesh, hears by IHAVE alone

What the listener hears it can only have from the node: it is linked to nobody else."""

import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

import trio
from google.protobuf.message import DecodeError
from libp2p.identity.identify.pb.identify_pb2 import Identify

from node.conversation import Conversation
from node.network.seam import Address, NetworkError, NotSpokenError
from protocol.codec import Value, encode
from protocol.envelope import Hint, HintCode, Item, Realm, read_item, sign
from protocol.errors import Refused
from protocol.framing import encode_varint, frame_with_length
from protocol.gossip import MESHSUB_1_1
from protocol.gossip.rpc import message_id
from protocol.intent import IntentClose
from protocol.keys import BoxKey, SigningKey, peer_id
from protocol.letter import write_letter
from protocol.limits import MAX_GOSSIP_FRAME, MAX_ITEM, MAX_RPC, MAX_SKEW, STAMP_BITS, SYNC_SALT
from protocol.mailbox import MailboxClaim, MailboxGrant, stamp_base, stamp_bits
from protocol.message import Draft, Message, mine_stamp, speak
from protocol.reconcile import EMPTY, Compare, IdTree, Open, Range, mark_of, read_question
from protocol.record import read_record
from tests.adversary.frames import Forger, dressed
from tests.protocol.people import PLAIN_OFFER, WISH

from .probe import Probe, first_item, open_probe, wait_end
from .rows import Outcome, Report, Row

PART: Final = "live"
IDENTIFY: Final = "/ipfs/id/1.0.0"
SYNC: Final = "/intentcast/sync/1"
DIRECT: Final = "/intentcast/direct/1"
PEERS: Final = "/intentcast/peers/1"
MAILBOX: Final = "/intentcast/mailbox/1"
LIFE: Final = 600
"""Seconds our wishes live: the node is rid of them soon."""
FIRST_WORDS: Final = 10.0
"""Seconds a node may take to say what it carries."""
BACKOFF: Final = 60
"""Seconds we ask a node to leave us out of its mesh."""
WATCHED: Final = 3
"""Heartbeats for which it is watched whether it does."""
TOPIC: Final = re.compile(r"intentcast/1/([a-z0-9-]{1,32})/intent/([a-z0-9-]{1,32})")


class Unfit(Exception):
    """Nothing can be looked at here; the text says why, and what to do."""


class Fault(Exception):
    """It does not do what the book asks; the text says what it did."""


class Skip(Exception):
    """Not looked at; the text says why."""


Check = Callable[[], Awaitable[str | None]]
"""Returns what is worth saying though all is well. Raises Fault, Skip, Refused and NetworkError."""


@dataclass
class Visit:
    """One run against one node."""

    address: Address
    patience: float
    """Seconds for each answer."""
    report: Report
    beat: float = 1.0
    """Seconds between two of its heartbeats."""
    net: str = ""
    division: str = ""
    lies: dict[bytes, str] = field(default_factory=dict)
    """Frames that must not be passed on."""

    async def look(self, name: str, section: str, check: Check) -> bool:
        """One row. True unless it failed or was skipped."""
        outcome, why = Outcome.PASSED, ""
        try:
            with trio.fail_after(self.patience):
                why = await check() or ""
        except Skip as skip:
            outcome, why = Outcome.SKIPPED, str(skip)
        except (Fault, Refused, NetworkError) as wrong:
            outcome, why = Outcome.FAILED, str(wrong)
        except trio.TooSlowError:
            outcome, why = Outcome.FAILED, f"nothing came within {self.patience:g} s"
        self.report.add(Row(PART, name, section, outcome, why))
        return outcome is Outcome.PASSED

    # ---------------------------------------------------------------------------------------------- what is said

    @property
    def topic(self) -> str:
        return f"intentcast/1/{self.net}/intent/{self.division}"

    @property
    def bits(self) -> int:
        return STAMP_BITS.get(self.net, 0)

    def forger(self) -> Forger:
        """Makes wishes of this network, by fresh keys, at this hour."""
        return Forger(secrets.token_hex(16), int(time.time()), self.net, f"{self.division}.conformance")

    def wish(self) -> Message:
        return self.forger().good(self.bits, LIFE)

    def sign(self, draft: Draft, key: SigningKey) -> Message:
        return speak(mine_stamp(draft, key.public, self.bits), key)

    def unchecked(self, draft: Draft, key: SigningKey) -> bytes:
        """The frame of a draft that `speak` would refuse to say, stamped and signed as it stands."""
        return sign(mine_stamp(draft, key.public, self.bits).payload(), key, Realm.GOSSIP, self.net)


async def examine(visit: Visit, net: str | None = None) -> None:
    """All rows. `net`: the network it must be of, or else whichever it says. Raises DialError where nobody is, Unfit
    where there is nothing to look at."""
    address = visit.address
    async with open_probe(address) as speaker, open_probe(address) as listener:
        await visit.look("it is who its address says", "Keys", _nothing_more)
        await visit.look("it tells who it is and what it speaks", "Streams", lambda: _identify(speaker))
        await _find_topic(visit, listener, net)
        for each in (speaker, listener):
            await each.carry(visit.topic)
        await _hour(visit, speaker)
        await _gossip(visit, speaker, listener)
        await _lies(visit, speaker, listener)
        await _hearsay(visit, speaker, listener)
        await _catch_up(visit, speaker, listener)
        await _direct(visit, speaker)
        await _mailbox(visit, speaker)
        await visit.look("no lie was passed on later", "Verdicts", lambda: _late(visit, listener))
        await visit.look("all it said on gossip is well-formed", "Gossip", lambda: _well_formed(speaker, listener))


async def _nothing_more() -> None:
    """The handshake proved it."""


async def _late(visit: Visit, listener: Probe) -> None:
    if late := [what for frame, what in visit.lies.items() if frame in listener.heard]:
        raise Fault(", ".join(late))


async def _well_formed(*probes: Probe) -> None:
    if wrong := [each for probe in probes for each in probe.refused]:
        raise Fault("; ".join(wrong[:3]))


async def _identify(probe: Probe) -> str:
    try:
        async with probe.stream(IDENTIFY) as stream:
            told = Identify.FromString(await first_item(stream))
    except NotSpokenError:
        raise Skip("it does not speak identify") from None
    except DecodeError:
        raise Fault("what it tells is not protobuf") from None
    key = told.public_key[-32:]
    if peer_id(key) != probe.node:
        raise Fault("the key it tells is not the key of its peer id")
    spoken = sorted(set(told.protocols))
    if missing := {MESHSUB_1_1, SYNC, DIRECT} - set(spoken):
        raise Fault(f"it does not offer {', '.join(sorted(missing))}")
    return f"{told.agent_version[:60]}: {', '.join(one[:40] for one in spoken)}"


async def _find_topic(visit: Visit, listener: Probe, net: str | None) -> None:
    """Which network, and a division it carries: by what it subscribed to."""

    def topics() -> list[tuple[str, str]]:
        found = (TOPIC.fullmatch(topic) for topic in listener.subscriptions)
        return sorted((match[1], match[2]) for match in found if match)

    with trio.move_on_after(FIRST_WORDS):
        await listener.wait(lambda: bool(topics()))
    nets = {one for one, _ in topics()}
    if not nets:
        raise Unfit(
            "It carries no division of any intentcast network, so there is nothing to hear or pass on. "
            "A vendor carries those of its price list, `intentcast up --meeting` all of them."
        )
    if net is not None and net not in nets:
        raise Unfit(f"It is a node of network {', '.join(sorted(nets))}, not of {net}.")
    if net is None and "main" in nets:
        raise Unfit("It is a node of network main, where others would hear our wishes: say --net main if you mean it.")
    visit.net = net or min(nets)
    divisions = [division for one, division in topics() if one == visit.net]
    visit.division = "mobility" if "mobility" in divisions else divisions[0]

    async def told() -> str:
        return f"network {visit.net}, {len(divisions)} divisions; here: {visit.division}"

    await visit.look("it says which divisions it carries", "Gossip", told)


async def _hour(visit: Visit, speaker: Probe) -> None:
    async def check() -> str:
        async with _offered(speaker, PEERS) as talk:
            word, records, hour, *_ = [*await talk.ask("peers", b"", 16), None, None]
        if word != "records" or not isinstance(records, list) or type(hour) is not int or len(records) > 16:
            raise Fault("not an answer of records and an hour")
        away = hour - int(time.time())
        if abs(away) > MAX_SKEW:
            raise Fault(f"its clock is {away} s from this machine's: each finds the other's wishes early or expired")
        for record in records:
            if not isinstance(record, bytes):
                raise Fault("a record that is no bytes")
            read_record(record, visit.net, int(time.time()))
        return f"{len(records)} records, {away} s from our clock"

    await visit.look("it tells its hour and peers", "Peers", check)


@asynccontextmanager
async def _offered(probe: Probe, protocol: str) -> AsyncIterator[Conversation]:
    try:
        async with probe.talk(protocol) as talk:
            yield talk
    except NotSpokenError:
        raise Skip(f"it does not speak {protocol}") from None


# ----------------------------------------------------------------------------------------------------------- gossip


async def _gossip(visit: Visit, speaker: Probe, listener: Probe) -> None:
    forger, key = visit.forger(), SigningKey(secrets.token_bytes(32))
    first = visit.sign(forger.draft(LIFE), key)
    about = replace(forger.draft(LIFE), root=first.id)

    def revise(seq: int) -> Message:
        return visit.sign(replace(about, kind="intent.update", seq=seq, ref=first.id), key)

    async def passed(message: Message, by: Probe = speaker, to: Probe = listener) -> None:
        await by.publish(visit.topic, message.frame)
        await to.wait_heard(message.frame)

    async def dropped(message: Message) -> None:
        """True words after it, on the same stream, tell that it had its time."""
        after = visit.wish()
        await speaker.publish(visit.topic, message.frame, after.frame)
        await listener.wait_heard(after.frame)
        if message.frame in listener.heard:
            raise Fault("it was passed on")

    async def once() -> None:
        after = visit.wish()
        await speaker.publish(visit.topic, first.frame, after.frame)
        await listener.wait_heard(after.frame)
        if (times := listener.heard[first.frame]) != 1:
            raise Fault(f"it came {times} times")

    second = revise(2)
    ended = visit.sign(replace(about, kind="intent.close", seq=3, body=IntentClose(visit.division, "withdrawn")), key)
    await visit.look("a wish is passed on, byte for byte", "Gossip", lambda: passed(first))
    await visit.look("said twice, it comes once", "Gossip", once)
    await visit.look(
        "its new text is passed on, also the other way", "Kinds", lambda: passed(second, listener, speaker)
    )
    await visit.look("an older text behind the newer is not", "The register", lambda: dropped(revise(1)))
    await visit.look("its end is passed on", "Kinds", lambda: passed(ended))
    await visit.look("no text comes back behind its end", "The register", lambda: dropped(revise(9)))


async def _lies(visit: Visit, speaker: Probe, listener: Probe) -> None:
    """REJECT: what no honest forwarder sends. IGNORE: what one may send, which therefore costs it nothing."""
    forger = visit.forger()
    now = forger.now
    key = SigningKey(secrets.token_bytes(32))

    def at(begin: int, end: int) -> bytes:
        return visit.sign(replace(forger.draft(), at=begin, exp=end), key).frame

    def changed() -> bytes:
        """In its stamp, where any bytes make a well-formed wish: the signature alone can tell."""
        frame = bytearray(visit.wish().frame)
        frame[-1 - len(b"\xa1v\x01")] ^= 1
        return bytes(frame)

    elsewhere = replace(WISH, offers_by=None, category="elsewhere.conformance")
    wordless = {
        "an expired wish": ("Verdicts", at(now - 7200, now - 3600)),
        "a wish of tomorrow": ("Verdicts", at(now + 86_400, now + 90_000)),
        "a kind nobody knows": ("Kinds", visit.unchecked(replace(forger.draft(LIFE), kind="pool.conformance"), key)),
    }
    rejected = {
        "a changed wish": ("Frames", changed()),
        "a wish without a valid signature": ("Frames", forger.unsigned()),
        "a wish signed with a key of small order": ("Keys", forger.weak_key()),
        "a wish signed for another realm": ("Frames", forger.wrong_realm()),
        "a wish of another network": ("Payload", forger.other_net()),
        "a wish of another division": ("Verdicts", visit.sign(replace(forger.draft(LIFE), body=elsewhere), key).frame),
        "a wish that lives 31 days": ("Payload", visit.unchecked(forger.draft(31 * 86_400), key)),
        "a wish spelled another way": ("Encoding", forger.loose_spelling()),
        f"a frame of more than {MAX_GOSSIP_FRAME} bytes": ("Verdicts", forger.oversize()),
        "a thousand arrays in one another": ("Encoding", forger.deep()),
        "random bytes": ("Frames", forger.garbage()),
    }
    for lies, is_lie in ((wordless, False), (rejected, True)):
        for what, (section, frame) in lies.items():
            name = f"{what} is not passed on" if is_lie else f"{what} is not passed on, and costs nothing"
            passed = await visit.look(
                name,
                section,
                lambda frame=frame, is_lie=is_lie: _lie(visit, listener, frame, is_lie=is_lie),  # type: ignore[misc]
            )
            if passed:
                visit.lies[frame] = what

    async def in_other_clothes() -> None:
        """Its id does not cover those fields: who remembers it would be deaf to the true one."""
        wish = visit.wish()
        async with open_probe(visit.address) as liar:
            await liar.carry(visit.topic)
            await liar.say(dressed(wish.frame, visit.topic)[1])
            await speaker.publish(visit.topic, wish.frame)
            await listener.wait_heard(wish.frame)

    async def too_long() -> None:
        async with open_probe(visit.address) as liar:
            await liar.carry(visit.topic)
            try:
                await liar.say(bytes(MAX_RPC + 1))
            except NetworkError:
                pass  # cut while we spoke
            wish = visit.wish()
            await speaker.publish(visit.topic, wish.frame)
            await listener.wait_heard(wish.frame)

    await visit.look("a message with a `seqno` does not mute the true one", "Verdicts", in_other_clothes)
    await visit.look(f"an RPC of more than {MAX_RPC} bytes harms nobody else", "Gossip", too_long)


async def _lie(visit: Visit, listener: Probe, frame: bytes, *, is_lie: bool) -> str | None:
    """By a fresh neighbour. The true wish it says next tells that the frame had its time."""
    after = visit.wish()
    async with open_probe(visit.address) as liar:
        await liar.carry(visit.topic)
        await liar.publish(visit.topic, frame)
        cut = False
        try:
            await liar.publish(visit.topic, after.frame)
        except NetworkError:
            cut = True
        with trio.move_on_after(visit.patience / 2):
            await listener.wait_heard(after.frame)
        if frame in listener.heard:
            raise Fault("it was passed on")
        if after.frame in listener.heard:
            return None
        if is_lie and (cut or not liar.is_linked):
            return "and its link was cut"
        raise Fault("the true wish behind it is not passed on either")


async def _hearsay(visit: Visit, speaker: Probe, listener: Probe) -> None:
    """IHAVE, IWANT and back-off, as one who is outside the mesh sees them."""
    topic = visit.topic
    wish, kept = visit.wish(), visit.wish()
    async with open_probe(visit.address) as outsider:
        outsider.is_curious = False
        await outsider.carry(topic)
        await outsider.prune(topic, BACKOFF)
        pruned, grafts = trio.current_time(), 0

        async def early() -> str:
            nonlocal grafts
            before = len(outsider.prunes)
            await outsider.graft(topic)
            await outsider.wait(lambda: len(outsider.prunes) > before)
            grafts = len(outsider.grafts)  # those from before it read our PRUNE came before this answer
            return f"it says: not before {outsider.prunes[-1].backoff} s"

        async def told() -> None:
            await speaker.publish(topic, wish.frame)
            await outsider.wait(
                lambda: message_id(topic, wish.frame) in outsider.spoken_of or wish.frame in outsider.heard
            )
            if wish.frame in outsider.heard:
                raise Fault("it was sent whole, though we had left the mesh (PRUNE)")

        async def given() -> None:
            await outsider.want(topic, wish.frame)
            await outsider.wait_heard(wish.frame)

        async def asked() -> None:
            await outsider.speak_of(topic, kept.frame)
            await listener.wait_heard(kept.frame)

        async def waited() -> str:
            await trio.sleep_until(pruned + WATCHED * visit.beat)
            if len(outsider.grafts) > grafts:
                raise Fault(f"it asked us in again, {BACKOFF} s were not over")
            return f"watched for {trio.current_time() - pruned:.1f} s"

        await visit.look("a GRAFT within the back-off is answered by a PRUNE", "Gossip", early)
        await visit.look("who is outside the mesh hears of a wish (IHAVE)", "Gossip", told)
        await visit.look("what is asked for is given (IWANT)", "Gossip", given)
        await visit.look("what it hears of it asks for, and passes on", "Gossip", asked)
        await visit.look("it does not GRAFT within the back-off", "Gossip", waited)


# --------------------------------------------------------------------------------------------------------- catch-up


async def _catch_up(visit: Visit, speaker: Probe, listener: Probe) -> None:
    wish = visit.wish()
    salt = secrets.token_bytes(SYNC_SALT)
    alone, around = Range(visit.division, wish.id.hex()[:16]), Range(visit.division, wish.id.hex()[:2])

    async def ask(question: Compare | Open) -> list[bytes | list[bytes]]:
        async with speaker.talk(SYNC) as talk:
            return [*question.read(await talk.ask(*question.value()))]

    async def marks() -> None:
        await speaker.publish(visit.topic, wish.frame)
        await listener.wait_heard(wish.frame)
        nobody = Range("nobody-carries-this")
        found = await ask(Compare(salt, [alone, nobody]))
        if found != [mark_of(IdTree([wish.id]).fingerprint(), salt), mark_of(EMPTY, salt)]:
            raise Fault("the mark of a range with one id, or of one without any, is another")

    async def opened() -> None:
        (part,) = await ask(Open(salt, [around], 256))
        if not isinstance(part, list) or wish.id not in part:
            raise Fault("a wish it passed on is not in its range")

    async def given() -> None:
        async with speaker.talk(SYNC) as talk:
            if (answer := await talk.ask("get", [secrets.token_bytes(32), wish.id])) != ["frames", [wish.frame]]:
                raise Fault(f"the frame asked for, and it alone, was expected; came {answer[0]} of another content")
            if await talk.ask("get", [secrets.token_bytes(32)]) != ["frames", []]:
                raise Fault("an id that nobody has should be answered by an empty list")

    async def other_words() -> None:
        async with speaker.talk(SYNC) as talk:
            await talk.say("conformance", 1)
            await wait_end(talk.stream)

    async def asks() -> None:
        """A neighbour that has one wish, and says nothing of it on gossip."""
        hidden = visit.wish()
        async with _meet_with(visit, hidden) as neighbour:
            await neighbour.carry(visit.topic)
            await listener.wait_heard(hidden.frame)

    async def ends() -> None:
        async with speaker.stream(SYNC) as stream:
            await stream.send_all(encode_varint(MAX_ITEM + 1))
            await wait_end(stream)

    await visit.look("ranges have the book's marks", "Catch-up", marks)
    await visit.look("an opened range lists its ids", "Catch-up", opened)
    await visit.look("frames are given byte for byte, and unknown ids left out", "Catch-up", given)
    await visit.look("a question of another word ends the stream", "Catch-up", other_words)
    await visit.look(f"a length over {MAX_ITEM} ends the stream", "Streams", ends)
    await visit.look("it asks who links to it, and passes on what it lacked", "Catch-up", asks)


@asynccontextmanager
async def _meet_with(visit: Visit, wish: Message) -> AsyncIterator[Probe]:
    """A neighbour who answers catch-up with this wish. It serves before it is linked: it is asked on the new link."""

    tree = IdTree([wish.id])

    async def answer(talk: Conversation) -> None:
        while (question := await talk.listen()) is not None:
            asked = read_question(question)
            if asked is None:
                await talk.say("frames", [wish.frame])
            else:
                found = asked.answers(lambda division: tree if division == visit.division else IdTree())
                await talk.say("marks" if isinstance(asked, Compare) else "parts", list(found))

    async with open_probe(visit.address, {SYNC: lambda stream: answer(Conversation(stream))}) as probe:
        yield probe


# ----------------------------------------------------------------------------------------------------------- direct


async def _direct(visit: Visit, probe: Probe) -> None:
    async def expect_hint(*before: bytes) -> None:
        item = _to_nobody(visit)
        async with probe.stream(DIRECT) as stream:
            for each in (*before, item.encoded()):
                await stream.send_all(frame_with_length(each))
            _check_hint(await first_item(stream), item)

    async def garbage() -> None:
        old = _to_nobody(visit, exp=int(time.time()) - 3600)
        await expect_hint(secrets.token_bytes(100), encode([1, b"short"]), old.encoded())

    async def ends() -> None:
        async with probe.stream(DIRECT) as stream:
            await stream.send_all(encode_varint(MAX_ITEM + 1))
            await wait_end(stream)

    await visit.look("an item for a key it never had: unknown_key", "Direct messages", expect_hint)
    await visit.look("garbage and expired items go without an answer", "Direct messages", garbage)
    await visit.look(f"an item of more than {MAX_ITEM} bytes ends the stream", "Streams", ends)


def _to_nobody(visit: Visit, exp: int = 0) -> Item:
    """A first offer, well made, sealed to a box that nobody has."""
    now = int(time.time())
    key, tkey, box = (
        SigningKey(secrets.token_bytes(32)),
        BoxKey(secrets.token_bytes(32)),
        BoxKey(secrets.token_bytes(32)),
    )
    draft = Draft(
        "offer", PLAIN_OFFER, visit.net, now - 7200, exp or now + LIFE, 0, secrets.token_bytes(16),
        ref=secrets.token_bytes(32), root=secrets.token_bytes(32), to=secrets.token_bytes(32),
    )  # fmt: skip
    return write_letter(draft, key, tkey, box.public, own_is_box=False, n=0, nonce=secrets.token_bytes(24))[1]


def _check_hint(answer: bytes, item: Item) -> None:
    found = read_item(answer)
    if not isinstance(found, Hint):
        raise Fault("it answered with an item, where a hint was expected")
    if found.digest != item.digest:
        raise Fault("its hint is about another item")
    if found.code is not HintCode.UNKNOWN_KEY:
        raise Skip(f"it is too busy to say: {found.code} {found.arg}")


# ---------------------------------------------------------------------------------------------------------- mailbox


async def _mailbox(visit: Visit, probe: Probe) -> None:
    key = SigningKey(secrets.token_bytes(32))
    item = _to_nobody(visit)
    base = stamp_base(probe.node, key.public, item.digest)
    stamp = next(found for number in count() if stamp_bits(base, found := number.to_bytes(8, "big")) >= visit.bits)
    deposit = ["put", key.public, item.encoded(), stamp]

    def frame(kind: str, body: MailboxGrant | MailboxClaim) -> bytes:
        now = int(time.time())
        return visit.sign(Draft(kind, body, visit.net, now, now + LIFE, 0, secrets.token_bytes(16)), key).frame

    def expect(answer: list[Value], *wanted: Value) -> None:
        if answer[: len(wanted)] != [*wanted]:
            raise Fault(f"{list(wanted)} was expected, and {str(answer)[:80]} came")

    async def strangers() -> None:
        async with _offered(probe, MAILBOX) as talk:
            expect(await talk.ask(*deposit), "no", "receiver")
            expect(await talk.ask("next", 0), "no", "claim")

    async def held() -> None:
        async with _offered(probe, MAILBOX) as talk:
            granted = await talk.ask("grant", frame("mailbox.grant", MailboxGrant(probe.node, 100_000)))
            if granted[:2] == ["no", "full"]:
                raise Skip("it is full")
            expect(granted, "granted")
            expect(await talk.ask(*deposit), "stored")
            word, challenge, *_ = [*await talk.ask("challenge"), b""]
            if word != "challenge" or not isinstance(challenge, bytes) or len(challenge) != 32:
                raise Fault("a challenge of 32 bytes was expected")
            expect(await talk.ask("claim", frame("mailbox.claim", MailboxClaim(probe.node, challenge))), "claimed", 1)
            expect(await talk.ask("next", 0), "items", [item.encoded()])
            expect(await talk.ask("release", [item.digest]), "released")
            expect(await talk.ask(*deposit), "fetched")

    async def stale() -> None:
        """A claim signs the challenge of its own stream, once."""
        async with _offered(probe, MAILBOX) as talk:
            claim = frame("mailbox.claim", MailboxClaim(probe.node, secrets.token_bytes(32)))
            await talk.ask("challenge")
            expect(await talk.ask("claim", claim), "no", "claim")

    await visit.look("a mailbox holds for nobody it does not know", "Mailboxes", strangers)
    await visit.look("what is put is held, fetched and released", "Mailboxes", held)
    await visit.look("a claim for another challenge is refused", "Mailboxes", stale)
