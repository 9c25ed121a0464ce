"""Letters: direct messages between the two parties of one wish, from a sealed item to a believed message and back.

What the outside of an item says (to_box, tkey, exp) is anybody's claim until the inside, signed by its author, says
the same. So nobody can seal a stranger's words again and hand them on as their own, and none of it needs a clock.
"""

from dataclasses import replace
from typing import Final

from .envelope import Envelope, Item, Realm, read_frame, seal, unseal, verify
from .errors import Reason, Refused
from .keys import BoxKey, SigningKey
from .kinds import KINDS, Kind
from .message import Draft, Head, Message, believe, read_head, speak

_ROLE_OPPOSITE: Final = {True: "vendor", False: "requester"}
"""own_is_box -> who writes to that side."""


def open_letter(
    item: Item,
    own: BoxKey,
    *,
    own_is_box: bool,
    net: str,
    me: bytes,
    root: bytes,
    expected_author: bytes | None = None,
) -> Message:
    """The believed message inside an item, for the party that owns `own`. Raises Refused.

    me: our signing public key in this thread (a person's is the wish's key). root: the id of the wish's first frame.
    expected_author: the other party's signing key; None where any vendor may write (a first offer).
    Judged from the item alone: expiry, duplicates and the thread's state are the caller's.
    """
    return believe(
        open_envelope(item, own, own_is_box=own_is_box, net=net, me=me, root=root, expected_author=expected_author)
    )


def open_envelope(
    item: Item,
    own: BoxKey,
    *,
    own_is_box: bool,
    net: str,
    me: bytes,
    root: bytes,
    expected_author: bytes | None = None,
) -> Envelope:
    """Like open_letter, without judging the body: for a caller that answers an ill body with a problem."""
    if item.to_box != own.public:
        raise Refused(Reason.UNKNOWN_KEY, "sealed to another key than this one")
    unverified = read_frame(unseal(item, own, own_is_box=own_is_box))
    fields = unverified.peek_unverified()
    if fields.get("net") != net:
        raise Refused(Reason.NET, "of another network")
    head, kind = read_head(fields, Realm.DIRECT)
    _check_role(kind, own_is_box)
    _check_ends(head, item, me, root)
    if unverified.key == me or expected_author not in (None, unverified.key):
        raise Refused(Reason.AUTHOR, "not signed by this thread's other party")
    return verify(unverified, Realm.DIRECT, net, fields)


def write_letter(
    draft: Draft, key: SigningKey, own: BoxKey, other: bytes, *, own_is_box: bool, n: int, nonce: bytes
) -> tuple[Message, Item]:
    """Sign a draft and seal it to `other`: the wish's box, or the `tkey` of the frame it answers.

    `tkey` is filled in from `own`. n: the thread's counter, from 0. nonce: 24 fresh random bytes.
    Raises ValueError for a draft of our own making that no receiver could believe, Refused if it is too long.
    """
    kind = KINDS[draft.kind]
    if kind.realm is not Realm.DIRECT or kind.sender == _ROLE_OPPOSITE[own_is_box]:
        raise ValueError(f"{draft.kind} is not sent by this side")
    if draft.tkey not in (None, own.public):
        raise ValueError("tkey names another key than the one that seals")
    message = speak(replace(draft, tkey=own.public), key)
    item = seal(message.frame, own, other, own_is_box=own_is_box, n=n, exp=message.head.exp, nonce=nonce)
    return message, item


def _check_role(kind: Kind, own_is_box: bool) -> None:
    if kind.sender not in (_ROLE_OPPOSITE[own_is_box], "either"):
        raise Refused(Reason.SENDER, f"{kind.name} is not sent to this side")


def _check_ends(head: Head, item: Item, me: bytes, root: bytes) -> None:
    if head.to != me:
        raise Refused(Reason.TO, "written to somebody else")
    if head.root != root:
        raise Refused(Reason.ROOT, "about another wish")
    if head.tkey != item.tkey:
        raise Refused(Reason.TKEY, "sealed with another key than was signed")
    if head.exp != item.exp:
        raise Refused(Reason.EXP, "inside and outside expire at different times")
