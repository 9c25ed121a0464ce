"""A recorded run can be replayed, and gives the same events."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.town.record import read_record, record, replay, write_record
from node.town.scenario import find
from node.trouble import Trouble


def test_another_process_replays_the_very_same(tmp_path: Path) -> None:
    """Ids, hours, order: with links that break and another hash of Python's. A changed event is found."""
    file = tmp_path / "links.record"
    before = record(find(Path("links-break")))
    assert sum(map(len, before.events.values())) > 15
    write_record(before, file)
    words = [sys.executable, "-m", "node", "mesh", "replay", str(file), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {"same": True, "different": [], "wrong": []}
    changed = read_record(file)
    assert changed == before
    changed.events["bob"][1]["at"] += 1
    (line,) = replay(changed, "links.record")
    assert line.startswith("bob, event 2: was {")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "garbage", '{"intentcast": "record", "version": 2}'])
def test_what_is_no_record_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.record"
    file.write_text(text)
    with pytest.raises(Trouble, match="is no record"):
        read_record(file)
    with pytest.raises(Trouble, match="cannot be read"):
        read_record(tmp_path / "nothing")
