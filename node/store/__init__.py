"""What survives a restart."""

from .mail import HeldRow, InboxRow
from .room import Room
from .store import Store, open_store, open_store_nowait
from .tx import (
    KEEP_ENDED,
    Answered,
    AnsweredRow,
    DepositRow,
    HoldRow,
    HookRow,
    OutboxRow,
    PostingRow,
    SendRow,
    StoredMessage,
    ThreadRow,
    Tx,
    WishRow,
)

__all__ = [
    "KEEP_ENDED",
    "Answered",
    "AnsweredRow",
    "DepositRow",
    "HeldRow",
    "HoldRow",
    "HookRow",
    "InboxRow",
    "OutboxRow",
    "PostingRow",
    "Room",
    "SendRow",
    "Store",
    "StoredMessage",
    "ThreadRow",
    "Tx",
    "WishRow",
    "open_store",
    "open_store_nowait",
]
