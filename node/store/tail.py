"""The end of SQLite's write-ahead log: was there more than could be read?

SQLite drops, without a word, what comes behind the first frame of the log that is not whole. After a power cut that is
the transaction that was being written, which nobody was told of. On a disk that garbled what it had synced it is more
than that, and nobody could say afterwards. So it is told: we look how many frames claim to belong to the log before
SQLite opens it, and how many it took. What is simply not there any more, because the file ends earlier, nobody sees.
Format: https://www.sqlite.org/fileformat2.html#walformat
"""

import struct
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct(">IIIIIIII")
"""magic, version, page size, checkpoint, salt, salt, checksum, checksum"""
_FRAME: Final = struct.Struct(">IIIIII")
"""page, size of the file at a commit, salt, salt, checksum, checksum"""
_MAGIC: Final = (0x377F0682, 0x377F0683)


def frames_claimed(log: Path) -> int:
    """Frames in a log that its header calls its own; -1 if the header itself is damaged. 0: there is no log."""
    try:
        with open(log, "rb") as file:
            head = file.read(_HEADER.size)
            if not head.strip(b"\0"):
                return 0
            if len(head) < _HEADER.size or not _is_whole(head):
                return -1
            _, _, page, _, *salts, _, _ = _HEADER.unpack(head)
            count = 0
            while len(frame := file.read(_FRAME.size)) == _FRAME.size:
                # An older round of the log leaves its frames behind the newest one's, under other salts.
                if list(_FRAME.unpack(frame)[2:4]) != salts:
                    break
                count += 1
                file.seek(page, 1)
            return count
    except OSError:
        return 0


def _is_whole(head: bytes) -> bool:
    magic = _HEADER.unpack(head)[0]
    if magic not in _MAGIC:
        return False
    words = struct.unpack(f"{'>' if magic & 1 else '<'}6I", head[:24])
    first = second = 0
    for left, right in zip(words[::2], words[1::2], strict=True):
        first = (first + left + second) & 0xFFFFFFFF
        second = (second + right + first) & 0xFFFFFFFF
    return (first, second) == _HEADER.unpack(head)[6:]
