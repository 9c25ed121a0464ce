"""ids.json: every name that is computed from bytes: message ids, stamps, keys as text."""

from typing import Any

from protocol.codec import encode
from protocol.envelope import digest, id_of, item_stamp_bits, read_frame, zero_bits
from protocol.framing import encode_varint
from protocol.gossip import message_id
from protocol.keys import did, peer_id
from protocol.message import Message
from tests.protocol.people import ALICE, BOB, CAROL, MALLORY, NET, derived, letter, wish

from .frame_vectors import stamped_wish
from .item_vectors import OFFERED


def topic(net: str, division: str) -> str:
    return f"intentcast/1/{net}/intent/{division}"


def _stamps() -> list[dict[str, Any]]:
    wishes = [wish(), stamped_wish(8), stamped_wish(12), stamped_wish(18, "main")]

    def row(message: Message) -> dict[str, Any]:
        unverified = read_frame(message.frame)
        assert message.head.stamp is not None
        return {
            "key": unverified.key.hex(),
            "payload": unverified.payload.hex(),
            "stamp": message.head.stamp.hex(),
            "id": id_of(unverified.key, unverified.payload).hex(),
            "bits": zero_bits(message.id),
        }

    return [row(message) for message in wishes]


def _item_stamps() -> list[dict[str, Any]]:
    item = letter(OFFERED, BOB, ALICE)
    rows = []
    for wanted in (0, 4, 8):
        number = 0
        while zero_bits(digest(item.digest + number.to_bytes(8, "big"))) < wanted:
            number += 1
        stamp = number.to_bytes(8, "big")
        rows.append({"digest": item.digest.hex(), "stamp": stamp.hex(), "bits": zero_bits(digest(item.digest + stamp))})
    assert item_stamp_bits(item) == rows[0]["bits"]
    return rows


def _streams() -> list[dict[str, Any]]:
    salt = derived("asker", 16)
    values: dict[str, Any] = {
        "sync: compare": ["compare", salt, ["lodging/", "mobility/"]],
        "sync: marks": ["marks", [salt[:8], salt[8:]]],
        "sync: open": ["open", salt, ["mobility/", "mobility/3f"], 8],
        "sync: parts": ["parts", [salt * 8, [wish().id]]],
        "sync: get": ["get", [wish().id, wish(BOB).id]],
        "sync: frames": ["frames", [wish().frame]],
        "peers: ask without saying who": ["peers", b"", 16],
        "peers: records": ["records", [], 1_800_000_000],
    }
    return [
        {
            "name": name,
            "value": encode(value).hex(),
            "on_stream": (encode_varint(len(encode(value))) + encode(value)).hex(),
        }
        for name, value in values.items()
    ]


def build() -> dict[str, Any]:
    frames = [wish().frame, wish(BOB).frame]
    return {
        "about": "Names computed from bytes. See protocol/README.md for each formula.",
        "gossip_message_ids": [
            {"topic": name, "data": data.hex(), "id": message_id(name, data).hex()}
            for name in (topic(NET, "mobility"), topic("main", "home"))
            for data in (*frames, b"")
        ],
        "stamps": _stamps(),
        "item_stamps": _item_stamps(),
        "keys": [
            {
                "seed": who.key.reveal().hex(),
                "key": who.key.public.hex(),
                "did": did(who.key.public),
                "peer_id": peer_id(who.key.public),
            }
            for who in (ALICE, BOB, CAROL, MALLORY)
        ],
        "boxes": [
            {"secret": who.box.reveal().hex(), "key": who.box.public.hex()} for who in (ALICE, BOB, CAROL, MALLORY)
        ],
        "stream_values": _streams(),
    }
