"""Keys and their text form. Secrets never print, compare or pickle; public keys are plain 32 bytes.

Three kinds of keys: Ed25519 to sign (a person: one per wish; a vendor: one that lasts; a node: its transport
identity), X25519 to be written to. All verification in the network is PyNaCl's: cofactorless, canonical S and A,
small-order A and R refused. Another library accepts other signatures, and the network would split over them.
"""

from typing import Final, NoReturn

from nacl.bindings import (
    crypto_kx_client_session_keys,
    crypto_kx_server_session_keys,
    crypto_scalarmult_base,
    crypto_sign_open,
)
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey as _NaclSigningKey

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_DID_ED25519 = b"\xed\x01"  # multicodec ed25519-pub
_PEER_ID_ED25519 = b"\x00\x24\x08\x01\x12\x20"  # identity multihash, 36 bytes, protobuf {type: Ed25519, data: 32}
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class _Secret:
    """32 bytes that do not leave by accident: no repr, no comparison, no pickle. `reveal()` says so when they do."""

    __slots__ = ("_seed",)

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise ValueError(f"a secret key has {KEY_BYTES} bytes, not {len(seed)}")
        self._seed = bytes(seed)

    def reveal(self) -> bytes:
        """The 32 secret bytes, for writing them into a key file or store."""
        return self._seed

    def __repr__(self) -> str:
        return f"{type(self).__name__}(secret)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secret keys are not pickled")


class SigningKey(_Secret):
    """An Ed25519 key pair, from its 32-byte seed (RFC 8032)."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        self._key = _NaclSigningKey(self._seed)
        self.public = bytes(self._key.verify_key)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature."""
        return self._key.sign(message).signature


class BoxKey(_Secret):
    """An X25519 key pair, from its 32 secret bytes."""

    __slots__ = ("public",)

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        self.public = bytes(crypto_scalarmult_base(self._seed))

    def box_side_keys(self, vendor_public: bytes) -> tuple[bytes, bytes]:
        """(receive, send) keys of the side that owns the wish's box: always the server of crypto_kx.

        Raises ValueError for a public key that gives no shared secret (low order).
        """
        try:
            rx, tx = crypto_kx_server_session_keys(self.public, self._seed, vendor_public)
        except (CryptoError, TypeError, ValueError) as error:
            raise ValueError("no shared secret with that key") from error
        return bytes(rx), bytes(tx)

    def vendor_side_keys(self, box_public: bytes) -> tuple[bytes, bytes]:
        """(receive, send) keys of the vendor's side: always the client of crypto_kx. Raises ValueError likewise."""
        try:
            rx, tx = crypto_kx_client_session_keys(self.public, self._seed, box_public)
        except (CryptoError, TypeError, ValueError) as error:
            raise ValueError("no shared secret with that key") from error
        return bytes(rx), bytes(tx)


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """True if this key signed exactly this message."""
    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except (BadSignatureError, CryptoError, ValueError, TypeError):
        return False
    return True


def did(public: bytes) -> str:
    """The text form of a signing key: did:key with the Ed25519 multicodec, as `did:key:z6Mk...`."""
    return "did:key:z" + base58_encode(_DID_ED25519 + public)


def key_of_did(text: str) -> bytes:
    """The public key of its text form. Raises ValueError."""
    if not text.startswith("did:key:z"):
        raise ValueError("a key starts with did:key:z")
    raw = base58_decode(text[len("did:key:z") :])
    if raw[:2] != _DID_ED25519 or len(raw) != 2 + KEY_BYTES:
        raise ValueError("not an Ed25519 did:key")
    return raw[2:]


def peer_id(public: bytes) -> str:
    """The libp2p peer id (`12D3KooW...`) of an Ed25519 transport key."""
    return base58_encode(_PEER_ID_ED25519 + public)


def key_of_peer_id(text: str) -> bytes:
    """The Ed25519 key inside a peer id. Raises ValueError for other kinds of peer ids."""
    raw = base58_decode(text)
    if raw[: len(_PEER_ID_ED25519)] != _PEER_ID_ED25519 or len(raw) != len(_PEER_ID_ED25519) + KEY_BYTES:
        raise ValueError("not the peer id of an Ed25519 key")
    return raw[len(_PEER_ID_ED25519) :]


def base58_encode(data: bytes) -> str:
    """Base58 with Bitcoin's alphabet (base58btc)."""
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_ALPHABET[digit])
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + "".join(reversed(digits))


def base58_decode(text: str) -> bytes:
    """The bytes of base58btc text. Raises ValueError; texts over 128 characters are refused (the work is quadratic)."""
    if len(text) > 128:
        raise ValueError("too long for a key")
    number = 0
    for character in text:
        digit = _ALPHABET.find(character)
        if digit < 0:
            raise ValueError("not base58")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
