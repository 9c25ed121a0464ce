"""evidence.json: bundles that prove something, and bundles in which one thing is wrong."""

from typing import Any

from protocol.codec import Value, encode
from protocol.envelope import Realm
from protocol.errors import Reason
from protocol.evidence import verify
from protocol.message import Message
from tests.protocol.people import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    HOUR,
    NET,
    NOW,
    accept,
    close,
    confirm,
    offer,
    reject,
    update,
    wish,
)
from tests.vectors.frame_vectors import craft, fields_of

FIRST = wish()
CHANGED = update(FIRST)
OFFERED = offer(FIRST)
YES = accept(OFFERED)
SURE = confirm(YES)
AFRESH = offer(CHANGED, seq=2)
YES_AFRESH = accept(AFRESH, seq=2)


def bundled(kind: str, *messages: Message, net: str = NET) -> bytes:
    return encode(["intentcast/evidence", 1, net, kind, list[Value](message.frame for message in messages)])


def good() -> dict[str, bytes]:
    return {
        "a wish": bundled("intent", FIRST),
        "a revision": bundled("intent", CHANGED),
        "a close": bundled("intent", close(FIRST)),
        "an offer": bundled("offer", FIRST, OFFERED),
        "a contract": bundled("contract", FIRST, OFFERED, YES, SURE),
        "a contract about a revision": bundled("contract", CHANGED, AFRESH, YES_AFRESH, confirm(YES_AFRESH)),
    }


def refused() -> dict[str, tuple[bytes, Reason]]:
    frames: list[Value] = [message.frame for message in (FIRST, OFFERED, YES, SURE)]
    long = accept(OFFERED, exp=NOW + DAY + HOUR)
    forged = craft(fields_of(SURE), BOB.key, Realm.GOSSIP)
    astray = accept(OFFERED, root=CHANGED.id)
    own = offer(FIRST, ALICE, to=ALICE.key.public)
    return {
        "no bundle": (encode("evidence"), Reason.EVIDENCE),
        "of another name": (encode(["intentcast/proof", 1, NET, "contract", frames]), Reason.EVIDENCE),
        "of another version": (encode(["intentcast/evidence", 2, NET, "contract", frames]), Reason.VERSION),
        "version true": (encode(["intentcast/evidence", True, NET, "contract", frames]), Reason.VERSION),
        "of another network": (bundled("intent", FIRST, net="main"), Reason.NET),
        "a kind nobody knows": (bundled("deal", FIRST), Reason.EVIDENCE),
        "a frame too few": (bundled("contract", FIRST, OFFERED, YES), Reason.EVIDENCE),
        "a byte behind": (bundled("intent", FIRST) + b"\0", Reason.NOT_MSGPACK),
        "a frame as a text": (encode(["intentcast/evidence", 1, NET, "intent", ["frame"]]), Reason.EVIDENCE),
        "an offer as a wish": (bundled("intent", OFFERED), Reason.EVIDENCE),
        "an offer for a close": (bundled("offer", close(FIRST), OFFERED), Reason.EVIDENCE),
        "a reject as a confirm": (bundled("contract", FIRST, OFFERED, YES, reject(YES)), Reason.EVIDENCE),
        "an offer for another revision": (bundled("offer", CHANGED, OFFERED), Reason.REF),
        "an accept under another root": (
            bundled("contract", FIRST, OFFERED, astray, confirm(astray)),
            Reason.ROOT,
        ),
        "an offer written to somebody else": (bundled("offer", FIRST, offer(FIRST, to=CAROL.key.public)), Reason.TO),
        "an offer to oneself": (bundled("offer", FIRST, own), Reason.AUTHOR),
        "accepted by somebody else": (bundled("contract", FIRST, OFFERED, theirs(), confirm(theirs())), Reason.AUTHOR),
        "confirmed by somebody else": (bundled("contract", FIRST, OFFERED, YES, confirm(YES, CAROL)), Reason.AUTHOR),
        "an accept longer than its offer": (
            bundled("contract", FIRST, OFFERED, long, confirm(long)),
            Reason.DEADLINE,
        ),
        "a confirm signed for gossip": (
            encode(["intentcast/evidence", 1, NET, "contract", [*frames[:3], forged]]),
            Reason.SIGNATURE,
        ),
    }


def theirs() -> Message:
    """Carol accepts what was offered to Alice."""
    return accept(OFFERED, CAROL)


def build() -> dict[str, Any]:
    return {
        "about": "Bundles that anybody can check, with the ids in them; and what nobody believes. The reason is this "
        "implementation's word.",
        "good": [
            {"name": name, "evidence": data.hex(), "ids": [message.id.hex() for message in verify(data).messages]}
            for name, data in good().items()
        ],
        "refused": [
            {"name": name, "evidence": data.hex(), "reason": reason.value} for name, (data, reason) in refused().items()
        ],
    }
