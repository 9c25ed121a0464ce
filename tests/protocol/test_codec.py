"""One encoding per value: whatever decodes is the only spelling of what it says, and everything else is Refused.

Every rule about single values has its vectors (tests/vectors/codec.json); here are the properties over all of them.
"""

from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.codec import decode, decode_map, encode, text_is_clean
from protocol.errors import Reason, Refused
from protocol.limits import INT_MAX, INT_MIN, MAX_DEPTH

KEYS = st.text("abcxyz0189_.-", min_size=1, max_size=12).filter(lambda key: key not in ("note", "chat"))
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf"]), max_size=40)
SCALARS = st.integers(INT_MIN, INT_MAX) | TEXTS | st.binary(max_size=300) | st.booleans()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(KEYS, inner, max_size=20),
    max_leaves=30,
).filter(lambda value: depth(value) <= MAX_DEPTH)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    assert decode(encode(value)) == value


@given(st.dictionaries(KEYS, SCALARS, max_size=20), st.randoms(use_true_random=False))
def test_the_order_in_which_a_map_was_built_does_not_show(value: dict[str, Any], random: Any) -> None:
    shuffled = list(value.items())
    random.shuffle(shuffled)
    assert encode(dict(shuffled)) == encode(value)


@settings(max_examples=1000)
@given(st.binary(max_size=80))
@example(b"\x91" * 60_000)
@example(b"\x81\xa1a" * 19_000)
@example(b"\xdd\x00\x00\x01\x00" + b"\xc0" * 256)
def test_any_bytes_are_the_one_encoding_of_a_value_or_refused(data: bytes) -> None:
    assert_one_spelling(data)


@settings(max_examples=100)
@given(VALUES, st.data())
def test_a_changed_byte_gives_another_value_or_is_refused(value: Any, data: st.DataObject) -> None:
    good = encode(value)
    at = data.draw(st.integers(0, len(good) - 1))
    new = data.draw(st.integers(0, 255))
    assert_one_spelling(good[:at] + bytes([new]) + good[at + 1 :])


@given(VALUES | st.floats(width=32) | st.none())
def test_what_another_msgpack_writes_is_read_only_if_canonical(value: Any) -> None:
    """The usual library, in its usual modes: long headers for binaries, single floats, maps in any order."""
    for options in ({"use_bin_type": True}, {"use_bin_type": False}, {"use_single_float": True}):
        assert_one_spelling(msgpack.packb(value, **options))


def assert_one_spelling(data: bytes) -> None:
    try:
        value = decode(data)
    except Refused:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1.0, Reason.TYPE),
        (None, Reason.TYPE),
        ({1: 2}, Reason.TYPE),
        ({"A": 1}, Reason.KEY),
        ({"": 1}, Reason.KEY),
        (2**63, Reason.RANGE),
        (-(2**63) - 1, Reason.RANGE),
        (list(range(257)), Reason.COUNT),
        ({f"k{i}": i for i in range(65)}, Reason.COUNT),
        ("a\u202eb", Reason.TEXT),
        ("\ud800", Reason.TEXT),
        ({"title": "a\nb"}, Reason.TEXT),
        ([[[[[[[[[]]]]]]]]], Reason.DEPTH),
    ],
)
def test_what_we_would_not_read_we_do_not_write(value: Any, reason: Reason) -> None:
    with pytest.raises(Refused) as refused:
        encode(value)
    assert refused.value.reason is reason


def test_a_reader_may_ask_for_less_than_the_most() -> None:
    data = encode({"a": bytes(100)})
    assert decode(data, len(data)) == {"a": bytes(100)}
    with pytest.raises(Refused) as refused:
        decode(data, len(data) - 1)
    assert refused.value.reason is Reason.SIZE


def test_a_map_is_asked_for() -> None:
    assert decode_map(encode({"a": 1})) == {"a": 1}
    with pytest.raises(Refused) as refused:
        decode_map(encode([1]))
    assert refused.value.reason is Reason.TYPE


def test_exactly_the_forbidden_characters_are_refused() -> None:
    """The whole list, code point by code point, as the book has it."""
    control = {*range(0x20), *range(0x7F, 0xA0)}
    bidi = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    for code in range(0x1_1000):
        if 0xD800 <= code < 0xE000:
            continue
        assert text_is_clean(f"a{chr(code)}b") == (code not in control | bidi), hex(code)
        assert text_is_clean(f"a{chr(code)}b", prose=True) == (code not in (control | bidi) - {0x0A}), hex(code)
