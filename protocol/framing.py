"""Items on a stream: an unsigned varint that counts bytes, then the bytes.

Gossip RPCs and direct messages travel this way. A length is read without trust: at most as many digits as the largest
allowed item needs, one spelling per number, and no byte of an item is kept before its length was found to be allowed.
"""

from .errors import Reason, Refused


def encode_varint(number: int) -> bytes:
    """Seven bits per byte, lowest first, the high bit set on all but the last byte. Raises ValueError below zero."""
    if number < 0:
        raise ValueError("a varint counts from zero")
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def frame_with_length(data: bytes) -> bytes:
    """One item as it stands on a stream."""
    return encode_varint(len(data)) + data


class Deframer:
    """Cuts one stream into items. Never holds more than one unfinished item beside what it was last fed.

    Once it has refused, the stream has no meaning any more: every later `feed` refuses again.
    """

    __slots__ = ("_buffer", "_max_bytes", "_max_digits", "_need", "_refused")

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` is the size of the largest item, without its length."""
        self._max_bytes = max_bytes
        self._max_digits = len(encode_varint(max_bytes))
        self._buffer = bytearray()
        self._need = 1  # bytes the buffer must hold before looking at it again is worth while
        self._refused: Refused | None = None

    @property
    def pending(self) -> int:
        """Bytes of an unfinished item. Not zero at the end of a stream: the peer broke off in the middle."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The items that `data` completes, in order; an item may be empty.

        Raises Refused with LENGTH (too many digits, or a number spelled longer than needed) or SIZE (a length over
        `max_bytes`). Items before the bad length in the same `data` are lost with it: the stream is to be reset.
        """
        if self._refused is not None:
            raise self._refused
        self._buffer += data
        if len(self._buffer) < self._need:
            return []
        items: list[bytes] = []
        start = 0
        view = bytes(self._buffer)  # slices of bytes are the items themselves: no second copy
        while True:
            try:
                head = self._read_length(view, start)
            except Refused as refused:
                self._refused = refused
                self._buffer.clear()
                raise
            if head is None:
                self._need = 1
                break
            body, end = head
            if end > len(view):
                self._need = end - start
                break
            items.append(view[body:end])
            start = end
        del self._buffer[:start]
        return items

    def _read_length(self, view: bytes, start: int) -> tuple[int, int] | None:
        """Where the item at `start` has its first byte, and the byte after its last; None if the length is cut."""
        length = shift = 0
        for digits, byte in enumerate(view[start : start + self._max_digits], 1):
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and digits > 1:
                    raise Refused(Reason.LENGTH, "not the shortest spelling")
                if length > self._max_bytes:
                    raise Refused(Reason.SIZE, f"{length} bytes, at most {self._max_bytes}")
                return start + digits, start + digits + length
            shift += 7
        if len(view) - start >= self._max_digits:
            raise Refused(Reason.LENGTH, f"more than {self._max_digits} digits")
        return None
