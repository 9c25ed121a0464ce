"""Every reader of strangers' bytes takes or refuses what the guided fuzzing begins with, and what once broke it."""

import pytest

from protocol.errors import Refused

from .readers import CRASHES, READERS, seeds


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_raises_nothing_but_refused(reader: str) -> None:
    once_broken = [path.read_bytes() for path in sorted(CRASHES.glob(f"{reader}-*"))]
    for data in [*seeds(reader), *once_broken]:
        try:
            READERS[reader](data)
        except Refused:
            continue
