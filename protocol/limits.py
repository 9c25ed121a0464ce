"""Every number on the wire, each with its reason.

Version 1 never changes these: two nodes that disagree about a limit disagree about which messages exist.
"""

from typing import Final

VERSION: Final = 1
"""Major version. A new one is a new topic and a new stream protocol, so both can run side by side."""

# ---------------------------------------------------------------------------------------------------- encoding

MAX_DEPTH: Final = 8
"""Nested maps and arrays; the outermost is 1. Deep enough for a property inside a list inside a body, and shallow
enough that recursion is never a danger."""

MAX_KEYS: Final = 64
"""Keys in a map. The widest body of version 1 has 19."""

MAX_ITEMS: Final = 256
"""Items in an array. The longest list of version 1 is 64 identifiers."""

MAX_KEY_CHARS: Final = 64
"""Characters in a map key: room for a reverse-domain extension name."""

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
"""Integers are int64: the widest range every language on the network can hold exactly."""

# ------------------------------------------------------------------------------------------------------- sizes

MAX_GOSSIP_FRAME: Final = 8 * 1024
"""Bytes. A broadcast costs every node about six copies; typical wishes are 0.5 to 1.5 KiB."""

MAX_ITEM: Final = 60_000
"""Bytes of one direct item, and of one answer on any of our stream protocols. Streams of the library we stand on
break above 64 KiB (node/network/README.md)."""

PAD_SIZES: Final = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 59_392)
"""Bytes a direct frame is padded to before it is sealed: nine sizes tell an observer little. The last is what fits
into MAX_ITEM beside the item's other fields (at most 190 bytes)."""

MAX_RPC: Final = 64 * 1024
"""Bytes of one gossip RPC: eight of our largest frames."""

# -------------------------------------------------------------------------------------------------------- time

MAX_SKEW: Final = 120
"""Seconds a clock may be wrong. Home computers are; Ethereum's 0.5 s and Waku's 20 s are for kept servers."""

MIN_LIFE: Final = 5 * 60
"""Seconds. What a person's node refuses to publish below; a rule for authors, not a reason to reject."""

MAX_LIFE: Final = 30 * 24 * 3600
"""Seconds. Bounds how long anybody must remember a tombstone."""

DEFAULT_LIFE: Final = 7 * 24 * 3600
"""Seconds. Long enough for a vendor who reads his messages on Monday."""

STOCK_HOLD: Final = 10 * 60
"""Seconds a vendor holds stock for an accept that is not confirmed yet."""

THREAD_GRACE: Final = 24 * 3600
"""Seconds after close for which both sides keep a thread's keys, so that late resends can still be acknowledged."""

# ------------------------------------------------------------------------------------------------------ gossip

STAMP_BITS: Final = {"main": 18}
"""Trailing zero bits a gossip frame's id must have, by network; 0 on every network not listed. 18 bits cost a
laptop about a tenth of a second: a courtesy price, neither a wall against a GPU nor against mining ahead."""

GOSSIP_ID_BYTES: Final = 20
"""Bytes of the gossip message id: what Ethereum uses; a collision only hides one copy of one message."""

# ----------------------------------------------------------------------------------------------------- catch-up

SYNC_SALT: Final = 16
SYNC_MARK: Final = 8
"""Bytes. A mark hides a difference once in 2^64 looks, and the next round has another salt: nobody can prepare one."""

SYNC_FEW: Final = 8
"""Ids of a range that is never split. Sixteen marks cost as much as four ids; of 4, 8, 12 and 16 this is cheapest over
sets of 400 to 100,000."""

SYNC_DIGITS: Final = 16
"""Hex digits of the smallest range: two ids that share them cost their author 2^64 hashes."""

SYNC_GET: Final = 64
"""Frames asked for at once; typical ones just fit into an answer."""

SYNC_ANSWER: Final = 50_000
"""Bytes of parts or frames in one answer: MAX_ITEM with room to spare."""

# ------------------------------------------------------------------------------------------------------- texts

MAX_NET_CHARS: Final = 32
MAX_TITLE: Final = 200
MAX_NOTE: Final = 1000
MAX_LABEL: Final = 80
MAX_CONTACT: Final = 500
"""Characters (code points) of texts written by people."""

MAX_REPLY_ROUTES: Final = 4
MAX_ADDRESS_CHARS: Final = 200
"""A way back is one multiaddr; four of them are a direct address, a relay, a mailbox and a spare."""

DEFAULT_MAX_OFFERS: Final = 30
MAX_MAX_OFFERS: Final = 100
"""Offers a person wants to see. Ten times as many are pooled until the deadline, then the best are kept."""

MAX_SPREAD: Final = 600
"""Seconds over which vendors may be asked to scatter their answers."""
