"""The log: once, quiet about people, and not a flood."""

import io
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from node.logs import MAX_REMEMBERED, REPEAT_SECONDS, Repeats, configure_logging

PEER = "12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"


@pytest.fixture(autouse=True)
def _leave_no_trace() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if handler not in before[0]]:
        handler.close()
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


class Passing:
    """Lines on their way through the filter, on a clock of our own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self._repeats = Repeats(lambda record: self.told.append(record.getMessage()), clock=lambda: self.now)

    def __call__(self, event: str) -> logging.LogRecord | None:
        record = logging.LogRecord("node.x", logging.INFO, "", 0, {"event": event}, (), None)
        return record if self._repeats.filter(record) else None


def test_repeats_are_counted_and_bounded() -> None:
    """The same event a thousand times is one line, and after a minute another that says how many were held back."""
    passes = Passing()
    assert sum(passes("dial failed") is not None for _ in range(1000)) == 1
    passes.now = REPEAT_SECONDS + 1
    again = passes("dial failed")
    assert again is not None
    assert again.msg == {"event": "dial failed", "repeated": 999}
    for number in range(MAX_REMEMBERED + 10):
        assert passes(f"event {number}") is not None
    assert passes("dial failed") is not None, "forgotten, not kept for ever"
    assert passes.told == []


@pytest.mark.parametrize("why", ["its minute is over", "too many others came"])
def test_what_was_held_back_is_told_even_if_it_never_comes_again(why: str) -> None:
    """With the next line of any kind."""
    passes = Passing()
    for _ in range(5):
        passes("dial failed")
    if why == "its minute is over":
        passes.now = REPEAT_SECONDS + 1
        passes("something else")
    else:
        for number in range(MAX_REMEMBERED):
            passes(f"event {number}")
    assert passes.told == ["dial failed (and 4 times more)"]


def test_a_log_at_home_is_bounded_private_and_discreet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at debug, where the terminal shows all: 20,000 lines are four files of bounded size, the newest kept."""
    monkeypatch.setattr("node.logs.FILE_BYTES", 20_000)
    stream = io.StringIO()
    configure_logging("debug", stream=stream, file=tmp_path / "node.log")
    log = structlog.get_logger("node.x")
    for number in range(2_000):
        log.debug("heard", peer=PEER, title="4x4 for Ana", number=number)
    logging.shutdown()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["node.log", "node.log.1", "node.log.2", "node.log.3"]
    assert all(file.stat().st_size <= 20_000 for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    kept = "".join(file.read_text() for file in reversed(files))
    assert json.loads(kept.splitlines()[-1])["number"] == 1_999
    assert PEER not in kept
    assert "Ana" not in kept
    assert PEER in stream.getvalue()
    assert "Ana" in stream.getvalue()


def test_a_log_that_cannot_be_written_costs_lines_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk: the terminal goes on, and nothing is raised or said about it there."""
    stream = io.StringIO()
    (tmp_path / "node.log").symlink_to("/dev/full")
    configure_logging("info", stream=stream, file=tmp_path / "node.log")
    for number in range(3):
        structlog.get_logger("node.x").info(f"line {number}")
    assert len(stream.getvalue().splitlines()) == 3
    assert capsys.readouterr().err == ""
