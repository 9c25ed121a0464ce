"""A second node, written from protocol/README.md alone: it imports nothing of this project and reads the vectors.

Its own msgpack, another library's Ed25519, X25519 and ChaCha20, and XChaCha20 made of those by hand. That it finds the
same bytes says that the book is enough, and that no byte of ours is an accident of a library.
"""

import struct
from hashlib import blake2b, sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.vectors import build
from tests.vectors.tagged import from_json

FRAMES = build.load("frames.json")["frames"]
ITEMS = build.load("items.json")
IDS = build.load("ids.json")
SYNC = build.load("sync.json")
SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 59392)


def pack(value: Any) -> bytes:
    """The one encoding of a value ("Encoding")."""
    if value is False or value is True:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _pack_integer(value)
    if isinstance(value, str):
        raw = value.encode("utf-8")
        return _header(len(raw), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + raw
    if isinstance(value, bytes):
        return _header(len(value), None, 0, (0xC4, 0xC5, 0xC6)) + value
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode())
        return _header(len(keys), 0x80, 16, (None, 0xDE)) + b"".join(pack(key) + pack(value[key]) for key in keys)
    return _header(len(value), 0x90, 16, (None, 0xDC)) + b"".join(map(pack, value))


def _pack_integer(value: int) -> bytes:
    if -32 <= value < 128:
        return bytes([value & 0xFF])
    first, widths = (0xCC, (1, 2, 4, 8)) if value >= 0 else (0xD0, (1, 2, 4, 8))
    for step, width in enumerate(widths):
        bits = width * 8 - (value < 0)
        if -(1 << bits) <= value < 1 << bits:
            return bytes([first + step]) + value.to_bytes(width, "big", signed=value < 0)
    raise ValueError("an integer outside int64")


def _header(size: int, fix: int | None, below: int, wide: tuple[int | None, ...]) -> bytes:
    if fix is not None and size < below:
        return bytes([fix | size])
    for step, head in enumerate(wide):
        if head is not None and size < 1 << 8 * (1 << step):
            return bytes([head]) + size.to_bytes(1 << step, "big")
    raise ValueError("too long")


def b2(data: bytes) -> bytes:
    return blake2b(data, digest_size=32).digest()


def named(vectors: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


@named(FRAMES)
def test_it_signs_the_same_frames(vector: dict[str, Any]) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed"]))
    public = key.public_key().public_bytes_raw()
    payload = pack(from_json(vector["fields"]))
    context = f"intentcast/1\0{vector['realm']}\0{vector['net']}\0".encode()
    assert pack([public, key.sign(context + payload), payload]).hex() == vector["frame"]
    assert b2(public + payload).hex() == vector["id"]


@named(build.load("codec.json")["good"])
def test_it_writes_the_same_values(vector: dict[str, Any]) -> None:
    assert pack(from_json(vector["value"])).hex() == vector["hex"]


def thread_keys(secret: bytes, other: bytes, is_box: bool) -> tuple[bytes, bytes]:
    """(receives with, sends with): the box side is the server, and the client's public key is hashed first."""
    own = X25519PrivateKey.from_private_bytes(secret)
    public = own.public_key().public_bytes_raw()
    shared = own.exchange(X25519PublicKey.from_public_bytes(other))
    client, server = (other, public) if is_box else (public, other)
    both = blake2b(shared + client + server).digest()
    return (both[32:], both[:32]) if is_box else (both[:32], both[32:])


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """draft-irtf-cfrg-xchacha, 2.2: twenty rounds, first and last row, no addition."""
    x = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), *struct.unpack("<4I", nonce)]

    def turn(a: int, b: int, c: int, d: int) -> None:
        for first, second, third, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[first] = (x[first] + x[second]) & 0xFFFFFFFF
            mixed = x[third] ^ x[first]
            x[third] = (mixed << bits | mixed >> 32 - bits) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            turn(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            turn(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<8I", *x[:4], *x[12:])


def xchacha(key: bytes, nonce: bytes) -> tuple[ChaCha20Poly1305, bytes]:
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])), bytes(4) + nonce[16:]


def padded(frame: bytes) -> bytes:
    return (frame + b"\x80").ljust(next(size for size in SIZES if size > len(frame)), b"\0")


@named(ITEMS["good"])
def test_it_seals_the_same_items(vector: dict[str, Any]) -> None:
    to_box, tkey, nonce = (bytes.fromhex(vector[name]) for name in ("to_box", "tkey", "nonce"))
    receives, sends = thread_keys(bytes.fromhex(vector["sender_secret"]), to_box, vector["sender_is_box"])
    assert (receives.hex(), sends.hex()) == (vector["sender_receives_with"], vector["sender_sends_with"])
    head = [1, to_box, tkey, vector["n"], vector["exp"], nonce]
    cipher, short = xchacha(sends, nonce)
    ciphertext = cipher.encrypt(short, padded(bytes.fromhex(vector["frame"])), pack(head))
    assert pack([*head, ciphertext, bytes(8)]).hex() == vector["item"]
    assert b2(pack([*head, ciphertext])).hex() == vector["digest"]


@named(ITEMS["good"])
def test_it_opens_the_same_items(vector: dict[str, Any]) -> None:
    receiver, nonce = vector["receiver"], bytes.fromhex(vector["nonce"])
    receives, _ = thread_keys(bytes.fromhex(receiver["own"]), bytes.fromhex(vector["tkey"]), receiver["own_is_box"])
    item = bytes.fromhex(vector["item"])
    associated = bytes.fromhex(vector["associated_data"])
    sealed = item[len(associated) : -10]  # the array's first byte aside, six parts in front and the stamp behind
    cipher, short = xchacha(receives, nonce)
    opened = cipher.decrypt(short, sealed[3:], associated)
    assert opened == padded(bytes.fromhex(vector["frame"]))


@pytest.mark.parametrize(("length", "size"), ITEMS["padding"])
def test_it_pads_alike(length: int, size: int) -> None:
    assert len(padded(bytes(length))) == size


def test_it_finds_the_same_names() -> None:
    for row in IDS["gossip_message_ids"]:
        topic, data = row["topic"].encode(), bytes.fromhex(row["data"])
        assert sha256(struct.pack(">Q", len(topic)) + topic + data).hexdigest()[:40] == row["id"]
    for row in IDS["stamps"]:
        found = b2(bytes.fromhex(row["key"] + row["payload"]))
        assert found.hex() == row["id"]
        assert f"{int.from_bytes(found, 'big'):0256b}"[::-1].index("1") == row["bits"]
    for row in IDS["item_stamps"]:
        found = b2(bytes.fromhex(row["digest"] + row["stamp"]))
        assert f"{int.from_bytes(found, 'big'):0256b}"[::-1].index("1") == row["bits"]
    for row in IDS["keys"]:
        assert "did:key:z" + base58(b"\xed\x01" + bytes.fromhex(row["key"])) == row["did"]
        assert base58(bytes.fromhex("002408011220" + row["key"])) == row["peer_id"]


def fingerprint(ids: list[str], digits: str = "") -> bytes:
    here = sorted(one for one in ids if one[: len(digits)] == digits)
    if len(here) < 9 or len(digits) == 16:
        return b2(bytes.fromhex("00" + "".join(here)))
    return b2(b"\x01" + b"".join(fingerprint(here, f"{digits}{digit:x}") for digit in range(16)))


def test_it_finds_the_same_fingerprints_and_lists_what_is_missing() -> None:
    for case in SYNC["fingerprints"]:
        for row in case["ranges"]:
            found = fingerprint(case["ids"], row["digits"])
            assert found.hex() == row["fingerprint"]
            assert b2(bytes.fromhex(case["salt"]) + found)[:8].hex() == row["mark"]
    for talk in SYNC["talks"]:
        assert sorted(set(talk["held_by_other"]) - set(talk["held"])) == talk["missing"]


def base58(data: bytes) -> str:
    letters, text, number = (
        "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
        "",
        int.from_bytes(data, "big"),
    )
    while number:
        number, digit = divmod(number, 58)
        text = letters[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text
