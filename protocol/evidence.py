"""Evidence: signed frames bundled so that anybody can check them later, without a node and without a network.

    ["intentcast/evidence", 1, net, kind, [frame, ...]]        canonical, and nothing behind it

    kind intent     one frame: a wish, a revision of it or its end
    kind offer      the revision it answers, the offer
    kind contract   the revision, the offer, the accept, the confirm

It says who signed what, for which network, and that the pieces belong together. It does not say when: `at` is its
author's own claim. Nor does it judge stamps or expiry: what was signed stays signed.
"""

from dataclasses import dataclass
from typing import Final

from .codec import Value, decode, encode
from .envelope import read_frame
from .envelope import verify as verify_frame
from .errors import Reason, Refused
from .kinds import KINDS
from .limits import MAX_ITEM
from .message import Message, believe

MAGIC: Final = "intentcast/evidence"
EVIDENCE_VERSION: Final = 1
MAX_EVIDENCE: Final = 4 * MAX_ITEM
"""Bytes: four frames, none of which can be longer than an item."""

_REVISION = ("intent", "intent.update")
PARTS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "intent": (("intent", "intent.update", "intent.close"),),
    "offer": (_REVISION, ("offer",)),
    "contract": (_REVISION, ("offer",), ("accept",), ("confirm",)),
}
"""Kind of evidence -> the kinds its frames may be, in order."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Checked evidence. Every message in it is believed, and each answers the one before it."""

    kind: str
    """intent, offer or contract."""
    net: str
    id: bytes
    """The wish's frame, the offer, or the accept: the contract's id."""
    author: bytes
    """Who signed the frame with that id."""
    at: int
    """When, seconds UTC, as that author says."""
    messages: tuple[Message, ...]

    @property
    def requester(self) -> bytes:
        return self.messages[0].author

    @property
    def vendor(self) -> bytes | None:
        return self.messages[1].author if len(self.messages) > 1 else None


def bundle(kind: str, net: str, frames: list[bytes]) -> bytes:
    """The bytes of an evidence file. They are verified first: we hand out nothing that would be refused."""
    data = encode([MAGIC, EVIDENCE_VERSION, net, kind, list[Value](frames)])
    verify(data)
    return data


def verify(data: bytes) -> Evidence:
    """Check every signature and every link between the messages. Raises Refused."""
    net, kind, frames = _read_shape(data)
    messages = tuple(_believe(frame, net, kinds) for frame, kinds in zip(frames, PARTS[kind], strict=True))
    if kind != "intent":
        _check_offer(messages[0], messages[1])
    if kind == "contract":
        _check_contract(*messages)
    named = messages[2] if kind == "contract" else messages[-1]
    return Evidence(kind, net, named.id, named.author, named.head.at, messages)


def _read_shape(data: bytes) -> tuple[str, str, list[bytes]]:
    match decode(data, MAX_EVIDENCE):
        case [str(magic), int(version), str(net), str(kind), list(parts)] if magic == MAGIC:
            if type(version) is not int or version != EVIDENCE_VERSION:
                raise Refused(Reason.VERSION, "evidence of another version")
            if kind not in PARTS or len(parts) != len(PARTS[kind]):
                raise Refused(Reason.EVIDENCE, "not a kind of evidence, or not as many frames as it has")
            frames = [part for part in parts if type(part) is bytes]
            if len(frames) != len(parts):
                raise Refused(Reason.EVIDENCE, "a frame is bytes")
            return net, kind, frames
    raise Refused(Reason.EVIDENCE, "not an evidence file")


def _believe(frame: bytes, net: str, kinds: tuple[str, ...]) -> Message:
    unverified = read_frame(frame)
    fields = unverified.peek_unverified()
    if fields.get("kind") not in kinds:
        raise Refused(Reason.EVIDENCE, f"a frame that is not {' or '.join(kinds)}")
    realm = KINDS[kinds[0]].realm
    return believe(verify_frame(unverified, realm, net, fields))


def _check_offer(revision: Message, offer: Message) -> None:
    _check_answers(offer, revision, revision.root)
    if offer.author == revision.author:
        raise Refused(Reason.AUTHOR, "an offer to oneself")


def _check_contract(revision: Message, offer: Message, accept: Message, confirm: Message) -> None:
    _check_answers(accept, offer, revision.root)
    _check_answers(confirm, accept, revision.root)
    if accept.author != revision.author:
        raise Refused(Reason.AUTHOR, "not accepted by the wish's author")
    if confirm.author != offer.author:
        raise Refused(Reason.AUTHOR, "not confirmed by the offer's author")
    if accept.head.exp > offer.head.exp:
        raise Refused(Reason.DEADLINE, "the accept outlives the offer")


def _check_answers(message: Message, answered: Message, root: bytes) -> None:
    if message.ref != answered.id:
        raise Refused(Reason.REF, f"this {message.kind} answers something else")
    if message.head.root != root:
        raise Refused(Reason.ROOT, f"this {message.kind} belongs to another wish")
    if message.head.to != answered.author:
        raise Refused(Reason.TO, f"this {message.kind} was written to somebody else")


__all__ = ["MAX_EVIDENCE", "PARTS", "Evidence", "bundle", "verify"]
