"""What many tests share."""

import logging
import os
import signal

import pytest
import structlog
from hypothesis import HealthCheck, settings
from trio.testing import MockClock

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background makes them, and all they start, deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is slow, and nothing is wrong with it: examples have no deadline.
settings.register_profile("fast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", settings.get_profile("fast"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

collect_ignore = ["town/example"]
"""A project of its own: tests/town/test_plugin.py installs it, and runs its tests."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured, told at the end: `record_property("figure", "69 calls of fsync for 60 transactions")`."""
    passed = terminalreporter.getreports("passed")
    figures = [text for report in passed for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("figures")
    for text in sorted(map(str, figures)):
        terminalreporter.write_line(text)


@pytest.fixture
def clock() -> MockClock:
    """Time that jumps: as soon as every task waits, the next moment for which one waits is now. A story of days takes
    milliseconds, and the same on a busy machine. Only for the memory network and stores in memory: libp2p and worker
    threads wait for things that no clock of trio's knows."""
    return MockClock(autojump_threshold=0)
