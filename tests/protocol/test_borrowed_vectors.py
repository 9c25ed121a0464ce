"""Exactly what our verification accepts, pinned by the vectors of others: RFC 8032, Wycheproof, CCTV.

If one of these fails after an upgrade, libsodium judges other signatures than before, and nodes with the old one and
nodes with the new one would no longer believe the same. Then the upgrade waits; the test does not bend.
"""

from collections import Counter
from hashlib import blake2b

import pytest

from protocol.keys import BoxKey, SigningKey, verifies
from tests.adversary.points import Case
from tests.vectors.ed25519 import vectors
from tests.vectors.ed25519.vectors import REFUSED, Agreed, Made, Signed

CCTV = vectors.cctv()
WYCHEPROOF = vectors.wycheproof()

ACCEPTED_OF_CCTV = [
    7, 29, 50, 117, 139, 161, 182, 249, 305, 411, 425, 438, 465, 473, 481, 489, 497, 511, 525, 538, 565, 573, 581, 589,
    597, 611, 625, 638, 665, 673, 681, 689, 697, 711, 725, 738, 765, 773, 781, 789, 797, 832, 899,
]  # fmt: skip

OF_WYCHEPROOF = {
    # flag: accepted, refused
    "Valid": (18, 0),
    "Ktv": (38, 0),
    "TinkOverflow": (32, 0),
    "CompressedSignature": (0, 4),
    "InvalidEncoding": (0, 22),
    "InvalidKtv": (0, 1),
    "InvalidSignature": (0, 20),
    "SignatureMalleability": (0, 8),
    "SignatureWithGarbage": (0, 5),
    "TruncatedSignature": (0, 3),
}

OF_CCTV = {
    "low_order_A": (0, 526),
    "low_order_R": (0, 586),
    "non_canonical_A": (0, 226),
    "non_canonical_R": (0, 316),
    "low_order_residue": (0, 583),
    "reencoded_k": (0, 146),
    "low_order_component_A": (42, 732),
    "low_order_component_R": (35, 630),
}


def accepts(one: Signed) -> bool:
    return verifies(one.public, one.signature, one.message)


def by_flag(signed: list[Signed]) -> dict[str, tuple[int, int]]:
    """flag -> accepted, refused"""
    found = Counter((flag, accepts(one)) for one in signed for flag in one.flags)
    return {flag: (found[flag, True], found[flag, False]) for flag, _ in found}


@pytest.mark.parametrize("made", vectors.rfc_8032(), ids=lambda made: made.name)
def test_a_secret_makes_the_key_and_the_signature_of_rfc_8032(made: Made) -> None:
    key = SigningKey(made.secret)
    assert (key.public, key.sign(made.message)) == (made.public, made.signature)
    assert verifies(made.public, made.signature, made.message)
    assert not verifies(made.public, made.signature, made.message + b"\0")


def test_wycheproof_is_judged_as_it_says() -> None:
    assert [one.name for one in WYCHEPROOF if accepts(one) != one.right] == []
    assert by_flag(WYCHEPROOF) == OF_WYCHEPROOF


def test_the_edges_of_cctv_are_judged_flag_by_flag() -> None:
    """Small order and loose spellings are refused for A and for R, and what only a cofactor would make equal; mixed
    order alone is no reason."""
    assert [one.name for one in CCTV if accepts(one) == bool(one.flags & REFUSED)] == []
    assert by_flag(CCTV) == OF_CCTV
    assert [int(one.name) for one in CCTV if accepts(one)] == ACCEPTED_OF_CCTV


def test_flags_and_the_curve_itself_say_the_same() -> None:
    """Our rule in whole numbers, from the curve's equation, comes to the same answer for each of the vectors."""
    whole = [one for one in [*CCTV, *WYCHEPROOF] if len(one.signature) == 64]
    assert [
        one.name for one in whole if Case(one.public, one.signature, one.message, one.name).expected() != one.right
    ] == []


def test_keys_to_a_box_are_agreed_with_or_refused() -> None:
    """X25519 of Wycheproof: the keys of a thread are those of the book, or none where the shared secret is zero."""
    refused = [one for one in vectors.x25519() if keys_of_vendor(one) is None]
    assert {one.name for one in refused} == {one.name for one in vectors.x25519() if not any(one.shared)}
    assert len(refused) == 31
    assert all("ZeroSharedSecret" in one.flags for one in refused)


def keys_of_vendor(one: Agreed) -> tuple[bytes, bytes] | None:
    own = BoxKey(one.private)
    try:
        keys = own.vendor_side_keys(one.public)
    except ValueError:
        return None
    both = blake2b(one.shared + own.public + one.public).digest()
    assert keys == (both[:32], both[32:]), one.name
    return keys
