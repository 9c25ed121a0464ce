"""What survives a restart."""

from .room import Room
from .store import Store, open_store, open_store_nowait
from .tx import AnsweredRow, OutboxRow, PostingRow, StoredMessage, ThreadRow, Tx, WishRow

__all__ = [
    "AnsweredRow",
    "OutboxRow",
    "PostingRow",
    "Room",
    "Store",
    "StoredMessage",
    "ThreadRow",
    "Tx",
    "WishRow",
    "open_store",
    "open_store_nowait",
]
