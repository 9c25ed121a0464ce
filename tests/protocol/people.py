"""The people of these stories, and what they say.

Alice wants something; Bob and Carol sell; Mallory wishes them ill. Their keys come from their names and every salt from
what is said, so the same story makes the same bytes on every machine.
"""

from dataclasses import dataclass, replace
from hashlib import sha256, sha512
from typing import Any

from nacl.bindings import crypto_scalarmult_ed25519_base_noclamp

from protocol.address import NodeAddress
from protocol.codec import encode
from protocol.deal import Accept, Ack, Confirm, Decline, Problem, Reject
from protocol.envelope import Item, Realm, read_frame, seal
from protocol.intent import Intent, IntentClose
from protocol.keys import BoxKey, SigningKey, peer_id
from protocol.kinds import Body
from protocol.mailbox import MailboxClaim, MailboxGrant
from protocol.message import Draft, Message, speak
from protocol.offer import Cancellation, Deviation, Fee, Line, Offer, OfferWithdraw, Option, Vendor
from protocol.terms import Fact, Money, Place, Policy, Property, Route, When, Where

NET = "test"
NOW = 1_800_000_000
"""15 January 2027, 08:00 UTC."""
HOUR = 3600
DAY = 24 * HOUR


def derived(words: str, size: int = 32) -> bytes:
    """Bytes that look random and are always the same."""
    return sha256(b"intentcast test: " + words.encode()).digest()[:size]


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    key: SigningKey
    box: BoxKey


def person(name: str) -> Person:
    return Person(name, SigningKey(derived(name + " signs")), BoxKey(derived(name + " reads")))


ALICE = person("alice")
BOB = person("bob")
CAROL = person("carol")
MALLORY = person("mallory")

# ------------------------------------------------------------------------------------------------------ bodies

WISH = Intent(
    action="rent",
    category="mobility.car.suv",
    title="4x4 from Lyon airport, five days",
    box=ALICE.box.public,
    note="Four people and skis.\nArriving on the evening flight.",
    props=(
        Property("drive", "eq", "awd", "must"),
        Property("seats", "min", 4, "must"),
        Property("gearbox", "in", ("automatic", "manual"), "want", weight=20),
        Property("mileage", "range", (0, 60_000), "want", unit="km"),
        Property("smoking", "eq", True, "avoid"),
    ),
    when=When("2027-02-06T21:30", "2027-02-11T10:00", "Europe/Paris", flex=7200),
    where=Where(Place(code="iata:LYS", cells=("u05m",), label="Lyon airport"), radius=10),
    limit=Money(45_000, "EUR"),
    offers_by=NOW + 6 * HOUR,
    spread=30,
    terms=("SD-BASE",),
    reply=(Route("direct", "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"),),
)
OFFER = Offer(
    vendor=Vendor("Bob's Alpine Cars"),
    category="mobility.car.suv",
    lines=(Line("Dacia Duster 4x4", 5, "day", 6_900, 34_500), Line("Early bird", 1, "booking", -2_000, -2_000)),
    total=Money(34_000, "EUR"),
    fees=(Fee("airport", 1_500),),
    props=(Fact("drive", "awd"), Fact("seats", 5), Fact("mileage", 42_000, "km")),
    meets=("drive", "seats", "mileage"),
    deviates=(Deviation("gearbox", "manual only"), Deviation("smoking")),
    options=(Option("ski_rack", "Ski rack", 2_500),),
    when=When("2027-02-06T21:30", "2027-02-11T10:00", "Europe/Paris"),
    where=Where(Place(code="iata:LYS")),
    note="Desk open until the last flight.",
    cancellation=(Cancellation(NOW + 10 * DAY, 0), Cancellation(NOW + 20 * DAY, 34_000)),
    policies=(Policy("fuel", "Full to full."),),
)
PLAIN_OFFER = Offer(
    vendor=Vendor("Carol"),
    category="mobility.car",
    lines=(Line("Any car", 1, "stay", 30_000, 30_000),),
    total=Money(30_000, "EUR"),
)

# ------------------------------------------------------------------------------------------------- what is said


def say(
    kind: str, body: Body, by: Person, *, at: int = NOW, exp: int = NOW + DAY, seq: int = 0, **head: Any
) -> Message:
    """Anything, signed. The salt follows from what is said, so saying it again makes the same frame."""
    head.setdefault("salt", bytes(16))
    draft = Draft(kind=kind, body=body, net=head.pop("net", NET), at=at, exp=exp, seq=seq, **head)
    if not any(draft.salt):
        draft = replace(draft, salt=derived(by.name + draft.payload().hex(), 16))
    return speak(draft, by.key)


def wish(by: Person = ALICE, body: Intent = WISH, **head: Any) -> Message:
    return say("intent", body, by, **head)


def update(first: Message, by: Person = ALICE, body: Intent = WISH, seq: int = 1, **head: Any) -> Message:
    return say("intent.update", body, by, seq=seq, ref=head.pop("ref", first.id), root=first.root, **head)


def close(first: Message, by: Person = ALICE, seq: int = 2, reason: str = "elsewhere", **head: Any) -> Message:
    division = first.body.category.partition(".")[0]  # type: ignore[union-attr]
    return say("intent.close", IntentClose(division, reason), by, seq=seq, root=first.root, **head)


def offer(revision: Message, by: Person = BOB, body: Offer = OFFER, seq: int = 0, **head: Any) -> Message:
    return answer("offer", body, revision, by, seq=seq, **head)


def answer(kind: str, body: Body, about: Message, by: Person, **head: Any) -> Message:
    """A direct message about `about`, to the other party and under its wish."""
    head.setdefault("ref", about.id)
    head.setdefault("root", about.root)
    head.setdefault("to", about.author if about.author != by.key.public else about.head.to)
    head.setdefault("tkey", by.box.public)
    return say(kind, body, by, **head)


def withdraw(of: Message, by: Person = BOB, seq: int = 1, **head: Any) -> Message:
    return answer("offer.withdraw", OfferWithdraw(), of, by, seq=seq, **head)


def decline(of: Message, by: Person = ALICE, seq: int = 1, **head: Any) -> Message:
    return answer("decline", Decline("comparison"), of, by, seq=seq, **head)


def accept(of: Message, by: Person = ALICE, seq: int = 1, exp: int = NOW + HOUR, **head: Any) -> Message:
    return answer("accept", Accept("Alice, +33 6 00 00 00 00", ("ski_rack",)), of, by, seq=seq, exp=exp, **head)


def confirm(of: Message, by: Person = BOB, seq: int = 1, **head: Any) -> Message:
    return answer("confirm", Confirm("Bob, desk 4", "LYS-0042"), of, by, seq=seq, **head)


def reject(of: Message, by: Person = BOB, seq: int = 1, **head: Any) -> Message:
    return answer("reject", Reject("sold_out"), of, by, seq=seq, **head)


def ack(of: Message, by: Person, seq: int = 2, item: bytes = b"", **head: Any) -> Message:
    return answer("ack", Ack(item or derived(f"item of {of.id.hex()}")), of, by, seq=seq, **head)


def problem(of: Message, by: Person, code: str = "lapsed", seq: int = 2, **head: Any) -> Message:
    return answer("problem", Problem(code), of, by, seq=seq, **head)


def one_of_each() -> dict[str, Message]:
    """One message of every kind: a whole story between Alice and Bob, with every ending it might have had; where
    Carol's node can be dialled, and how it holds for Alice."""
    first = wish()
    bobs = offer(first)
    yes = accept(bobs)
    sure = confirm(yes)
    return {
        "intent": first,
        "intent.update": update(first),
        "intent.close": close(first),
        "offer": bobs,
        "offer.withdraw": withdraw(bobs),
        "decline": decline(bobs),
        "accept": yes,
        "confirm": sure,
        "reject": reject(yes),
        "ack": ack(sure, ALICE),
        "problem": problem(sure, ALICE),
        "address": say("address", NodeAddress(("/ip4/127.0.0.1/tcp/4001",), meeting=True), CAROL),
        "mailbox.grant": say("mailbox.grant", MailboxGrant(peer_id(CAROL.key.public), 65_536), ALICE, stamp=bytes(8)),
        "mailbox.claim": say("mailbox.claim", MailboxClaim(peer_id(CAROL.key.public), derived("challenge")), ALICE),
    }


# ------------------------------------------------------------------------------------------------------- letters


def letter(message: Message, by: Person, to: Person, n: int = 0, **changed: Any) -> Item:
    """The message sealed, by its side's rule: Alice owns the box, everybody else is a vendor. `changed` lies."""
    return seal(
        message.frame,
        changed.get("own", by.box),
        changed.get("other", to.box.public),
        own_is_box=changed.get("own_is_box", by.name == "alice"),
        n=n,
        exp=changed.get("exp", message.head.exp),
        nonce=changed.get("nonce") or derived(f"nonce {message.id.hex()} {n}", 24),
    )


def author_of(message: Message) -> Person:
    return next(one for one in (ALICE, BOB, CAROL, MALLORY) if one.key.public == message.author)


# --------------------------------------------------------------------------------------------------------- twins

_ORDER = 2**252 + 27742317777372353535851937790883648493


def twin_of(message: Message, realm: Realm, net: str = NET) -> bytes:
    """The same payload under another signature that verifies: same id, other bytes. Any author can do this, by
    choosing another secret number where Ed25519 tells it to hash one."""
    by, payload = author_of(message), read_frame(message.frame).payload
    signed = b"\0".join((b"intentcast/1", realm.encode(), net.encode(), payload))
    half = bytearray(sha512(by.key.reveal()).digest()[:32])
    half[0] &= 248
    half[31] = half[31] & 63 | 64
    r = int.from_bytes(sha512(b"twin" + payload).digest(), "little") % _ORDER
    point = crypto_scalarmult_ed25519_base_noclamp(r.to_bytes(32, "little"))
    k = int.from_bytes(sha512(point + by.key.public + signed).digest(), "little")
    s = (r + k * int.from_bytes(half, "little")) % _ORDER
    return encode([by.key.public, point + s.to_bytes(32, "little"), payload])
