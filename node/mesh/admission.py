"""What a message of the simulation is, and how a node judges it: as cheap as it gets, or as nodes do."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from node.gossip import judgement_on
from protocol.board import Board
from protocol.envelope import Realm, sign
from protocol.gossip import Judge, Judgement, Verdict
from protocol.intent import Intent
from protocol.keys import BoxKey, SigningKey
from protocol.message import Draft

MESSAGE_BYTES: Final = 512
"""A wish with a sentence or two, signed."""
NET: Final = "test"
DIVISION: Final = "mobility"
_BEGIN: Final = 1_780_000_000
"""The wall clock at the beginning of every world, seconds."""


class Admission(Protocol):
    def frame(self, number: int, now: float) -> bytes:
        """The wish of this number, as its author writes it at `now`: MESSAGE_BYTES long."""

    def judge(self) -> Judge:
        """A new node's."""


class Light:
    """A wish is good when somebody said it: `is_known` stands in for the signature. Copies are the router's business,
    so what is left out is only work, which is the same for every node."""

    def __init__(self, is_known: Callable[[bytes], bool]) -> None:
        self._is_known = is_known

    def frame(self, number: int, now: float) -> bytes:
        return (b"wish %d " % number).ljust(MESSAGE_BYTES, b".")

    def judge(self) -> Judge:
        accept, reject = Judgement(Verdict.ACCEPT), Judgement(Verdict.REJECT, reason="signature")
        return lambda topic, data, via, now: accept if self._is_known(data) else reject


class Full:
    """Signed wishes of fresh authors, and a board for every node: frame, stamp, signature, fields, times, register."""

    def frame(self, number: int, now: float) -> bytes:
        key = SigningKey(hashlib.sha256(b"author %d" % number).digest())
        note = 200
        first = self._sign(number, now, key, note)
        return self._sign(number, now, key, note + MESSAGE_BYTES - len(first))

    def _sign(self, number: int, now: float, key: SigningKey, note: int) -> bytes:
        intent = Intent(
            action="rent",
            category="mobility.car.suv",
            title="A 4x4 from Lyon airport, five days",
            box=BoxKey(hashlib.sha256(b"box").digest()).public,
            note="." * note,
        )
        begin = _BEGIN + int(now)
        draft = Draft("intent", intent, NET, begin, begin + 3600, 1, number.to_bytes(16, "big"))
        return sign(replace(draft, stamp=bytes(8)).payload(), key, Realm.GOSSIP, NET)

    def judge(self) -> Judge:
        board = Board(NET)

        def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
            return judgement_on(board.hear(data, DIVISION, via, _BEGIN + int(now)))

        return judge
