"""Address records: where a node can be dialled, signed by its transport key, handed on by meeting nodes.

The key that signs is the key of the peer id, so nobody can name an address for somebody else. Records expire soon: a
list of where everybody once was helps only those who look for people.
"""

from dataclasses import dataclass
from typing import Final

from .address import NodeAddress
from .envelope import Realm, open_frame
from .errors import Reason, Refused
from .keys import peer_id
from .message import Message, believe, check_time

RECORD_LIFE: Final = 24 * 3600
"""Seconds a record may live at most. Nodes renew theirs whenever they ask."""

MAX_RECORD: Final = 2048
"""Bytes: four addresses and a head are under 1,300."""


@dataclass(frozen=True, slots=True)
class AddressRecord:
    peer: str
    addresses: tuple[str, ...]
    """Ready to dial, each with /p2p/ and the signer's peer id."""
    meeting: bool
    message: Message


def read_record(frame: bytes, net: str, now: int) -> AddressRecord:
    """Verify a record. Raises Refused, also for expired ones and for those that claim to live longer than a day."""
    message = believe(open_frame(frame, Realm.ADDRESS, net, MAX_RECORD))
    check_time(message.head, now)
    if message.head.exp - message.head.at > RECORD_LIFE:
        raise Refused(Reason.LIFE, "address records live a day at most")
    assert isinstance(message.body, NodeAddress)
    peer = peer_id(message.author)
    return AddressRecord(
        peer, tuple(f"{addr}/p2p/{peer}" for addr in message.body.addrs), message.body.meeting, message
    )
