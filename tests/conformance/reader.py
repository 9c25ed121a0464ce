"""Our own reader, and an example for others: protocol/ behind the questions of README.md."""

import json
import sys
from random import Random
from typing import Any

from protocol.board import Board
from protocol.codec import decode, encode
from protocol.envelope import (
    Hint,
    Item,
    Realm,
    id_of,
    open_frame,
    read_frame,
    read_item,
    seal,
    sign,
    zero_bits,
)
from protocol.envelope import digest as hash_of
from protocol.errors import Reason, Refused
from protocol.evidence import verify
from protocol.exchange import Side, Thread
from protocol.framing import frame_with_length
from protocol.gossip import message_id
from protocol.keys import BoxKey, SigningKey, did, peer_id
from protocol.kinds import KINDS
from protocol.letter import open_letter
from protocol.limits import MAX_ITEM
from protocol.message import believe
from protocol.reconcile import Compare, IdTree, Open, Walk, mark_of, read_question
from tests.vectors.tagged import from_json, to_json

Json = dict[str, Any]
raw = bytes.fromhex
TAG_BYTES = 16


class Reader:
    """A method for each question; what it raises as Refused is answered `refused`."""

    def decode(self, hex: str) -> Json:
        return {"value": to_json(decode(raw(hex), MAX_ITEM))}

    def encode(self, value: Any) -> Json:
        return {"hex": encode(from_json(value)).hex()}

    def frame(self, seed: str, realm: str, net: str, fields: Any) -> Json:
        key, payload = SigningKey(raw(seed)), encode(from_json(fields))
        return {"frame": sign(payload, key, Realm(realm), net).hex(), "id": id_of(key.public, payload).hex()}

    def hear(self, frame: str, net: str, division: str, now: int, bits: int, heard: list[str]) -> Json:
        board = Board(net, bits=bits)
        for before in heard:
            board.hear(raw(before), division, "before", now)
        verdict = board.hear(raw(frame), division, "somebody", now)
        return {"verdict": "accept" if verdict.accepted else "reject" if verdict.rejected else "ignore"}

    def message_id(self, topic: str, data: str) -> Json:
        return {"id": message_id(topic, raw(data)).hex()}

    def frame_id(self, key: str, payload: str) -> Json:
        found = id_of(raw(key), raw(payload))
        return {"id": found.hex(), "bits": zero_bits(found)}

    def names(self, seed: str) -> Json:
        key = SigningKey(raw(seed)).public
        return {"key": key.hex(), "did": did(key), "peer_id": peer_id(key)}

    def box(self, secret: str) -> Json:
        return {"key": BoxKey(raw(secret)).public.hex()}

    def on_stream(self, value: str) -> Json:
        return {"on_stream": frame_with_length(raw(value)).hex()}

    def seal(
        self, frame: str, sender_secret: str, sender_is_box: bool, to_box: str, n: int, exp: int, nonce: str
    ) -> Json:
        own = BoxKey(raw(sender_secret))
        item = seal(raw(frame), own, raw(to_box), own_is_box=sender_is_box, n=n, exp=exp, nonce=raw(nonce))
        return {"item": item.encoded().hex(), "digest": item.digest.hex()}

    def open(
        self, item: str, own: str, own_is_box: bool, net: str, me: str, root: str, expected_author: str | None
    ) -> Json:
        read = read_item(raw(item))
        if not isinstance(read, Item):
            raise Refused(Reason.ITEM, "a hint")
        author = raw(expected_author) if expected_author else None
        box = BoxKey(raw(own))
        opened = open_letter(
            read, box, own_is_box=own_is_box, net=net, me=raw(me), root=raw(root), expected_author=author
        )
        return {"id": opened.id.hex()}

    def pad(self, length: int) -> Json:
        sender, receiver = BoxKey(bytes(32)), BoxKey(bytes(range(32)))
        item = seal(bytes(length), sender, receiver.public, own_is_box=False, n=0, exp=1, nonce=bytes(24))
        return {"size": len(item.ciphertext) - TAG_BYTES}

    def item_bits(self, digest: str, stamp: str) -> Json:
        return {"bits": zero_bits(hash_of(raw(digest) + raw(stamp)))}

    def hint(self, hint: str) -> Json:
        read = read_item(raw(hint))
        if not isinstance(read, Hint):
            raise Refused(Reason.ITEM, "an item")
        return {"digest": read.digest.hex(), "code": read.code.value, "arg": read.arg}

    def evidence(self, evidence: str) -> Json:
        return {"ids": [message.id.hex() for message in verify(raw(evidence)).messages]}

    def thread(self, side: str, root: str, requester: str, vendor: str, steps: list[Json]) -> Json:
        thread = Thread(raw(root), raw(requester), raw(vendor), Side(side))
        return {"steps": [_step(thread, step["now"], step["frame"]) for step in steps]}

    def fingerprint(self, ids: list[str], salt: str, digits: str) -> Json:
        found = IdTree(map(raw, ids)).fingerprint(digits)
        return {"fingerprint": found.hex(), "mark": mark_of(found, raw(salt)).hex()}

    def catch_up(self, division: str, held: list[str], question: str) -> Json:
        asked = decode(raw(question), MAX_ITEM)
        read = read_question(asked) if isinstance(asked, list) else None
        if read is None:
            raise Refused(Reason.REQUEST, "another word")
        return {"answer": encode(_answer(read, division, IdTree(map(raw, held)))).hex()}

    def missing(self, division: str, salt: str, held: list[str], held_by_other: list[str]) -> Json:
        mine, other = IdTree(map(raw, held)), IdTree(map(raw, held_by_other))
        walk = Walk(lambda _division: mine, raw(salt), Random(1))
        first = walk.begin([division])
        walk.compared(first, first.read(_answer(first, division, other)))
        found: list[str] = []
        while (question := walk.ask()) is not None:
            parts = question.read(_answer(question, division, other))
            found += [id.hex() for some in walk.opened(question, parts) for _, id in some]
        return {"missing": sorted(found)}


def _answer(question: Compare | Open, division: str, tree: IdTree) -> list[Any]:
    parts = list(question.answers(lambda asked: tree if asked == division else IdTree()))
    return ["marks" if isinstance(question, Compare) else "parts", parts]


def _step(thread: Thread, now: int, frame: str | None) -> Json:
    found: Json = {"early": False, "dropped": False, "owes": None}
    if frame is None:
        thread.tick(now)
    else:
        said = read_frame(raw(frame)).peek_unverified()
        realm = KINDS[str(said["kind"])].realm
        outcome = thread.add(believe(open_frame(raw(frame), realm, str(said["net"]))), now)
        found = {"early": outcome.early, "dropped": outcome.dropped, "owes": outcome.owes}
    return {**found, "states": {offer.hex(): talk.state.value for offer, talk in thread.talks.items()}}


def main() -> None:
    reader = Reader()
    for line in sys.stdin:
        question = json.loads(line)
        answer = getattr(reader, question.pop("ask"), None)
        try:
            said = {"skip": "not a question we know"} if answer is None else answer(**question)
        except Refused:
            said = {"refused": True}
        print(json.dumps(said))


if __name__ == "__main__":
    main()
