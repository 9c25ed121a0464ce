"""The commands over real nodes: real processes, real sockets, nothing of paper."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node.cli.app import main
from node.cli.client import Client
from node.trouble import Exit

pytestmark = pytest.mark.live


@contextmanager
def up(home: Path, *words: str, **environ: str) -> Iterator[dict[str, Any]]:
    """A node in a process of its own; yields what it said when it was ready."""
    command = [sys.executable, "-m", "node", "up", "--home", str(home), "--net", "lab", "--json"]
    with subprocess.Popen(
        [*command, "--listen", "/ip4/127.0.0.1/tcp/0", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environ},
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            assert process.wait(20) == 0


def wait_for(home: Path, type: str, about: str) -> None:
    """Until that home's node has seen it, whether it happens now or has happened already."""
    events = Client(home).events(0, time.monotonic() + 15, about=about)
    assert any(event["type"] == type for event in events), f"no {type}"


def test_a_deal_by_hand_and_its_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Alice asks, Bob answers by hand, she accepts, his node confirms. What both signed is exported from stopped
    nodes and holds for anybody; one changed bit, anywhere, and it holds no more."""

    def say(home: Path | None, *words: str, code: int = 0) -> Any:
        at = [] if home is None else ["--home", str(home)]
        found = main([*words, "--json", *at])
        out = capsys.readouterr().out
        assert found == code, out
        return json.loads(out)

    alice, bob = tmp_path / "alice", tmp_path / "bob"
    with up(bob, INTENTCAST_DIVISIONS="mobility", INTENTCAST_HEARTBEAT="0.1") as ready:
        with up(alice, "--join", ready["addresses"][0], INTENTCAST_HEARTBEAT="0.1"):
            wish = ["4x4", "-a", "rent", "-c", "mobility.car", "--prop", "drive=awd", "--max-price", "300 EUR"]
            asked = say(alice, "ask", *wish, "--yes")
            intent = asked["intent"]["id"]
            assert asked["reached"] == 1
            wait_for(bob, "wish.heard", intent)
            offer = ["--prop", "drive=4x4", "--contact", "bob@example.com", "--name", "Bob"]
            heard = {one["id"]: one for one in say(bob, "intents")["intents"]}
            assert heard[intent]["title"] == "4x4"
            assert "limit" not in json.dumps(heard), "the private limit stayed with Alice"
            made = say(bob, "offer", intent[:12], "--total", "240 EUR", *offer)["offer"]["id"]
            wait_for(alice, "offer.received", intent)
            seen = say(alice, "offers", intent)
            assert [one["id"] for one in seen["offers"]] == [made]
            assert seen["offers"][0]["meets"] == ["drive"]
            deal = say(alice, "accept", made[:8], "--contact", "alice@example.com", "--wait", "10s")["contract"]
            assert (deal["state"], deal["vendor_contact"]) == ("confirmed", "bob@example.com")
            (listed,) = say(bob, "offers")["offers"]
            assert listed["state"] == "confirmed"
    for home in (alice, bob):
        file = tmp_path / f"{home.name}.evidence"
        say(home, "export", deal["id"], str(file))
        found = say(None, "verify", str(file))
        assert (found["valid"], found["kind"], found["id"]) == (True, "contract", deal["id"])
        assert (found["requester"], found["vendor"], found["net"]) == (deal["requester"], deal["vendor"], "lab")
    data = file.read_bytes()
    for position in range(0, len(data) * 8, 997):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        file.write_bytes(changed)
        answer = say(None, "verify", str(file), code=Exit.REFUSED)
        assert answer["valid"] is False
        assert answer["reason"]
