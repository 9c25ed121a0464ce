"""The demo, as a newcomer runs it: seven processes on loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.export import export_evidence
from protocol.evidence import verify

pytestmark = pytest.mark.live

COMMAND = [sys.executable, "-m", "node", "demo"]


def nodes_of(folder: Path) -> list[str]:
    """Command lines of living processes that run from homes in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # gone meanwhile, or no process at all
        if str(folder) in line and " up " in line:
            found.append(line)
    return found


def wait_for(condition: object, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def test_the_founding_scenario(tmp_path: Path) -> None:
    """Everybody plays his part, the document says so, and both homes prove the same contract afterwards."""
    keep = tmp_path / "homes"
    done = subprocess.run([*COMMAND, "--json", "--keep", str(keep)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    by_name = {node["name"]: node for node in document["nodes"]}
    assert len(by_name) == 7
    assert {node["role"] for node in document["nodes"]} == {"meeting", "vendor", "person"}
    assert by_name["Petit Plombier"]["heard"] == 0
    assert all(by_name[name]["heard"] == 1 for name in ("Alpine Cars", "Rhone Mobility", "Budget Wheels"))
    assert document["hidden"] == 1
    assert sorted(document["silent"]) == ["Budget Wheels", "Petit Plombier"]
    assert {offer["vendor"]["name"] for offer in document["offers"]} == {"Alpine Cars", "Rhone Mobility"}
    assert document["contract"]["requester"] == "Ana"
    winner = document["contract"]["vendor"]
    assert document["seconds"] < 60
    assert not nodes_of(keep)
    proofs = [
        verify(export_evidence(Path(by_name[name]["home"]), document["contract"]["id"])[0]) for name in ("Ana", winner)
    ]
    assert {proof.id.hex() for proof in proofs} == {document["contract"]["id"]}
    assert "Chamonix" not in json.dumps(document["offers"]), "over the private limit: counted, not shown"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nobody_is_left_behind(tmp_path: Path, how: signal.Signals) -> None:
    """However the demo ends, its nodes end with it."""
    keep = tmp_path / "homes"
    demo = subprocess.Popen(
        [*COMMAND, "--json", "--keep", str(keep)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    try:
        assert wait_for(lambda: len(nodes_of(keep)) >= 2, 60)
        demo.send_signal(how)
        output, _ = demo.communicate(timeout=30)
        assert wait_for(lambda: not nodes_of(keep), 30)
        if how is not signal.SIGKILL:
            assert demo.returncode == 130
            assert json.loads(output)["error"]["code"] == "interrupted"
    finally:
        demo.kill()
        demo.wait()
