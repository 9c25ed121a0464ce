"""What many tests share."""

import logging

import pytest
import structlog
from trio.testing import MockClock

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


@pytest.fixture
def clock() -> MockClock:
    """Time that jumps: as soon as every task waits, the next moment for which one waits is now. A story of days takes
    milliseconds, and the same on a busy machine. Only for the memory network and stores in memory: libp2p and worker
    threads wait for things that no clock of trio's knows."""
    return MockClock(autojump_threshold=0)
