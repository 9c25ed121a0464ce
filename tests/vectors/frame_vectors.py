"""frames.json and refused_frames.json: every kind, and what no node lets through (or listens to) on gossip."""

from dataclasses import dataclass
from typing import Any

from protocol.board import Board
from protocol.codec import Map, decode, decode_map, encode
from protocol.envelope import Realm, read_frame, sign
from protocol.errors import Reason, Refused
from protocol.keys import SigningKey
from protocol.kinds import KINDS
from protocol.limits import INT_MAX, INT_MIN, MAX_LIFE, MAX_SKEW
from protocol.message import Draft, Message, mine_stamp, speak
from tests.protocol.people import ALICE, BOB, DAY, NET, NOW, WISH, author_of, close, derived, offer, one_of_each, wish

from .tagged import to_json

DIVISION = "mobility"


def fields_of(message: Message) -> Map:
    return decode_map(read_frame(message.frame).payload)


def craft(payload: Map | bytes, key: SigningKey = ALICE.key, realm: Realm = Realm.GOSSIP, net: str = NET) -> bytes:
    """Any payload, properly signed: the flaw is inside."""
    return sign(payload if isinstance(payload, bytes) else encode(payload), key, realm, net)


_ANY: Map = {"name": "a", "op": "in", "value": [1, 1, "one", True, INT_MIN], "need": "must"}


# --------------------------------------------------------------------------------------------------------- good


def good_frames() -> dict[str, tuple[SigningKey, Realm, bytes]]:
    """name -> who signed, realm, frame"""
    frames: dict[str, tuple[SigningKey, Realm, bytes]] = {}
    for kind, message in one_of_each().items():
        frames[kind] = (author_of(message).key, KINDS[kind].realm, message.frame)
    fields = fields_of(wish())
    body = dict(fields["body"])  # type: ignore[arg-type]
    needed = {name: body[name] for name in ("action", "category", "title", "box")}
    late = {
        "an intent with nothing that may be left out": fields | {"body": needed},
        "an intent with fields of a later minor version": fields
        | {"later": 1, "body": body | {"colour_of_mind": ["blue"]}, "ext": {"org.example.mood": {"calm": True}}},
        "an intent with fields its kind does not have": fields | {"ref": "no id", "to": 7, "root": b""},
        "an intent in a leaf nobody knows": fields | {"body": needed | {"category": "mobility.flying-carpet"}},
        "an intent at the longest life": fields | {"exp": NOW + MAX_LIFE},
        "an intent with keys that programs trip over": fields | {"ext": {"__proto__": 1, "constructor": 2, "crit": []}},
        "an intent with a line feed in a note of an extension": fields | {"ext": {"org.example": {"note": "a\nb"}}},
        "an intent eight levels deep": fields | {"ext": {"org.example": [[[[[[]]]]]]}},
        "an intent with the largest seq": fields | {"seq": INT_MAX},
        "an intent whose title has 200 characters above U+FFFF": fields
        | {"body": body | {"title": "\U0001f697" * 200}},
        "an intent whose title begins with U+FEFF": fields | {"body": body | {"title": "\ufeff4x4"}},
        "an intent that says a property twice": fields | {"body": body | {"props": [_ANY, _ANY]}},
        "an intent whose lists are empty": fields | {"body": needed | {"props": [], "terms": [], "reply": []}},
    }
    for name, payload in late.items():
        frames[name] = (ALICE.key, Realm.GOSSIP, craft(payload))
    return frames


def build_good() -> dict[str, Any]:
    vectors = []
    for name, (key, realm, frame) in good_frames().items():
        unverified = read_frame(frame)
        vectors.append(
            {
                "name": name,
                "seed": key.reveal().hex(),
                "key": key.public.hex(),
                "realm": realm.value,
                "net": NET,
                "fields": to_json(decode(unverified.payload)),
                "payload": unverified.payload.hex(),
                "frame": frame.hex(),
                "id": unverified.id.hex(),
            }
        )
    return {
        "about": "seed (Ed25519, RFC 8032), realm, net, fields -> payload, frame, id. All of these verify.",
        "frames": vectors,
    }


# ------------------------------------------------------------------------------------------------------ refused


@dataclass(frozen=True)
class Case:
    frame: bytes
    reason: Reason
    division: str = DIVISION
    now: int = NOW
    bits: int = 0
    heard: tuple[bytes, ...] = ()
    """Frames the node has accepted before."""


def _malformed() -> dict[str, Case]:
    good = wish().frame
    key, signature, payload = decode(good)  # type: ignore[misc]
    raw = read_frame(good).payload

    def of(data: bytes, reason: Reason) -> Case:
        return Case(data, reason)

    return {
        "empty": of(b"", Reason.NOT_MSGPACK),
        "a text": of(encode("hello"), Reason.FRAME),
        "a map": of(encode({"key": key, "payload": payload}), Reason.FRAME),
        "two parts": of(encode([key, signature]), Reason.FRAME),
        "four parts": of(encode([key, signature, payload, b""]), Reason.FRAME),
        "key of 31 bytes": of(encode([key[:31], signature, payload]), Reason.FRAME),  # type: ignore[index]
        "signature of 63 bytes": of(encode([key, signature[:63], payload]), Reason.FRAME),  # type: ignore[index]
        "payload as text": of(encode([key, signature, "payload"]), Reason.FRAME),
        "payload as a map": of(encode([key, signature, decode(raw)]), Reason.FRAME),
        "a byte behind": of(good + b"\x00", Reason.NOT_MSGPACK),
        "last byte missing": of(good[:-1], Reason.NOT_MSGPACK),
        "array16 instead of fixarray": of(b"\xdc\x00\x03" + good[1:], Reason.NOT_CANONICAL),
        "bin16 instead of bin8": of(good[:1] + b"\xc5\x00\x20" + good[3:], Reason.NOT_CANONICAL),
        "8193 bytes": of(_of_size(8193), Reason.SIZE),
        "signature of another payload": of(encode([key, wish(seq=1).frame[37:101], payload]), Reason.SIGNATURE),
        "first bit of the signature flipped": of(_flip(good, 37), Reason.SIGNATURE),
        "another key": of(encode([BOB.key.public, signature, payload]), Reason.SIGNATURE),
        "key of small order": of(encode([bytes(32), bytes(64), payload]), Reason.SIGNATURE),
        "signature with S plus the group order": of(encode([key, _high_s(signature), payload]), Reason.SIGNATURE),  # type: ignore[arg-type]
        "signed for direct": of(craft(raw, realm=Realm.DIRECT), Reason.SIGNATURE),
        "signed for address": of(craft(raw, realm=Realm.ADDRESS), Reason.SIGNATURE),
        "signed for another network": of(craft(raw, net="main"), Reason.SIGNATURE),
        "signed bare": of(encode([key, ALICE.key.sign(raw), payload]), Reason.SIGNATURE),
    }


_ORDER = 2**252 + 27742317777372353535851937790883648493


def _high_s(signature: bytes) -> bytes:
    return signature[:32] + (int.from_bytes(signature[32:], "little") + _ORDER).to_bytes(32, "little")


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _of_size(size: int) -> bytes:
    fields = fields_of(wish())
    fill = size - len(craft(fields | {"x": b"\0" * 8000}))
    frame = craft(fields | {"x": b"\0" * (8000 + fill)})
    assert len(frame) == size
    return frame


def _payloads() -> dict[str, Case]:
    raw = read_frame(wish().frame).payload
    at = encode(NOW)

    def of(data: bytes, reason: Reason) -> Case:
        return Case(craft(data), reason)

    return {
        "payload is not a map": of(encode([1]), Reason.TYPE),
        "payload of no bytes": of(b"", Reason.NOT_MSGPACK),
        "payload with a byte behind": of(raw + b"\xc0", Reason.NOT_MSGPACK),
        "payload with an integer too long": of(raw.replace(at, b"\xcf" + bytes(4) + at[1:], 1), Reason.NOT_CANONICAL),
        "payload with keys out of order": of(b"\x82\xa2at\x01\xa1a\x01", Reason.KEY),
        "payload with a key twice": of(b"\x82\xa2at\x01\xa2at\x01", Reason.NOT_CANONICAL),
        "payload with nil": of(b"\x81\xa2at\xc0", Reason.TYPE),
        "payload with a float": of(b"\x81\xa2at\xcb" + bytes(8), Reason.TYPE),
        "payload with a number above int64": of(b"\x81\xa2at\xcf" + b"\xff" * 8, Reason.RANGE),
        "payload nine deep": of(b"\x81\xa1a" * 8 + b"\x80", Reason.DEPTH),
        "payload with an escape in the title": of(raw.replace(b"4x4 from", b"\x1b[2 from"), Reason.TEXT),
        "payload with a line feed in the title": of(raw.replace(b"4x4 from", b"4x4\nfrom"), Reason.TEXT),
        "payload with text turned around": of(raw.replace(b"4x4", "\u202e".encode()), Reason.TEXT),
    }


def _heads() -> dict[str, Case]:
    fields = fields_of(wish())
    cases: dict[str, Case] = {}

    def case(name: str, reason: Reason, **changed: Any) -> None:
        payload = {key: value for key, value in (fields | changed).items() if value is not None}
        cases[name] = Case(craft(payload), reason)

    for name in ("v", "at", "exp", "seq", "salt", "stamp"):
        case(f"no {name}", Reason.HEAD, **{name: None})
    case("no net", Reason.NET, net=None)
    case("no body", Reason.DIVISION, body=None)
    case("no kind", Reason.HEAD, kind=None)
    case("net of another network", Reason.NET, net="main")
    case("net that is a number", Reason.NET, net=1)
    case("version 0", Reason.VERSION, v=0)
    case("version 2", Reason.VERSION, v=2)
    case("version as text", Reason.HEAD, v="1")
    case("version true", Reason.HEAD, v=True)
    case("kind in capitals", Reason.HEAD, kind="INTENT")
    case("kind of 65 characters", Reason.HEAD, kind="k" * 65)
    case("at below zero", Reason.HEAD, at=-1)
    case("at as text", Reason.HEAD, at=str(NOW))
    case("exp beyond the last instant", Reason.HEAD, exp=2**40 + 1)
    case("seq below zero", Reason.HEAD, seq=-1)
    case("salt of 15 bytes", Reason.HEAD, salt=bytes(15))
    case("salt as text", Reason.HEAD, salt="0123456789abcdef")
    case("stamp of 7 bytes", Reason.HEAD, stamp=bytes(7))
    case("expires when it is made", Reason.LIFE, exp=NOW)
    case("expires before it is made", Reason.LIFE, exp=NOW - 1)
    case("lives 30 days and a second", Reason.LIFE, exp=NOW + MAX_LIFE + 1)
    case("ext that is no map", Reason.HEAD, ext=[1])
    case("ext.crit that is no list", Reason.HEAD, ext={"crit": "all"})
    case("ext.crit with a number", Reason.HEAD, ext={"crit": [1]})
    case("ext.crit with a name", Reason.CRITICAL, ext={"crit": ["org.example.must"]})
    case("a kind nobody knows", Reason.UNKNOWN_KIND, kind="intent.sing")
    case("a kind nobody knows, without end", Reason.LIFE, kind="intent.sing", exp=NOW + MAX_LIFE + 1)
    case("a kind nobody knows, without a category", Reason.DIVISION, kind="intent.sing", body={})
    case("a kind nobody knows, with an ext that is no map", Reason.UNKNOWN_KIND, kind="intent.sing", ext=1)
    case("a kind named like something of the language", Reason.UNKNOWN_KIND, kind="constructor")
    case(
        "an unknown extension, and a body that is wrong",
        Reason.CRITICAL,
        ext={"crit": ["a"]},
        body={"category": "mobility"},
    )
    case("an update without ref, with an unknown extension", Reason.HEAD, kind="intent.update", ext={"crit": ["a"]})
    case("version 2 of a kind nobody knows", Reason.VERSION, v=2, kind="intent.sing")
    case("a kind of the other realm", Reason.UNKNOWN_KIND, kind="offer")
    case("an update without ref", Reason.HEAD, kind="intent.update", root=bytes(32))
    case("an update without root", Reason.HEAD, kind="intent.update", ref=bytes(32))
    case("an update with a root of 31 bytes", Reason.HEAD, kind="intent.update", ref=bytes(32), root=bytes(31))
    case("a close without root", Reason.HEAD, kind="intent.close", body={"category": "mobility", "reason": "awarded"})
    return cases


def _bodies() -> dict[str, Case]:
    fields = fields_of(wish())
    body: dict[str, Any] = dict(fields["body"])  # type: ignore[arg-type]
    cases: dict[str, Case] = {}

    def case(name: str, reason: Reason = Reason.BODY, **changed: Any) -> None:
        payload = {key: value for key, value in (body | changed).items() if value is not None}
        cases[name] = Case(craft(fields | {"body": payload}), reason)

    for name in ("action", "title", "box"):
        case(f"intent without {name}", **{name: None})
    case("intent without category", Reason.DIVISION, category=None)
    case("category of another division", Reason.DIVISION, category="mobility2.car")
    case("category that only starts like the division", Reason.DIVISION, category="mobilityx")
    case("category in capitals", Reason.DIVISION, category="Mobility.car")
    case("category that ends with a dot", category="mobility.")
    case("category of six segments", category="mobility.a.b.c.d.e")
    case("category as a list", Reason.DIVISION, category=["mobility"])
    case("action of no closed list", action="steal")
    case("empty title", title="")
    case("title of 201 characters", title="t" * 201)
    case("title of 201 characters above U+FFFF", title="\U0001f697" * 201)
    case("title as bytes", title=b"title")
    case("note of 1001 characters", note="n" * 1001)
    case("box of 31 bytes", box=bytes(31))
    case("box as text", box="b" * 32)
    case("quantity 0", quantity=0)
    case("quantity true", quantity=True)
    case("33 properties", props=[{"name": "a", "op": "eq", "value": 1, "need": "must"}] * 33)
    case("properties as a map", props={"name": "a"})
    case("property without need", props=[{"name": "a", "op": "eq", "value": 1}])
    case("property with a capital", props=[{"name": "Drive", "op": "eq", "value": 1, "need": "must"}])
    case("property eq a list", props=[{"name": "a", "op": "eq", "value": [1], "need": "must"}])
    case("property in one value", props=[{"name": "a", "op": "in", "value": 1, "need": "must"}])
    case("property in nothing", props=[{"name": "a", "op": "in", "value": [], "need": "must"}])
    case("property min a text", props=[{"name": "a", "op": "min", "value": "4", "need": "must"}])
    case("property max true", props=[{"name": "a", "op": "max", "value": True, "need": "must"}])
    case("property range from high to low", props=[{"name": "a", "op": "range", "value": [2, 1], "need": "must"}])
    case(
        "property range beyond doubles",
        props=[{"name": "a", "op": "range", "value": [2**60 + 1, 2**60], "need": "must"}],
    )
    case("property range of truth values", props=[{"name": "a", "op": "range", "value": [False, True], "need": "must"}])
    case("property with a list in a list", props=[{"name": "a", "op": "in", "value": [[1]], "need": "must"}])
    case("when that ends before it starts", when={"start": "2027-02-02", "end": "2027-02-01", "tz": "Europe/Paris"})
    case("when of no length", when={"start": "2027-02-02", "end": "2027-02-02T00:00", "tz": "Europe/Paris"})
    case("when on 30 February", when={"start": "2027-02-30", "end": "2027-03-01", "tz": "Europe/Paris"})
    case("when in the year 0", when={"start": "0000-02-01", "end": "0001-02-01", "tz": "Europe/Paris"})
    case("when on 29 February 1900", when={"start": "1900-02-29", "end": "1900-03-02", "tz": "Europe/Paris"})
    case("when at 24:00", when={"start": "2027-02-01", "end": "2027-02-01T24:00", "tz": "Europe/Paris"})
    case("when in other digits", when={"start": "٢٠٢٧-02-01", "end": "2027-02-02", "tz": "Europe/Paris"})
    case("when without zone", when={"start": "2027-02-01", "end": "2027-02-02"})
    case("where without code or cells", where={"at": {"label": "somewhere"}})
    case("where with an empty list of cells", where={"at": {"cells": []}})
    case("where with a letter geohash lacks", where={"at": {"cells": ["u05a"]}})
    case("limit as a number", limit=450)
    case("limit below zero", limit={"minor": -1, "currency": "EUR"})
    case("limit in small letters", limit={"minor": 1, "currency": "eur"})
    case("spread of 601 seconds", spread=601)
    case("101 offers", max_offers=101)
    case("award to many", award="many")
    case("five ways back", reply=[{"via": "direct", "addr": "/ip4/1.1.1.1/tcp/1/p2p/" + "Q" * 46}] * 5)
    case("way back without a peer", reply=[{"via": "direct", "addr": "/ip4/1.1.1.1/tcp/1"}])
    case("body that is a list", Reason.DIVISION)
    cases["body that is a list"] = Case(craft(fields | {"body": [body]}), Reason.DIVISION)
    closing = fields_of(close(wish()))
    cases["close that says the whole category"] = Case(
        craft(closing | {"body": {"category": "mobility.car", "reason": "awarded"}}), Reason.BODY
    )
    cases["close without reason"] = Case(craft(closing | {"body": {"category": "mobility"}}), Reason.BODY)
    cases["close with another reason"] = Case(
        craft(closing | {"body": {"category": "mobility", "reason": "bored"}}), Reason.BODY
    )
    return cases


def _places_and_times() -> dict[str, Case]:
    first = wish()
    end = close(first)
    newer = wish(seq=5)
    unsigned = read_frame(craft(fields_of(first) | {"ext": {"crit": ["a"]}}))
    again = encode([first.author, ALICE.key.sign(b"another"), read_frame(first.frame).payload])
    stamped = stamped_wish(12)
    return {
        "on the topic of another division": Case(first.frame, Reason.DIVISION, division="lodging"),
        "on a topic below its division": Case(first.frame, Reason.DIVISION, division="mobility.car"),
        "a second too early": Case(first.frame, Reason.EARLY, now=NOW - MAX_SKEW - 1),
        "in its last second, which is over": Case(first.frame, Reason.EXPIRED, now=first.head.exp),
        "a close 121 s after its end": Case(end.frame, Reason.EXPIRED, now=end.head.exp + MAX_SKEW + 1),
        "a second time": Case(first.frame, Reason.SEEN, heard=(first.frame,)),
        "behind a newer revision": Case(first.frame, Reason.SUPERSEDED, heard=(newer.frame,)),
        "behind a close with a lower seq": Case(newer.frame, Reason.SUPERSEDED, heard=(end.frame,)),
        "a close behind a close with a higher seq": Case(
            close(first, seq=0).frame, Reason.SUPERSEDED, heard=(end.frame,)
        ),
        "a wish of the same author behind its close": Case(wish(seq=9).frame, Reason.SUPERSEDED, heard=(end.frame,)),
        "early, and signed wrong": Case(again, Reason.SIGNATURE, now=NOW - MAX_SKEW - 1),
        "an unknown extension, and signed wrong": Case(
            encode([unsigned.key, bytes(64), unsigned.payload]), Reason.CRITICAL
        ),
        "an unknown extension, where 8 bits are asked": Case(unsigned.frame, Reason.CRITICAL, bits=8),
        "a known id with a bad signature": Case(again, Reason.SIGNATURE, heard=(first.frame,)),
        "a stamp of 12 bits where 13 are asked": Case(stamped.frame, Reason.STAMP, bits=13),
        "no stamp to speak of where 8 bits are asked": Case(first.frame, Reason.STAMP, bits=8),
        "an offer on gossip": Case(offer(first).frame, Reason.UNKNOWN_KIND),
    }


def stamped_wish(bits: int, net: str = NET, start: int = 0) -> Message:
    draft = Draft("intent", WISH, net, NOW, NOW + DAY, 0, derived(f"{bits} bits", 16))
    return speak(mine_stamp(draft, ALICE.key.public, bits, start), ALICE.key)


def refused_frames() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for group in (_malformed(), _payloads(), _heads(), _bodies(), _places_and_times()):
        assert not cases.keys() & group.keys()
        cases |= group
    return cases


def accepted_on_the_edge() -> dict[str, Case]:
    """The neighbours of refused ones: what just passes. `reason` has no meaning here."""
    first = wish()
    end = close(first)
    return {
        "as early as may be": Case(first.frame, Reason.EARLY, now=NOW - MAX_SKEW),
        "a second before its end": Case(first.frame, Reason.EXPIRED, now=first.head.exp - 1),
        "a close 120 s after its end": Case(end.frame, Reason.EXPIRED, now=end.head.exp + MAX_SKEW),
        "8192 bytes": Case(_of_size(8192), Reason.SIZE),
        "a stamp of 12 bits where 12 are asked": Case(stamped_wish(12).frame, Reason.STAMP, bits=12),
        "a close behind one with a lower seq": Case(close(first, seq=9).frame, Reason.SUPERSEDED, heard=(end.frame,)),
        "a close of another root": Case(close(wish(seq=3), seq=0).frame, Reason.SUPERSEDED, heard=(first.frame,)),
        "a close with a lower seq": Case(close(first, seq=0).frame, Reason.SUPERSEDED, heard=(wish(seq=5).frame,)),
    }


def board_for(case: Case) -> Board:
    board = Board(NET, bits=case.bits)
    for frame in case.heard:
        assert board.hear(frame, DIVISION, "before", NOW).accepted
    return board


def build_refused() -> dict[str, Any]:
    def where(case: Case) -> dict[str, Any]:
        return {
            "net": NET,
            "division": case.division,
            "now": case.now,
            "bits": case.bits,
            "heard": [frame.hex() for frame in case.heard],
        }

    return {
        "about": "A node of this net, hearing the frame on the channel of `division` at `now`, after it accepted "
        "`heard`. The verdict is the protocol's; the reason is this implementation's word for it.",
        "refused": [
            {
                "name": name,
                "frame": case.frame.hex(),
                "where": where(case),
                "verdict": Refused(case.reason).fault.value,
                "reason": case.reason.value,
            }
            for name, case in refused_frames().items()
        ],
        "accepted": [
            {"name": name, "frame": case.frame.hex(), "where": where(case), "verdict": "accept"}
            for name, case in accepted_on_the_edge().items()
        ],
    }
