"""The kit finds nothing wrong with our own node and readers, and what is wrong with those broken on purpose."""

import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from node.network.libp2p import open_libp2p_network
from node.network.seam import Stream
from protocol.gossip import Params
from protocol.keys import peer_id
from tests.adversary.mallory import Mallory, behave
from tests.driver import open_real_town
from tests.interop.js import require_modules

from . import live, vectors
from .__main__ import main
from .rows import Outcome, Report, Row

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r"^##+ (.+?)(?:, `.*)?$", re.MULTILINE)
BEAT = 0.2
PATIENT = 20.0
"""Seconds for what has to come, however busy the machine; what must not come is not waited for."""

SIGNED = {
    "a changed wish is not passed on",
    "a wish without a valid signature is not passed on",
    "a wish signed for another realm is not passed on",
}


def sections() -> set[str]:
    return set(HEADING.findall((ROOT / "protocol" / "README.md").read_text("utf-8")))


def failures(report: Report) -> dict[str, str]:
    return {row.name: row.why for row in report.rows if row.outcome is Outcome.FAILED}


async def look_at(address: str, patience: float = PATIENT) -> Report:
    report = Report()
    await live.examine(live.Visit(address, patience, report, BEAT))
    return report


@asynccontextmanager
async def open_good() -> AsyncIterator[str]:
    """A real node of ours that carries everything and is a mailbox; its address."""
    async with open_real_town() as town:
        alice = await town.open("Alice", meeting=True, mailbox=True, params=Params(heartbeat_interval=BEAT))
        yield alice.address


# ------------------------------------------------------------------------------------------------------------- live


@pytest.mark.live
async def test_our_own_node_passes_every_row() -> None:
    """Every row is looked at, none is skipped, and each names a section that is in the book."""
    async with open_good() as address:
        report = await look_at(address)
    assert failures(report) == {}
    assert report.named(Outcome.SKIPPED) == set()
    assert len(report.rows) >= 45
    assert {row.section for row in report.rows} <= sections()


@pytest.mark.live
async def test_a_node_that_checks_no_signatures_fails_where_signatures_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """One fault shows as these rows, and as no others."""
    monkeypatch.setattr("protocol.envelope.verifies", lambda *_any: True)
    async with open_good() as address:
        found = failures(await look_at(address))
    assert {name: found.get(name) for name in SIGNED} == dict.fromkeys(SIGNED, "it was passed on")
    assert set(found) - SIGNED <= {"a wish signed with a key of small order is not passed on"}


@asynccontextmanager
async def open_careless() -> AsyncIterator[str]:
    """A stranger that passes on whatever it hears, heeds no PRUNE, and answers what it does not understand."""

    async def repeat(stream: Stream) -> None:
        while data := await stream.receive_some():
            await stream.send_all(data)

    async with (
        open_libp2p_network(seed=secrets.token_bytes(32), listen=["/ip4/127.0.0.1/tcp/0"]) as network,
        trio.open_nursery() as nursery,
        network.watch_links() as links,
    ):
        mallory = Mallory(network, nursery, behave)
        for protocol in (live.SYNC, live.DIRECT, live.PEERS):
            network.serve(protocol, repeat)

        async def greet_all() -> None:
            async for event in links:
                if hasattr(event, "link"):
                    await mallory.greet(event.link.peer)

        nursery.start_soon(greet_all)
        yield network.addresses[0]
        nursery.cancel_scope.cancel()


@pytest.mark.live
async def test_a_careless_node_is_found_out() -> None:
    """It passes on every lie, talks to who left, says nothing when asked, and repeats what it is told."""
    async with open_careless() as address:
        found = failures(await look_at(address, patience=0.5))
    told = " ".join(found) + found.get("no lie was passed on later", "")
    lies = ["changed wish", "expired wish", "wish of tomorrow", "another realm", "random bytes", "another network"]
    assert [lie for lie in lies if lie not in told] == []
    assert {
        "a GRAFT within the back-off is answered by a PRUNE",
        "who is outside the mesh hears of a wish (IHAVE)",
        "what it hears of it asks for, and passes on",
        "ranges have the book's marks",
        "an opened range lists its ids",
        "it asks who links to it, and passes on what it lacked",
        "an item for a key it never had: unknown_key",
        "it tells its hour and peers",
    } <= set(found)
    assert "a wish is passed on, byte for byte" not in found


@pytest.mark.live
async def test_what_is_no_node_of_this_network_is_said_and_not_judged() -> None:
    """Another network, and the public one that nobody meant to publish on."""
    async with open_good() as address:
        with pytest.raises(live.Unfit, match="of network test, not of playground"):
            await live.examine(live.Visit(address, PATIENT, report := Report()), "playground")
    assert [row.section for row in report.rows] == ["Keys", "Streams"]


@pytest.mark.live
def test_who_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    nobody = f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id(bytes(range(32)))}"
    assert main(["--live", nobody, "--json"]) == 4
    assert f"No node answers at {nobody}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--live", "127.0.0.1:4001"], "is not like /ip4/"),
        (["--live", "/ip4/127.0.0.1/tcp/4001"], "/p2p/"),
        (["--reader", "no-such-program --json"], "there is no program"),
        (["--patience", "0"], "from 5 to 600 seconds"),
    ],
)
def test_wrong_arguments_are_explained(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert said in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------- vectors


def test_every_vector_is_asked_and_our_reader_answers_right() -> None:
    """No file and no list of tests/vectors is left out, and each row names a section of the book."""
    vectors.ask("ours", vectors.OURS, report := Report())
    assert failures(report) == {}
    assert report.named(Outcome.SKIPPED) == set()
    assert {row.section for row in report.rows} <= sections()
    files = [vectors.build.load(name) for name in vectors.build.FILES]
    written = sum(len(part) for file in files for name, part in file.items() if isinstance(part, list))
    assert sum(len(chapter.cases) for chapter in vectors.chapters()) >= written


def test_the_reader_in_javascript_answers_right() -> None:
    require_modules()
    vectors.ask("JavaScript", vectors.JAVASCRIPT, report := Report())
    assert failures(report) == {}
    assert report.named(Outcome.SKIPPED) == set()


WRONG_READER = """
import json, sys
for line in sys.stdin:
    ask = json.loads(line)["ask"]
    said = {"verdict": "accept"} if ask == "hear" else {"refused": 1} if ask == "decode" else {"skip": "not yet"}
    print(json.dumps(said))
"""


def test_a_reader_that_accepts_everything_fails_and_what_it_cannot_yet_is_skipped(tmp_path: Path) -> None:
    """Also `refused: 1` is not `refused: true`."""
    (tmp_path / "wrong.py").write_text(WRONG_READER)
    vectors.ask("wrong", [sys.executable, str(tmp_path / "wrong.py")], report := Report())
    found = failures(report)
    assert [name.partition(" (")[0] for name in found] == [
        "a value has these bytes and no others",
        "bytes that are no value are refused",
        "frames get the protocol's verdict",
    ]
    assert '{"verdict": "accept"}, not {"verdict": "reject"}' in found["frames get the protocol's verdict (161)"]
    assert len(report.named(Outcome.SKIPPED)) == len(report.rows) - 3


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit('my library is missing')", "exit code 1: my library is missing"),
        ("print('no JSON at all')", "no JSON ('no JSON at all')"),
        ("import sys; [print('{}') for _ in [*sys.stdin, 1]]", "1 lines more than questions"),
    ],
)
def test_a_reader_that_breaks_is_told_how(program: str, said: str) -> None:
    vectors.ask("broken", [sys.executable, "-c", program], report := Report())
    assert said in " ".join(failures(report).values())
    assert not report.is_good


# ------------------------------------------------------------------------------------------------------------ report


def test_a_report_counts_and_survives_strange_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Words of strangers are shown as they are: no markup in them is obeyed."""
    report = Report()
    assert not report.is_good
    report.add(Row("live", "a row", "Gossip", Outcome.PASSED, "[bold]agent[/bold]"))
    assert report.is_good
    report.add(Row("live", "another", "Gossip", Outcome.FAILED, "came [red]"))
    from rich.console import Console

    report.show(Console(width=80))
    shown = capsys.readouterr().out
    assert "[bold]agent[/bold]" in shown
    assert "1 passed, 1 failed, 0 skipped" in shown
    said: dict[str, Any] = json.loads(report.as_json())
    assert (said["ok"], said["passed"], said["failed"], len(said["rows"])) == (False, 1, 1, 2)


def test_the_door_runs() -> None:
    """As a person does it: the vectors, put to both readers."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    said = json.loads(done.stdout)
    assert (done.returncode, said["failed"]) == (0, 0), said
    parts = {row["part"] for row in said["rows"]}
    assert parts == {"Python (protocol/)", "JavaScript (tests/interop)"}
    if shutil.which("node") is None:
        assert "Node.js is not on this machine's PATH" in done.stdout
