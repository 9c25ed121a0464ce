"""A short form of scripts/fuzz: some thousand mutants, the same rules, and every door tried often enough."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codec import decode
from protocol.errors import Refused
from protocol.limits import MAX_ITEM
from tests.vectors.codec_vectors import GOOD, REFUSED
from tests.vectors.frame_vectors import good_frames

from .changes import change_bytes
from .mutants import FUZZERS
from .strict import is_canonical

MUTANTS = 4000


@pytest.mark.parametrize("name", FUZZERS)
def test_mutants_are_refused_or_harmless(name: str) -> None:
    tally = FUZZERS[name](7).run(MUTANTS)
    print(tally.table())
    assert tally.second_effects == 0
    thin = {stage: tally.reached[stage] for stage in tally.stages if tally.reached[stage] < MUTANTS // 20}
    assert not thin, "a door that is hardly tried is not tested"
    assert min(tally.copies, tally.twins) >= MUTANTS // 20


@pytest.mark.parametrize("name", FUZZERS)
def test_the_same_seed_makes_the_same_mutants(name: str) -> None:
    """A number in a failure is enough to see it again."""
    assert FUZZERS[name](3).run(200).table() == FUZZERS[name](3).run(200).table()


def reads(data: bytes) -> bool:
    try:
        decode(data)
    except Refused:
        return False
    return True


@settings(max_examples=1000)
@given(st.binary(max_size=60))
def test_two_readers_agree_about_garbage(data: bytes) -> None:
    assert reads(data) == is_canonical(data, MAX_ITEM)


def test_two_readers_agree_about_every_byte_in_every_place() -> None:
    """One frame's payload, and each of its bytes replaced by each other: what one reader takes, the other takes."""
    payload = bytes.fromhex("83a16101a46e6f7465a3610a62a27a7a92c40201028101c3")
    for at in range(len(payload)):
        for byte in range(256):
            changed = payload[:at] + bytes([byte]) + payload[at + 1 :]
            assert reads(changed) == is_canonical(changed, MAX_ITEM), changed.hex()


def test_two_readers_agree_about_mutants_and_vectors() -> None:
    rng = random.Random(5)
    taken = 0
    frames = [frame for _, _, frame in good_frames().values()]
    for _ in range(3000):
        data = change_bytes(rng.choice(frames), rng)
        assert reads(data) == is_canonical(data, MAX_ITEM), data.hex()
        taken += reads(data)
    assert taken > 300
    for data, _ in REFUSED.values():
        assert not is_canonical(data, MAX_ITEM)
    assert GOOD
