"""The log: once, quiet about people, and not a flood."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from node.logs import MAX_REMEMBERED, REPEAT_SECONDS, Repeats, configure_logging

PEER = "12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"


@pytest.fixture(autouse=True)
def _leave_no_trace() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_nothing_private_at_the_default_level() -> None:
    """Texts go, peers and addresses become hashes: ours, those of libraries, and those inside tracebacks."""
    stream = io.StringIO()
    configure_logging("info", as_json=True, stream=stream)
    structlog.get_logger("node.x").info("link up", peer=PEER, title="4x4 for Ana", remote="/ip4/203.0.113.5/tcp/1", n=3)
    logging.getLogger("library").warning("no %s at /ip4/203.0.113.5/tcp/1 or 203.0.113.5:99", PEER)
    try:
        raise ValueError(f"cannot dial {PEER} at 203.0.113.5")
    except ValueError:
        structlog.get_logger("node.x").exception("a bug")
    text = stream.getvalue()
    for private in (PEER, "203.0.113.5", "Ana", "4x4"):
        assert private not in text
    first, second, third = lines(stream)
    assert (first["event"], first["n"], first["level"], first["logger"]) == ("link up", 3, "info", "node.x")
    assert str(first["peer"]) in str(second["event"]), "one peer has one hash within a run"
    assert "ValueError" in str(third["exception"])


def test_debug_shows_everything() -> None:
    """Who asks for it gets it."""
    stream = io.StringIO()
    configure_logging("debug", stream=stream)
    structlog.get_logger("node.x").debug("heard", peer=PEER, title="4x4 for Ana")
    assert PEER in stream.getvalue()
    assert "4x4 for Ana" in stream.getvalue()


def test_hashes_differ_between_runs() -> None:
    """A peer cannot be followed from one log into another."""
    found = set()
    for _ in range(2):
        stream = io.StringIO()
        configure_logging("info", as_json=True, stream=stream)
        structlog.get_logger("node.x").info("link up", peer=PEER)
        found.add(lines(stream)[0]["peer"])
    assert len(found) == 2


def test_configured_twice_it_writes_once() -> None:
    """The second call replaces the first."""
    first, second = io.StringIO(), io.StringIO()
    configure_logging("info", stream=first)
    configure_logging("info", stream=second)
    structlog.get_logger("node.x").info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_repeats_are_counted_and_bounded() -> None:
    """The same event a thousand times is one line, and after a minute another that says how many were held back."""
    now = [0.0]
    repeats = Repeats(clock=lambda: now[0])

    def passes(event: str) -> logging.LogRecord | None:
        record = logging.LogRecord("node.x", logging.INFO, "", 0, {"event": event}, (), None)
        return record if repeats.filter(record) else None

    assert sum(passes("dial failed") is not None for _ in range(1000)) == 1
    now[0] = REPEAT_SECONDS + 1
    again = passes("dial failed")
    assert again is not None
    assert again.msg == {"event": "dial failed", "repeated": 999}
    for number in range(MAX_REMEMBERED + 10):
        assert passes(f"event {number}") is not None
    assert passes("dial failed") is not None, "forgotten, not kept for ever"
