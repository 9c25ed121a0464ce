"""Keys are bytes outside and secrets inside; their text form goes there and back."""

import copy
import pickle
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult

from protocol.keys import (
    BoxKey,
    SigningKey,
    base58_decode,
    base58_encode,
    did,
    key_of_did,
    key_of_peer_id,
    peer_id,
    verifies,
)
from tests.protocol.people import ALICE, BOB, derived

KEYS = st.binary(min_size=32, max_size=32)


@given(KEYS)
def test_the_text_form_of_a_key_leads_back_to_it(key: bytes) -> None:
    assert did(key).startswith("did:key:z6Mk")
    assert key_of_did(did(key)) == key
    assert peer_id(key).startswith("12D3KooW")
    assert key_of_peer_id(peer_id(key)) == key


@given(st.binary(max_size=64))
def test_base58_leads_back_to_the_bytes(data: bytes) -> None:
    assert base58_decode(base58_encode(data)) == data


def test_base58_is_that_of_bitcoin() -> None:
    assert base58_encode(bytes.fromhex("00010966776006953d5567439e5e39f86a0d273beed61967f6")) == (
        "16UwLL9Risc3QfPqBUvKofHmBQ7wMtjvM"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "did:key:",
        "did:key:z",
        "did:web:example.org",
        "did:key:z" + base58_encode(b"\xed\x01" + bytes(31)),
        "did:key:z" + base58_encode(b"\xed\x01" + bytes(33)),
        "did:key:z" + base58_encode(b"\xe7\x01" + bytes(32)),  # secp256k1
        "did:key:z6Mk0OIl",
        "did:key:z" + "6" * 200,
    ],
)
def test_what_is_no_key_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"key|base58|long"):
        key_of_did(text)


@pytest.mark.parametrize("text", ["", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", peer_id(bytes(32))[:-1], "0"])
def test_a_peer_id_of_another_sort_has_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"peer id|base58"):
        key_of_peer_id(text)


@pytest.mark.parametrize("secret", [ALICE.key, ALICE.box], ids=["signing", "box"])
def test_secrets_do_not_leave_by_accident(secret: SigningKey | BoxKey) -> None:
    seed = secret.reveal()
    shown = f"{secret} {secret!r} {[secret]} {secret.__dir__()}"
    assert seed.hex() not in shown
    assert repr(seed) not in shown
    assert "(secret)" in repr(secret)
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            leave(secret)
    with pytest.raises(TypeError):
        vars(secret)


def test_a_secret_equals_only_itself() -> None:
    """No comparison that could be timed, and no way to find a key by guessing."""
    assert SigningKey(derived("same")) != SigningKey(derived("same"))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_secret_has_32_bytes(size: int) -> None:
    for make in (SigningKey, BoxKey):
        with pytest.raises(ValueError, match="32 bytes"):
            make(bytes(size))


def test_a_signature_is_of_one_key_and_one_message() -> None:
    signature = ALICE.key.sign(b"yes")
    assert verifies(ALICE.key.public, signature, b"yes")
    assert not verifies(ALICE.key.public, signature, b"no")
    assert not verifies(BOB.key.public, signature, b"yes")
    assert not verifies(ALICE.key.public, signature[:-1], b"yes")
    assert not verifies(ALICE.key.public[:-1], signature, b"yes")
    assert not verifies(b"", b"", b"")


SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_points_of_small_order_sign_nothing(point: str) -> None:
    """With such a key, or such an R, one signature fits many messages."""
    small = bytes.fromhex(point)
    assert not any(verifies(small, small + bytes(32), bytes([number])) for number in range(16))
    signature = ALICE.key.sign(b"yes")
    assert not verifies(ALICE.key.public, small + signature[32:], b"yes")


def test_s_has_one_spelling() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    signature = ALICE.key.sign(b"yes")
    s = int.from_bytes(signature[32:], "little")
    assert not verifies(ALICE.key.public, signature[:32] + (s + order).to_bytes(32, "little"), b"yes")


def test_a_has_one_spelling() -> None:
    """The y of a key below the field's prime: 2**255 - 19 + y would be the same point."""
    for y in range(19):
        encoded = (2**255 - 19 + y).to_bytes(32, "little")
        assert not verifies(encoded, bytes(64), b"yes")


def test_both_sides_of_a_thread_find_the_same_keys() -> None:
    box_receives, box_sends = ALICE.box.box_side_keys(BOB.box.public)
    vendor_receives, vendor_sends = BOB.box.vendor_side_keys(ALICE.box.public)
    assert (box_receives, box_sends) == (vendor_sends, vendor_receives)
    assert box_receives != box_sends
    assert ALICE.box.vendor_side_keys(BOB.box.public) != (box_receives, box_sends), "the roles are part of the keys"


def test_the_keys_of_a_thread_are_made_as_the_book_says() -> None:
    """For those who have no crypto_kx: X25519, then BLAKE2b-512 over it and both public keys, the client's first."""
    shared = crypto_scalarmult(ALICE.box.reveal(), BOB.box.public)
    assert shared == crypto_scalarmult(BOB.box.reveal(), ALICE.box.public)
    both = blake2b(shared + BOB.box.public + ALICE.box.public).digest()
    assert BOB.box.vendor_side_keys(ALICE.box.public) == (both[:32], both[32:])
    assert ALICE.box.box_side_keys(BOB.box.public) == (both[32:], both[:32])


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), b"", bytes(31)])
def test_a_public_key_without_a_shared_secret_is_refused(public: bytes) -> None:
    with pytest.raises(ValueError, match="shared secret"):
        ALICE.box.box_side_keys(public)
    with pytest.raises(ValueError, match="shared secret"):
        ALICE.box.vendor_side_keys(public)
