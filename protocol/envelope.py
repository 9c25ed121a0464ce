"""Frames (signed bytes) and items (sealed frames). With keys.py the only user of nacl.

    frame  = [key, signature, payload]                                        what was signed, as it travels
    item   = [1, to_box, tkey, n, exp, nonce, ciphertext, stamp]              a frame of realm direct, sealed
    hint   = [0, digest, code, arg]                                           unsealed, changes nothing of a deal

Opening asks *whose* world the signature belongs to: realm and network come from where the frame was received, never
from what it says, so a frame of one realm or network is worthless in every other.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from .codec import Map, decode, decode_map, encode
from .errors import Reason, Refused
from .keys import KEY_BYTES, SIGNATURE_BYTES, BoxKey, SigningKey, verifies
from .limits import INT_MAX, MAX_ITEM, PAD_SIZES

ID_BYTES: Final = 32
NONCE_BYTES: Final = 24
STAMP_BYTES: Final = 8
NO_STAMP: Final = bytes(STAMP_BYTES)
_TAG_BYTES: Final = 16
_SEALED_SIZES: Final = frozenset(size + _TAG_BYTES for size in PAD_SIZES)


class Realm(StrEnum):
    """Where a signature is valid."""

    GOSSIP = "gossip"  # on topic channels
    DIRECT = "direct"  # inside sealed items
    ADDRESS = "address"  # address records of nodes, handed on by meeting nodes
    MAILBOX = "mailbox"  # said to the one mailbox it names


def digest(data: bytes) -> bytes:
    """BLAKE2b-256: 32 bytes."""
    return blake2b(data, digest_size=ID_BYTES).digest()


def id_of(key: bytes, payload: bytes) -> bytes:
    """The id of a frame. The signature is outside, so signing twice does not make two messages."""
    return digest(key + payload)


def zero_bits(value: bytes) -> int:
    """Trailing zero bits of a hash."""
    number = int.from_bytes(value, "big")
    return (number & -number).bit_length() - 1 if number else len(value) * 8


# ---------------------------------------------------------------------------------------------------------- frames


@dataclass(frozen=True, slots=True)
class Unverified:
    """A frame that looks like one. Nobody has checked the signature: the fields are claims."""

    key: bytes
    signature: bytes
    payload: bytes
    frame: bytes
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", id_of(self.key, self.payload))

    def peek_unverified(self) -> Map:
        """The payload's map, canonical and within limits, but not believed. Raises Refused."""
        return decode_map(self.payload)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A frame whose signature verified in this realm and network. Who signed is certain; what it says is not judged."""

    id: bytes
    author: bytes
    fields: Map
    frame: bytes
    realm: Realm
    net: str


def sign(payload: bytes, key: SigningKey, realm: Realm, net: str) -> bytes:
    """The frame of a payload."""
    signature = key.sign(_signed_bytes(payload, realm, net))
    return encode([key.public, signature, payload])


def read_frame(frame: bytes, max_bytes: int = MAX_ITEM) -> Unverified:
    """Split a frame without believing it. Raises Refused."""
    payload_at = _payload_at(frame)
    if payload_at is not None and len(frame) <= max_bytes:
        return Unverified(frame[3:35], frame[37:101], frame[payload_at:], frame)
    parts = decode(frame, max_bytes)  # which finds out what is wrong with it
    if not isinstance(parts, list) or len(parts) != 3:
        raise Refused(Reason.FRAME, "not [key, signature, payload]")
    key, signature, payload = parts
    if (
        type(key) is not bytes
        or type(signature) is not bytes
        or type(payload) is not bytes
        or len(key) != KEY_BYTES
        or len(signature) != SIGNATURE_BYTES
    ):
        raise Refused(Reason.FRAME, "not [key (32), signature (64), payload]")
    return Unverified(key, signature, payload, frame)


def _payload_at(frame: bytes) -> int | None:
    """Where the payload begins in a frame that is spelled as every frame is; None for what only looks similar."""
    if frame[:3] != b"\x93\xc4\x20" or frame[35:37] != b"\xc4\x40":
        return None
    if frame[101:102] == b"\xc4":  # one byte of length
        return 103 if len(frame) > 102 and len(frame) - 103 == frame[102] else None
    if frame[101:102] == b"\xc5":  # two
        size = int.from_bytes(frame[102:104], "big")
        return 104 if size > 255 and len(frame) - 104 == size else None
    return None


def verify(unverified: Unverified, realm: Realm, net: str, fields: Map | None = None) -> Envelope:
    """Check the signature for this realm and network. `fields`: the peeked map, if at hand. Raises Refused."""
    if fields is None:
        fields = unverified.peek_unverified()
    if fields.get("net") != net:
        raise Refused(Reason.NET, "of another network")
    if not verifies(unverified.key, unverified.signature, _signed_bytes(unverified.payload, realm, net)):
        raise Refused(Reason.SIGNATURE, "does not verify here")
    return Envelope(unverified.id, unverified.key, fields, unverified.frame, realm, net)


def open_frame(frame: bytes, realm: Realm, net: str, max_bytes: int = MAX_ITEM) -> Envelope:
    """Split, decode and verify. Raises Refused."""
    return verify(read_frame(frame, max_bytes), realm, net)


def recall_frame(frame: bytes, id: bytes, realm: Realm, net: str) -> Envelope:
    """Open a frame that verified once, and was kept under its id. Whether it still says the same is told by the id; the
    signature is not looked at, so who shows the frame to others opens it with `open_frame`. Raises Refused."""
    kept = read_frame(frame)
    fields = kept.peek_unverified()
    if fields.get("net") != net:
        raise Refused(Reason.NET, "of another network")
    if kept.id != id:
        raise Refused(Reason.FRAME, "not what was kept under this id")
    return Envelope(id, kept.key, fields, frame, realm, net)


def _signed_bytes(payload: bytes, realm: Realm, net: str) -> bytes:
    return b"\0".join((b"intentcast/1", realm.encode(), net.encode(), payload))


# ----------------------------------------------------------------------------------------------------------- items


@dataclass(frozen=True, slots=True)
class Item:
    """A sealed frame as it travels. Only `stamp` may differ between two copies of one item."""

    to_box: bytes
    tkey: bytes
    n: int
    exp: int
    nonce: bytes
    ciphertext: bytes
    stamp: bytes

    @property
    def digest(self) -> bytes:
        """Names the item: for duplicates, acks and hints."""
        return digest(encode([1, self.to_box, self.tkey, self.n, self.exp, self.nonce, self.ciphertext]))

    def encoded(self) -> bytes:
        return encode([1, self.to_box, self.tkey, self.n, self.exp, self.nonce, self.ciphertext, self.stamp])


class HintCode(StrEnum):
    NEED_BITS = "need_bits"  # arg: how many zero bits an item's stamp must show
    UNKNOWN_KEY = "unknown_key"  # the box is not known here, or was deleted: the same answer for both
    BUSY = "busy"  # arg: seconds after which a resend may help


@dataclass(frozen=True, slots=True)
class Hint:
    """Advice about one item, unsigned: a sender may act on it, but no deal changes its state by it."""

    digest: bytes
    code: HintCode
    arg: int = 0

    def encoded(self) -> bytes:
        return encode([0, self.digest, self.code.value, self.arg])


def read_item(data: bytes) -> Item | Hint:
    """What came off a direct stream. Raises Refused."""
    parts = decode(data, MAX_ITEM)
    if isinstance(parts, list) and parts and type(parts[0]) is int:
        if parts[0] == 1 and len(parts) == 8:
            return _read_sealed(parts)
        if parts[0] == 0 and len(parts) == 4:
            return _read_hint(parts)
    raise Refused(Reason.ITEM, "neither an item nor a hint")


def _read_sealed(parts: list[object]) -> Item:
    _, to_box, tkey, n, exp, nonce, ciphertext, stamp = parts
    if (
        type(to_box) is bytes
        and len(to_box) == KEY_BYTES
        and type(tkey) is bytes
        and len(tkey) == KEY_BYTES
        and type(n) is int
        and n >= 0
        and type(exp) is int
        and exp >= 0
        and type(nonce) is bytes
        and len(nonce) == NONCE_BYTES
        and type(ciphertext) is bytes
        and type(stamp) is bytes
        and len(stamp) == STAMP_BYTES
    ):
        if len(ciphertext) not in _SEALED_SIZES:
            raise Refused(Reason.PADDING, "not one of the padded sizes")
        return Item(to_box, tkey, n, exp, nonce, ciphertext, stamp)
    raise Refused(Reason.ITEM, "fields of another shape")


def _read_hint(parts: list[object]) -> Hint:
    _, about, code, arg = parts
    if type(about) is bytes and len(about) == ID_BYTES and type(code) is str and type(arg) is int and arg >= 0:
        try:
            return Hint(about, HintCode(code), arg)
        except ValueError:
            pass
    raise Refused(Reason.ITEM, "not a hint we know")


def seal(frame: bytes, own: BoxKey, other: bytes, *, own_is_box: bool, n: int, exp: int, nonce: bytes) -> Item:
    """Seal a direct frame from `own` to the X25519 key `other`.

    own_is_box: True on the side that owns the wish's box. nonce: 24 fresh random bytes; a changed frame needs a new
    one. Raises ValueError if the other key gives no shared secret, Refused if the frame is too long.
    """
    if not 0 <= n <= INT_MAX or len(nonce) != NONCE_BYTES:
        raise ValueError("n counts from 0, a nonce has 24 bytes")
    _, send = own.box_side_keys(other) if own_is_box else own.vendor_side_keys(other)
    head = encode([1, other, own.public, n, exp, nonce])
    ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(_pad(frame), head, nonce, send)
    return Item(other, own.public, n, exp, nonce, ciphertext, NO_STAMP)


def unseal(item: Item, own: BoxKey, *, own_is_box: bool) -> bytes:
    """The frame inside. Raises Refused if it does not open."""
    try:
        receive, _ = own.box_side_keys(item.tkey) if own_is_box else own.vendor_side_keys(item.tkey)
        head = encode([1, item.to_box, item.tkey, item.n, item.exp, item.nonce])
        padded = crypto_aead_xchacha20poly1305_ietf_decrypt(item.ciphertext, head, item.nonce, receive)
    except (ValueError, CryptoError):
        raise Refused(Reason.SEALED, "does not open") from None
    return _unpad(padded)


def reopen(item: Item, own: BoxKey, *, own_is_box: bool) -> bytes:
    """The frame inside an item that `own` sealed itself. Raises Refused if it does not open."""
    try:
        _, send = own.box_side_keys(item.to_box) if own_is_box else own.vendor_side_keys(item.to_box)
        head = encode([1, item.to_box, item.tkey, item.n, item.exp, item.nonce])
        padded = crypto_aead_xchacha20poly1305_ietf_decrypt(item.ciphertext, head, item.nonce, send)
    except (ValueError, CryptoError):
        raise Refused(Reason.SEALED, "does not open") from None
    return _unpad(padded)


def item_stamp_bits(item: Item) -> int:
    """How many zero bits the item's stamp shows."""
    return zero_bits(digest(item.digest + item.stamp))


def _pad(frame: bytes) -> bytes:
    needed = len(frame) + 1
    size = next((size for size in PAD_SIZES if size >= needed), None)
    if size is None:
        raise Refused(Reason.SIZE, f"{len(frame)} bytes do not fit into an item")
    return frame + b"\x80" + bytes(size - needed)


def _unpad(padded: bytes) -> bytes:
    frame, mark, zeros = padded.rpartition(b"\x80")
    if not mark or zeros.strip(b"\0"):
        raise Refused(Reason.PADDING, "not padded by 80 00 00 ...")
    if len(padded) != next(size for size in PAD_SIZES if size >= len(frame) + 1):
        raise Refused(Reason.PADDING, "padded further than needed")
    return frame
