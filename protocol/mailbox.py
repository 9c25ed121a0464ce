"""Mailboxes: nodes that hold sealed items for a peer that is away.

A mailbox believes the receiver about two things, each signed for this mailbox alone: that it may hold something for
this key (grant), and that the one who asks now is this key (claim). Everything else it sees is sealed.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from .envelope import digest, zero_bits
from .schema import Bin, Int, Text

PEER: Final = r"[A-Za-z0-9]{32,64}"

MAX_GRANT_BYTES: Final = 4 * 1024 * 1024
"""What a receiver may ask one mailbox to hold: 70 of the largest items, some 2,000 usual offers."""

MAX_KNOWN: Final = 256
"""Channels a receiver may name as known: as many as an array holds."""


@dataclass(frozen=True, slots=True)
class MailboxGrant:
    """Hold items for the key that signs this, up to `exp`. The newest (`seq`) counts; one of 0 bytes ends it."""

    mailbox: Annotated[str, Text(64, PEER)]
    """The mailbox's peer id: for any other it means nothing."""
    room: Annotated[int, Int(0, MAX_GRANT_BYTES)]
    """Bytes to hold at most."""


@dataclass(frozen=True, slots=True)
class MailboxClaim:
    """I am the key that signs this, and I am here now."""

    mailbox: Annotated[str, Text(64, PEER)]
    challenge: Annotated[bytes, Bin(32)]
    """What the mailbox made up a moment ago."""


def channel(to_box: bytes, tkey: bytes) -> bytes:
    """Names one direction of one talk. Who knows it is party to the talk, or carried its items."""
    return digest(to_box + tkey)


def stamp_base(mailbox: str, receiver: bytes, item_digest: bytes) -> bytes:
    """What a deposit's stamp is about: this item, for this receiver, at this mailbox. A stamp found once pays once."""
    return digest(b"intentcast/1 deposit\0" + mailbox.encode() + b"\0" + receiver + item_digest)


def stamp_bits(base: bytes, stamp: bytes) -> int:
    """How many zero bits a deposit's stamp shows."""
    return zero_bits(digest(base + stamp))
