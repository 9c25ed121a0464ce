"""items.json: sealed frames both ways, how they are padded, and what is refused at each step of opening one."""

from dataclasses import dataclass
from typing import Any

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

from protocol.codec import Map, Value, decode, encode
from protocol.envelope import Hint, HintCode, Item, Realm, read_frame, seal
from protocol.errors import Reason
from protocol.keys import SigningKey
from protocol.limits import MAX_ITEM, PAD_SIZES
from protocol.message import Message
from tests.protocol.people import (
    ALICE,
    BOB,
    CAROL,
    MALLORY,
    NET,
    NOW,
    Person,
    accept,
    ack,
    confirm,
    decline,
    derived,
    letter,
    offer,
    wish,
)

from .frame_vectors import craft, fields_of

FIRST = wish()
OFFERED = offer(FIRST)
ACCEPTED = accept(OFFERED)


@dataclass(frozen=True)
class Context:
    """Who opens the item, and what they know."""

    who: Person
    own_is_box: bool
    expected_author: bytes | None = None
    net: str = NET
    root: bytes = FIRST.id

    def arguments(self) -> dict[str, Any]:
        return {
            "own_is_box": self.own_is_box,
            "net": self.net,
            "me": self.who.key.public,
            "root": self.root,
            "expected_author": self.expected_author,
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "own": self.who.box.reveal().hex(),
            "own_is_box": self.own_is_box,
            "net": self.net,
            "me": self.who.key.public.hex(),
            "root": self.root.hex(),
            "expected_author": self.expected_author.hex() if self.expected_author else None,
        }


TO_ALICE = Context(ALICE, True)
TO_BOB = Context(BOB, False, ALICE.key.public)


@dataclass(frozen=True)
class Good:
    message: Message
    by: Person
    n: int
    context: Context

    @property
    def item(self) -> Item:
        return letter(self.message, self.by, self.context.who, self.n)


def good_items() -> dict[str, Good]:
    confirmed = confirm(ACCEPTED)
    offered = Good(OFFERED, BOB, 0, TO_ALICE)
    return {
        "offer, Bob to Alice": offered,
        "ack of that offer, Alice to Bob": Good(
            ack(OFFERED, ALICE, seq=0, item=offered.item.digest, exp=OFFERED.head.exp), ALICE, 0, TO_BOB
        ),
        "accept, Alice to Bob": Good(ACCEPTED, ALICE, 1, TO_BOB),
        "confirm, Bob to Alice": Good(confirmed, BOB, 1, Context(ALICE, True, BOB.key.public)),
        "offer, Carol to Alice": Good(offer(FIRST, CAROL), CAROL, 0, TO_ALICE),
    }


def hints() -> dict[str, Hint]:
    digest = letter(OFFERED, BOB, ALICE).digest
    return {
        "need_bits": Hint(digest, HintCode.NEED_BITS, 12),
        "unknown_key": Hint(digest, HintCode.UNKNOWN_KEY),
        "busy": Hint(digest, HintCode.BUSY, 30),
    }


# ------------------------------------------------------------------------------------------------------ refused


@dataclass(frozen=True)
class Refusal:
    item: bytes
    reason: Reason
    context: Context = TO_ALICE


def sealed(padded: bytes, by: Person, to: Person, exp: int, *, own_is_box: bool = False) -> bytes:
    """Seal any bytes as they are, which `seal` would not."""
    nonce = derived("odd nonce", 24)
    _, send = by.box.box_side_keys(to.box.public) if own_is_box else by.box.vendor_side_keys(to.box.public)
    head: list[Value] = [1, to.box.public, by.box.public, 0, exp, nonce]
    ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(padded, encode(head), nonce, send)
    return encode([*head, ciphertext, bytes(8)])


def _changed(item: bytes, index: int, value: Value) -> bytes:
    parts: list[Value] = list(decode(item))  # type: ignore[arg-type]
    parts[index] = value
    return encode(parts)


def _outside() -> dict[str, Refusal]:
    good = letter(OFFERED, BOB, ALICE)
    data = good.encoded()
    flipped = bytes([good.ciphertext[0] ^ 1]) + good.ciphertext[1:]
    digest = good.digest
    stranger = letter(OFFERED, BOB, CAROL).encoded()
    return {
        "empty": Refusal(b"", Reason.NOT_MSGPACK),
        "a map": Refusal(encode({"item": data}), Reason.ITEM),
        "60001 bytes": Refusal(b"\xc5\xea\x5e" + b"\x01" * (MAX_ITEM - 2), Reason.SIZE),
        "seven parts": Refusal(encode(decode(data)[:-1]), Reason.ITEM),  # type: ignore[index]
        "nine parts": Refusal(encode([*decode(data), 0]), Reason.ITEM),  # type: ignore[misc]
        "version 2": Refusal(_changed(data, 0, 2), Reason.ITEM),
        "version true": Refusal(_changed(data, 0, True), Reason.ITEM),
        "to_box of 31 bytes": Refusal(_changed(data, 1, bytes(31)), Reason.ITEM),
        "tkey as text": Refusal(_changed(data, 2, "t" * 32), Reason.ITEM),
        "n below zero": Refusal(_changed(data, 3, -1), Reason.ITEM),
        "exp below zero": Refusal(_changed(data, 4, -1), Reason.ITEM),
        "nonce of 23 bytes": Refusal(_changed(data, 5, bytes(23)), Reason.ITEM),
        "ciphertext of no padded size": Refusal(_changed(data, 6, good.ciphertext + b"\0"), Reason.PADDING),
        "no ciphertext": Refusal(_changed(data, 6, b""), Reason.PADDING),
        "stamp of 9 bytes": Refusal(_changed(data, 7, bytes(9)), Reason.ITEM),
        "hint of three parts": Refusal(encode([0, digest, "busy"]), Reason.ITEM),
        "hint nobody knows": Refusal(encode([0, digest, "go_away", 0]), Reason.ITEM),
        "hint with a short digest": Refusal(encode([0, digest[:31], "busy", 0]), Reason.ITEM),
        "hint below zero": Refusal(encode([0, digest, "busy", -1]), Reason.ITEM),
        "hint with text": Refusal(encode([0, digest, "busy", "30"]), Reason.ITEM),
        "to somebody else's box": Refusal(stranger, Reason.UNKNOWN_KEY),
        "to somebody else, readdressed": Refusal(_changed(stranger, 1, ALICE.box.public), Reason.SEALED),
        "ciphertext changed": Refusal(_changed(data, 6, flipped), Reason.SEALED),
        "n changed": Refusal(_changed(data, 3, 1), Reason.SEALED),
        "exp changed": Refusal(_changed(data, 4, good.exp + 1), Reason.SEALED),
        "nonce changed": Refusal(_changed(data, 5, derived("other", 24)), Reason.SEALED),
        "tkey changed": Refusal(_changed(data, 2, CAROL.box.public), Reason.SEALED),
        "tkey of small order": Refusal(_changed(data, 2, bytes(32)), Reason.SEALED),
        "sealed in the wrong role": Refusal(letter(OFFERED, BOB, ALICE, own_is_box=True).encoded(), Reason.SEALED),
    }


def _padding() -> dict[str, Refusal]:
    frame = OFFERED.frame
    exp = OFFERED.head.exp
    assert 512 < len(frame) < 1023

    def of(padded: bytes) -> Refusal:
        return Refusal(sealed(padded, BOB, ALICE, exp), Reason.PADDING)

    return {
        "padded further than needed": of(frame + b"\x80" + bytes(2047 - len(frame))),
        "padded without a mark": of(bytes(1024)),
        "padded with something behind": of(frame + b"\x80" + bytes(1022 - len(frame)) + b"\x01"),
        "nothing but padding": of(b"\x80" + bytes(511)),
    }


def _inside() -> dict[str, Refusal]:
    def of(data: bytes, reason: Reason, context: Context = TO_ALICE, by: Person = BOB, exp: int = 0) -> Refusal:
        item = seal(
            data,
            by.box,
            context.who.box.public,
            own_is_box=not context.own_is_box,
            n=0,
            exp=exp or OFFERED.head.exp,
            nonce=derived("inner nonce", 24),
        )
        return Refusal(item.encoded(), reason, context)

    fields = fields_of(OFFERED)
    body: dict[str, Any] = dict(fields["body"])  # type: ignore[arg-type]

    def crafted(changed: Map, key: SigningKey = BOB.key) -> bytes:
        payload = {name: value for name, value in (fields | changed).items() if value is not None}
        return craft(payload, key, Realm.DIRECT)

    parts: list[Value] = list(decode(OFFERED.frame))  # type: ignore[arg-type]
    payload = read_frame(OFFERED.frame).payload
    other_wish = wish(MALLORY)
    return {
        "a frame of no bytes": of(b"", Reason.NOT_MSGPACK),
        "not a frame": of(encode(["hello"]), Reason.FRAME),
        "a gossip frame": of(FIRST.frame, Reason.UNKNOWN_KIND),
        "signed for gossip": of(craft(payload, BOB.key, Realm.GOSSIP), Reason.SIGNATURE),
        "signed for another network": of(craft(payload, BOB.key, Realm.DIRECT, "main"), Reason.SIGNATURE),
        "signature of nothing": of(encode([parts[0], bytes(64), parts[2]]), Reason.SIGNATURE),
        "of another network": of(crafted({"net": "main"}), Reason.NET),
        "payload not canonical": of(craft(b"\x82\xa1b\x01\xa1a\x01", BOB.key, Realm.DIRECT), Reason.KEY),
        "frame of version 2": of(crafted({"v": 2}), Reason.VERSION),
        "no seq": of(crafted({"seq": None}), Reason.HEAD),
        "no ref": of(crafted({"ref": None}), Reason.HEAD),
        "no to": of(crafted({"to": None}), Reason.HEAD),
        "lives too long": of(crafted({"exp": NOW + 31 * 86_400}), Reason.LIFE, exp=NOW + 31 * 86_400),
        "a kind nobody knows": of(crafted({"kind": "serenade"}), Reason.UNKNOWN_KIND),
        "an extension nobody knows": of(crafted({"ext": {"crit": ["org.example.must"]}}), Reason.CRITICAL),
        "written to somebody else": of(crafted({"to": CAROL.key.public}), Reason.TO),
        "about another wish": of(crafted({"root": other_wish.id}), Reason.ROOT),
        "signed with another tkey": of(crafted({"tkey": CAROL.box.public}), Reason.TKEY),
        "expires later inside": of(crafted({"exp": OFFERED.head.exp + 1}), Reason.EXP),
        "Bob's offer, sealed again by Mallory": of(OFFERED.frame, Reason.TKEY, by=MALLORY),
        "Bob's offer to Alice, sealed again to Carol": of(OFFERED.frame, Reason.TO, Context(CAROL, True)),
        "signed by somebody else": of(
            crafted({}, MALLORY.key), Reason.AUTHOR, Context(ALICE, True, expected_author=BOB.key.public)
        ),
        "signed by its receiver": of(crafted({}, ALICE.key), Reason.AUTHOR),
        "an accept to the box side": Refusal(letter(accept(OFFERED, BOB), BOB, ALICE).encoded(), Reason.SENDER),
        "a decline to the box side": Refusal(letter(decline(OFFERED, BOB), BOB, ALICE).encoded(), Reason.SENDER),
        "an offer to the vendor side": Refusal(
            letter(offer(FIRST, ALICE, to=BOB.key.public), ALICE, BOB).encoded(), Reason.SENDER, TO_BOB
        ),
        "no vendor": of(crafted({"body": body | {"vendor": {}}}), Reason.BODY),
        "no lines": of(crafted({"body": body | {"lines": []}}), Reason.BODY),
        "body as a list": of(crafted({"body": [1]}), Reason.BODY),
        "no body": of(crafted({"body": None}), Reason.BODY),
        "a fee that is not declared": of(
            crafted({"body": body | {"total": {"minor": 34_001, "currency": "EUR"}}}), Reason.SUM
        ),
        "a line that does not multiply": of(
            crafted({"body": body | {"lines": [{"title": "t", "count": 2, "unit": "day", "price": 5, "amount": 11}]}}),
            Reason.SUM,
        ),
        "a total below zero": of(
            crafted(
                {
                    "body": body
                    | {
                        "lines": [{"title": "t", "count": 1, "unit": "day", "price": -5, "amount": -5}],
                        "fees": [],
                        "total": {"minor": -5, "currency": "EUR"},
                    }
                }
            ),
            Reason.BODY,
        ),
    }


def refused_items() -> dict[str, Refusal]:
    cases: dict[str, Refusal] = {}
    for group in (_outside(), _padding(), _inside()):
        assert not cases.keys() & group.keys(), cases.keys() & group.keys()
        cases |= group
    return cases


def padding_table() -> list[list[int]]:
    """[bytes of a frame, bytes after padding] on both sides of every step."""
    table = [[0, PAD_SIZES[0]]]
    for small, large in zip(PAD_SIZES, (*PAD_SIZES[1:], 0), strict=True):
        table.append([small - 1, small])
        if large:
            table.append([small, large])
    return table


# -------------------------------------------------------------------------------------------------------- JSON


def _item_json(name: str, good: Good) -> dict[str, Any]:
    item = good.item
    by = good.by.box
    box_is_sender = not good.context.own_is_box
    receive, send = by.box_side_keys(item.to_box) if box_is_sender else by.vendor_side_keys(item.to_box)
    return {
        "name": name,
        "sender_secret": by.reveal().hex(),
        "sender_is_box": box_is_sender,
        "sender_receives_with": receive.hex(),
        "sender_sends_with": send.hex(),
        "receiver": good.context.to_json(),
        "to_box": item.to_box.hex(),
        "tkey": item.tkey.hex(),
        "n": item.n,
        "exp": item.exp,
        "nonce": item.nonce.hex(),
        "associated_data": encode([1, item.to_box, item.tkey, item.n, item.exp, item.nonce]).hex(),
        "frame": good.message.frame.hex(),
        "id": good.message.id.hex(),
        "item": item.encoded().hex(),
        "digest": item.digest.hex(),
    }


def _refused_hex(data: bytes) -> str | dict[str, Any]:
    if len(data) > MAX_ITEM:
        return {"hex": data[:3].hex(), "ones": len(data) - 3}
    return data.hex()


def item_bytes(short: str | dict[str, Any]) -> bytes:
    return (
        bytes.fromhex(short) if isinstance(short, str) else bytes.fromhex(short["hex"]) + b"\x01" * int(short["ones"])
    )


def build() -> dict[str, Any]:
    return {
        "about": "frame + keys + n + exp + nonce -> item, digest; and back. `receiver` is what its owner knows. "
        "Refused items are opened with the receiver beside them; the reason is this implementation's word.",
        "padding": padding_table(),
        "good": [_item_json(name, good) for name, good in good_items().items()],
        "hints": [
            {"name": name, "digest": hint.digest.hex(), "code": hint.code.value, "arg": hint.arg}
            | {"hint": hint.encoded().hex()}
            for name, hint in hints().items()
        ],
        "refused": [
            {
                "name": name,
                "item": _refused_hex(case.item),
                "receiver": case.context.to_json(),
                "reason": case.reason.value,
            }
            for name, case in refused_items().items()
        ],
    }
