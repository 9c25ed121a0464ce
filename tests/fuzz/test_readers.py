"""Every reader of strangers' bytes takes or refuses what the guided fuzzing begins with, and what once broke it."""

import subprocess
import sys
from pathlib import Path

import pytest

from protocol.errors import Refused

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


@pytest.mark.parametrize(("code", "word"), [(0, "nothing raised"), (1, "RAISED"), (HUNG, "HANGS")])
def test_a_hunt_says_what_came_of_it(code: int, word: str) -> None:
    found = Hunt("stream", code, 1234, 56, "Traceback")
    assert word in found.line()
    assert found.survived is (code == 0)
    assert ("Traceback" in found.line()) is (code != 0)
