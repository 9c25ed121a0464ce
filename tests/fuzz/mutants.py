"""Mutants: frames and items that were good once, changed by somebody who knows their structure.

Half of them are signed again with the right key, and items sealed again, so that they get past the doors where garbage
stops; a share carries a real stamp for a network that asks for one. What must hold for each:

- nothing but Refused is ever raised;
- what is believed is canonical by a second reader (strict.py), and was signed by the holder of its key;
- a second copy, and a twin (same payload, another signature that verifies), changes nothing.

Each mutant is counted at every stage it reached.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

from protocol.board import Board
from protocol.codec import Value, decode, encode
from protocol.envelope import Item, Realm, digest, read_frame, read_item, seal, sign, unseal, zero_bits
from protocol.errors import Reason, Refused
from protocol.exchange import Side, Thread
from protocol.kinds import KINDS
from protocol.letter import open_letter
from protocol.limits import MAX_GOSSIP_FRAME, MAX_ITEM
from protocol.message import Message
from tests.protocol.people import (
    ALICE,
    BOB,
    HOUR,
    NET,
    NOW,
    PLAIN_OFFER,
    Person,
    accept,
    ack,
    author_of,
    close,
    confirm,
    decline,
    letter,
    offer,
    one_of_each,
    problem,
    reject,
    twin_of,
    update,
    wish,
    withdraw,
)

from .changes import change_bytes, change_payload, change_value, packed
from .strict import is_canonical

STAMPED_BITS: Final = 4
"""What the stamped share must show: dear enough to be real, cheap enough for 200,000."""

ENCODING: Final = frozenset(
    {
        Reason.NOT_MSGPACK,
        Reason.NOT_CANONICAL,
        Reason.TYPE,
        Reason.DEPTH,
        Reason.COUNT,
        Reason.KEY,
        Reason.TEXT,
        Reason.RANGE,
    }
)
HEAD: Final = frozenset(
    {Reason.NET, Reason.DIVISION, Reason.HEAD, Reason.VERSION, Reason.LIFE, Reason.UNKNOWN_KIND, Reason.CRITICAL}
)
GOSSIP_STAGES: Final = (
    "size", "decode", "frame", "payload", "head", "stamp", "signature", "body", "time", "board",
)  # fmt: skip
ITEM_STAGES: Final = (
    "size", "decode", "shape", "unseal", "padding", "frame", "payload", "head", "ends", "signature", "body", "thread",
)  # fmt: skip


class Broken(AssertionError):
    """A rule did not hold for a mutant. Says seed, number and bytes, so that it can be looked at again."""


@dataclass
class Tally:
    """How many mutants reached each stage, and how many were refused there, by reason."""

    stages: tuple[str, ...]
    reached: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    second_effects: int = 0
    copies: int = 0
    twins: int = 0

    def count(self, stage: str, reason: Reason | None) -> None:
        for name in self.stages[: self.stages.index(stage) + 1]:
            self.reached[name] += 1
        if reason is not None:
            self.refused[stage, reason.value] += 1

    def table(self) -> str:
        lines = []
        for stage in self.stages:
            reasons = [(count, word) for (at, word), count in self.refused.items() if at == stage]
            told = ", ".join(f"{word} {count}" for count, word in sorted(reasons, reverse=True))
            lines.append(f"  {stage:10} {self.reached[stage]:8}   refused: {told or 'none'}")
        lines.append(f"  copies tried {self.copies}, twins tried {self.twins}, second effects {self.second_effects}")
        return "\n".join(lines)


# --------------------------------------------------------------------------------------------------------- gossip


@dataclass(frozen=True)
class FrameMutant:
    data: bytes
    signed: bool
    """Signed again after the change: what it says is its author's own word."""


class GossipFuzzer:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.tally = Tally(GOSSIP_STAGES)
        first = wish()
        # One of each other realm: more would leave too few mutants for the stages behind the first.
        of_realm = {KINDS[message.kind].realm: message for message in one_of_each().values()}
        self.bases = [
            first, update(first), close(first), wish(BOB), update(wish(BOB), BOB), close(wish(BOB), BOB),
            *(message for realm, message in of_realm.items() if realm is not Realm.GOSSIP),
        ]  # fmt: skip
        self.weights = [6 if KINDS[message.kind].realm is Realm.GOSSIP else 1 for message in self.bases]
        self.said = {message.id for message in self.bases}
        self.boards = {bits: Board(NET, bits=bits) for bits in (0, STAMPED_BITS)}

    def run(self, count: int) -> Tally:
        for number in range(count):
            bits = STAMPED_BITS if self.rng.random() < 0.25 else 0
            if number % 20 == 0:
                self.boards = {bits: Board(NET, bits=bits) for bits in self.boards}
            mutant = self.mutant(bits)
            try:
                self.hear(mutant, bits)
            except Exception as error:
                raise Broken(f"seed {self.seed} mutant {number}: {mutant.data.hex()}") from error
        return self.tally

    def mutant(self, bits: int) -> FrameMutant:
        rng, base = self.rng, self.rng.choices(self.bases, self.weights)[0]
        unverified = read_frame(base.frame)
        if rng.random() < 0.5:
            payload = unverified.payload if rng.random() < 0.1 else change_payload(unverified.payload, rng)
            key = author_of(base).key
            if bits and rng.random() < 0.6:
                payload = _stamped(payload, key.public, bits)
            realm = Realm.GOSSIP if rng.random() < 0.95 else rng.choice(list(Realm))
            return FrameMutant(sign(payload, key, realm, NET), True)
        match rng.randrange(4):
            case 0:
                data = encode([unverified.key, unverified.signature, change_payload(unverified.payload, rng)])
            case 1:
                parts = change_value([unverified.key, unverified.signature, unverified.payload], rng, foreign=0.05)
                data = packed(parts, rng, sloppy=0.1)
            case _:
                data = change_bytes(base.frame, rng)
        return FrameMutant(data, False)

    def hear(self, mutant: FrameMutant, bits: int) -> None:
        board = self.boards[bits]
        before = _hung(board)
        heard = board.hear(mutant.data, "mobility", "mallory", NOW)
        self.tally.count(_gossip_stage(mutant.data, heard.reason), heard.reason)
        if heard.message is None:
            assert _hung(board) == before, "what was not accepted left a trace"
            return
        message = heard.message
        _check_believed(message, mutant.signed, self.said, MAX_GOSSIP_FRAME)
        assert zero_bits(message.id) >= bits
        after = _hung(board)
        for again in (mutant.data, twin_of(message, Realm.GOSSIP)):
            self.tally.copies += again == mutant.data
            self.tally.twins += again != mutant.data
            second = board.hear(again, "mobility", "mallory", NOW)
            if second.accepted or _hung(board) != after:
                self.tally.second_effects += 1


def _hung(board: Board) -> dict[bytes, bytes]:
    return {posting.message.id: posting.message.frame for posting in board}


def _stamped(payload: bytes, public: bytes, bits: int) -> bytes:
    """The payload with a stamp that shows the bits, if it has a place for one."""
    marker = b"\xa5stamp\xc4\x08"
    at = payload.rfind(marker)
    if at < 0:
        return payload
    at += len(marker)
    number = 0
    while zero_bits(digest(public + payload)) < bits:
        number += 1
        payload = payload[:at] + number.to_bytes(8, "big") + payload[at + 8 :]
    return payload


def _gossip_stage(data: bytes, reason: Reason | None) -> str:
    if reason in ENCODING:
        try:
            read_frame(data, MAX_GOSSIP_FRAME)
        except Refused:
            return "decode"
        return "payload"
    if reason in HEAD:
        return "head"
    return {
        Reason.SIZE: "size",
        Reason.FRAME: "frame",
        Reason.STAMP: "stamp",
        Reason.SIGNATURE: "signature",
        Reason.BODY: "body",
        Reason.EARLY: "time",
        Reason.EXPIRED: "time",
        Reason.SEEN: "board",
        Reason.SUPERSEDED: "board",
        None: "board",
    }[reason]


def _check_believed(message: Message, signed: bool, said: set[bytes], max_bytes: int) -> None:
    assert is_canonical(message.frame, max_bytes), "believed, but not canonical"
    unverified = read_frame(message.frame)
    assert is_canonical(unverified.payload, max_bytes), "believed, but its payload is not canonical"
    assert message.id == digest(unverified.key + unverified.payload)
    assert signed or message.id in said, "believed, but nobody signed it"


# ---------------------------------------------------------------------------------------------------------- items


@dataclass(frozen=True)
class ItemMutant:
    data: bytes
    reader: Person
    signed: bool


class ItemFuzzer:
    """Letters of the story between Alice and Bob, at the side they are written to."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.tally = Tally(ITEM_STAGES)
        self.first = wish()
        bobs, plain = offer(self.first, seq=0), offer(self.first, body=PLAIN_OFFER, seq=3)
        yes = accept(bobs, seq=1)
        sure = confirm(yes, seq=2)
        self.bases: list[Message] = [
            bobs, plain, withdraw(bobs), decline(plain), yes, sure, reject(yes), ack(sure, ALICE), ack(yes, BOB),
            problem(sure, ALICE), problem(yes, BOB, "state"),
        ]  # fmt: skip
        self.said = {message.id for message in self.bases}
        self.known = [self.first, bobs, yes]
        self.threads: dict[str, Thread] = {}

    def run(self, count: int) -> Tally:
        for number in range(count):
            if number % 20 == 0:
                self.threads = {"alice": self.thread(Side.REQUESTER), "bob": self.thread(Side.VENDOR)}
            mutant = self.mutant()
            try:
                self.hear(mutant)
            except Exception as error:
                raise Broken(f"seed {self.seed} mutant {number}: {mutant.data.hex()}") from error
        return self.tally

    def thread(self, side: Side) -> Thread:
        thread = Thread(self.first.id, ALICE.key.public, BOB.key.public, side)
        for message in self.known[: self.rng.randint(1, 3)]:
            thread.add(message, NOW)
        return thread

    def mutant(self) -> ItemMutant:
        rng, base = self.rng, self.rng.choice(self.bases)
        by = author_of(base)
        reader = BOB if by is ALICE else ALICE
        choice = rng.random()
        if choice < 0.5:
            frame, exp = self.signed_again(base, by)
            return ItemMutant(self.sealed(frame, by, reader, exp), reader, True)
        if choice < 0.7:
            unverified = read_frame(base.frame)
            if rng.random() < 0.3:
                frame = encode([unverified.key, unverified.signature, change_payload(unverified.payload, rng)])
            else:
                frame = change_bytes(base.frame, rng)
            return ItemMutant(self.sealed(frame, by, reader, base.head.exp), reader, False)
        data = letter(base, by, reader, rng.randrange(3)).encoded()
        if rng.random() < 0.5:
            return ItemMutant(change_bytes(data, rng), reader, False)
        return ItemMutant(packed(change_value(decode(data), rng, foreign=0.05), rng, sloppy=0.1), reader, False)

    def signed_again(self, base: Message, by: Person) -> tuple[bytes, int]:
        """A changed payload under the right signature, and the expiry it says, so that the outside can say the same."""
        rng, payload = self.rng, read_frame(base.frame).payload
        if rng.random() < 0.9:
            payload = change_payload(payload, rng)
        realm = Realm.DIRECT if rng.random() < 0.95 else rng.choice(list(Realm))
        try:
            exp = decode(payload)["exp"]  # type: ignore[call-overload, index]
        except (Refused, KeyError, TypeError, IndexError):
            exp = None
        fits = type(exp) is int and exp >= 0 and rng.random() < 0.97
        return sign(payload, by.key, realm, NET), exp if fits else base.head.exp

    def sealed(self, frame: bytes, by: Person, reader: Person, exp: int) -> bytes:
        rng, nonce = self.rng, self.rng.randbytes(24)
        role = by is ALICE if rng.random() < 0.98 else rng.random() < 0.5
        if rng.random() < 0.95:
            try:
                return seal(
                    frame, by.box, reader.box.public, own_is_box=role, n=rng.randrange(9), exp=exp, nonce=nonce
                ).encoded()
            except Refused:
                frame = frame[:500]
        _, key = by.box.box_side_keys(reader.box.public) if role else by.box.vendor_side_keys(reader.box.public)
        tail = rng.choice((b"", b"\x80", b"\x80" + bytes(9), b"\0", b"\x80\x01"))
        padded = (frame + tail).ljust(rng.choice((512, 1024, 2048)), b"\0")
        head: list[Value] = [1, reader.box.public, by.box.public, 0, exp, nonce]
        ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(padded, encode(head), nonce, key)
        return encode([*head, ciphertext, bytes(8)])

    def hear(self, mutant: ItemMutant) -> None:
        try:
            message = self.open(mutant.data, mutant.reader)
        except Refused as refused:
            stage = self.stage(mutant, refused.reason)
            if stage is not None:
                self.tally.count(stage, refused.reason)
            return
        if message is None:  # a hint: read, and of no effect
            return
        self.tally.count("thread", None)
        _check_believed(message, mutant.signed, self.said, MAX_ITEM)
        thread = self.threads[mutant.reader.name]
        thread.add(message, NOW + HOUR // 2)
        thread.tick(NOW + HOUR // 2)
        before = _states(thread)
        again = letter_of_twin(message, mutant.reader)
        for data in (mutant.data, again):
            self.tally.copies += data == mutant.data
            self.tally.twins += data != mutant.data
            second = self.open(data, mutant.reader)
            assert second is not None
            assert second.id == message.id
            outcome = thread.add(second, NOW + HOUR // 2)
            if outcome.moves or outcome.owes not in (None, "state") or _states(thread) != before:
                self.tally.second_effects += 1

    def open(self, data: bytes, reader: Person) -> Message | None:
        item = read_item(data)
        if not isinstance(item, Item):
            return None
        return open_letter(
            item,
            reader.box,
            own_is_box=reader is ALICE,
            net=NET,
            me=reader.key.public,
            root=self.first.id,
            expected_author=(BOB if reader is ALICE else ALICE).key.public,
        )

    def stage(self, mutant: ItemMutant, reason: Reason) -> str | None:
        """Where it was refused. The same words are used outside and inside, so the steps are walked again."""
        try:
            item = read_item(mutant.data)
        except Refused as refused:
            return {Reason.SIZE: "size", Reason.ITEM: "shape", Reason.PADDING: "shape"}.get(refused.reason, "decode")
        assert isinstance(item, Item)
        if reason in (Reason.UNKNOWN_KEY, Reason.SEALED):
            return "unseal"
        if reason is Reason.PADDING:
            return "padding"
        if reason in ENCODING | {Reason.FRAME}:
            try:
                read_frame(unseal(item, mutant.reader.box, own_is_box=mutant.reader is ALICE))
            except Refused:
                return "frame"
            return "payload"
        if reason in HEAD:
            return "head"
        return {
            Reason.SENDER: "ends",
            Reason.TO: "ends",
            Reason.ROOT: "ends",
            Reason.TKEY: "ends",
            Reason.EXP: "ends",
            Reason.AUTHOR: "ends",
            Reason.SIGNATURE: "signature",
            Reason.BODY: "body",
            Reason.SUM: "body",
        }[reason]


def letter_of_twin(message: Message, reader: Person) -> bytes:
    """The same message under another good signature, sealed afresh: another item, and nothing new in it."""
    by = author_of(message)
    return seal(
        twin_of(message, Realm.DIRECT),
        by.box,
        reader.box.public,
        own_is_box=by is ALICE,
        n=99,
        exp=message.head.exp,
        nonce=digest(message.id)[:24],
    ).encoded()


def _states(thread: Thread) -> dict[bytes, str]:
    return {offered: talk.state.value for offered, talk in thread.talks.items()}


Fuzzer = GossipFuzzer | ItemFuzzer
FUZZERS: Final[dict[str, Callable[[int], Fuzzer]]] = {"gossip": GossipFuzzer, "items": ItemFuzzer}
