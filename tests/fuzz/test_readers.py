"""Every reader of strangers' bytes takes or refuses what the guided fuzzing begins with, and what once broke it."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import Refused
from protocol.framing import frame_with_length
from protocol.gossip import Router
from protocol.gossip.rpc import encode_subscription
from tests.adversary.frames import TOPIC, ihave_flood

from . import readers
from .guided import HUNG, ROOT, Hunt
from .readers import CRASHES, READERS, seeds


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_raises_nothing_but_refused(reader: str) -> None:
    once_broken = [path.read_bytes() for path in sorted(CRASHES.glob(f"{reader}-*"))]
    for data in [*seeds(reader), *once_broken]:
        try:
            READERS[reader](data)
        except Refused:
            continue


ENDLESS = """
import sys
from pathlib import Path
import tests.fuzz.hunter as hunter
sys.argv[1:] = ["frame", "60"]
hunter.CRASHES, hunter.HANGS_AFTER = Path({folder!r}), 1
hunter.READERS["frame"] = lambda data: [None for _ in iter(int, 1)]
hunter.main()
"""


def test_a_reader_that_never_ends_is_reported(tmp_path: Path) -> None:
    """By its name, and with the input it hangs on."""
    pytest.importorskip("atheris", reason="guided fuzzing needs the extra fuzz")
    program = ENDLESS.format(folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == HUNG
    assert "HANGS" in Hunt("frame", done.returncode, 1, 1, done.stderr).line()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("frame-timeout-")]


@pytest.mark.parametrize(
    ("code", "executions", "word"),
    [(0, 1234, "nothing raised"), (1, 1234, "RAISED"), (HUNG, 1234, "HANGS"), (0, 0, "TOO FEW"), (0, 999, "TOO FEW")],
)
def test_a_hunt_says_what_came_of_it(code: int, executions: int, word: str) -> None:
    """Who tried nothing found nothing."""
    found = Hunt("stream", code, executions, 56, "Traceback")
    assert word in found.line()
    assert found.survived is (word == "nothing raised")
    assert ("Traceback" in found.line()) is not found.survived


def test_a_stream_is_read_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a heartbeat looks at is looked at: a promise that nobody keeps is blamed."""
    routers: list[Router] = []

    def remember(*words: Any) -> Router:
        routers.append(Router(*words))
        return routers[0]

    monkeypatch.setattr(readers, "Router", remember)
    said = [encode_subscription(TOPIC, True), next(ihave_flood(random.Random(1)))]
    READERS["stream"](b"".join(frame_with_length(rpc) for rpc in said))
    counters = routers[0].statistics().counters
    assert counters.get("promise.broken", 0) > 0
