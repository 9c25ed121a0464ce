"""What a peer can get wrong, and what a node does about it.

There is one exception for everything that comes from outside: `Refused`. It carries a `Reason`, a stable word that is
counted, logged, written in test vectors and sent in problems. Any other exception that leaves this package is a bug
in this package.
"""

from enum import Enum, StrEnum


class Reason(StrEnum):
    """Why something was not believed. The value is the stable name; names are never reused or renamed."""

    # encoding
    SIZE = "size"  # more bytes than the limit for this place
    NOT_MSGPACK = "not_msgpack"  # bytes that do not decode, or with something behind the value
    NOT_CANONICAL = "not_canonical"  # decodes, but is not the one encoding of its value
    TYPE = "type"  # float, nil, extension or a non-text key
    DEPTH = "depth"
    COUNT = "count"  # more keys or items than allowed
    KEY = "key"  # a map key outside [a-z0-9_.-]{1,64}, out of order or twice
    TEXT = "text"  # a control character or one that changes the direction of text
    RANGE = "range"  # an integer outside int64

    # frame and signature
    FRAME = "frame"  # not an array of key, signature and payload
    SIGNATURE = "signature"

    # what every payload says
    HEAD = "head"  # a common field missing or ill-typed
    VERSION = "version"
    NET = "net"
    DIVISION = "division"  # the category's division is not the topic's
    LIFE = "life"  # exp <= at, or more than 30 days
    STAMP = "stamp"  # fewer zero bits than the network asks for
    BODY = "body"  # a known kind with a missing or ill-typed field
    SUM = "sum"  # lines and fees do not add up to the total
    CRITICAL = "critical"  # an extension that must be understood is not

    # not wrong, but not wanted now
    UNKNOWN_KIND = "unknown_kind"
    EARLY = "early"
    EXPIRED = "expired"
    SEEN = "seen"
    SUPERSEDED = "superseded"
    OVER_SHARE = "over_share"

    # sealed items and threads
    ITEM = "item"  # not an item and not a hint
    UNKNOWN_KEY = "unknown_key"  # sealed to a key we never had or have deleted
    SEALED = "sealed"  # does not open: wrong key, or changed on the way
    PADDING = "padding"
    TO = "to"  # signed for another receiver
    TKEY = "tkey"  # inner and outer sender key differ
    EXP = "exp"  # inner and outer expiry differ
    ROOT = "root"  # belongs to another wish
    AUTHOR = "author"  # validly signed, by somebody else than this thread's other party
    SENDER = "sender"  # this kind may not be sent by that role
    REF = "ref"  # answers something this thread does not hold
    DEADLINE = "deadline"  # an accept that outlives its offer

    # streams and the gossip RPC
    LENGTH = "length"  # a length prefix that is too long or not minimal
    RPC = "rpc"  # bytes that are not the gossip RPC
    RPC_SIGNED = "rpc_signed"  # from, seqno, signature or key in a gossip message
    REQUEST = "request"  # a request on one of our stream protocols that is not one

    # evidence files
    EVIDENCE = "evidence"


class Fault(Enum):
    """How a gossip verdict follows from a reason. See the closed list in README.md, "Verdicts"."""

    REJECT = "reject"  # no honest forwarder can have sent this
    IGNORE = "ignore"  # an honest one can


REJECTED_ON_GOSSIP = frozenset(
    {
        Reason.SIZE,
        Reason.NOT_MSGPACK,
        Reason.NOT_CANONICAL,
        Reason.TYPE,
        Reason.DEPTH,
        Reason.COUNT,
        Reason.KEY,
        Reason.TEXT,
        Reason.RANGE,
        Reason.FRAME,
        Reason.SIGNATURE,
        Reason.HEAD,
        Reason.VERSION,
        Reason.NET,
        Reason.DIVISION,
        Reason.LIFE,
        Reason.STAMP,
        Reason.BODY,
    }
)
"""The closed REJECT list. Whatever is not in it is IGNOREd, also what later versions invent."""


class Refused(Exception):
    """Something from outside was not believed.

    `reason` is the stable word; `detail` says where and what, for people; it may quote names of fields but never
    text that came from outside.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail

    @property
    def fault(self) -> Fault:
        return Fault.REJECT if self.reason in REJECTED_ON_GOSSIP else Fault.IGNORE
