"""The three five-minute paths of README.md, run as they are written there: its text is read, and its lines are typed.

Alice has a computer, Bob's shop another; each is a home directory of its own, and nothing else is told to the commands.
What a reader fills in (ADDRESS, OFFER, ...) is filled in as he would: from what a command before said.
"""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from node.trouble import Exit

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SECONDS = 60.0
"""For one line, however busy the machine."""


def blocks(heading: str) -> list[str]:
    """The code of a section of the README."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def lines(block: str) -> list[str]:
    """As one types them: with what a backslash continues, without what is only a comment."""
    whole = re.sub(r"\\\n\s*", "", block).splitlines()
    return [line for line in whole if line.strip() and not line.lstrip().startswith("#")]


class Desk:
    """Somebody at a terminal of a computer of their own."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.home = home
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # The editor: whoever reads the file and leaves it as it is.
        self.env = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb", "EDITOR": "test -f"}
        self.words: dict[str, str] = {}
        """What stands in the README for what only the reader knows."""
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        """Those that run, by the line that started them."""
        self._stack = ExitStack()

    def type(self, line: str, until: str = "") -> str:
        """Type a line, say yes when asked, and return what the screen shows. `until`: then it was enough (Ctrl-C)."""
        open_words = set(re.findall(r"\b[A-Z]{4,}\b", strip_words(line))) - {"EDITOR", "JOIN"}
        assert open_words <= set(self.words), f"{line}: {open_words - set(self.words)}?"
        typed = line
        for word in open_words:
            typed = re.sub(rf"\b{word}\b", self.words[word], typed)
        if re.match(r"intentcast (mesh )?up\b", typed):
            return self._stack.enter_context(self._running(typed))
        if name := re.match(r"([A-Z]+)=\$\(", typed):
            self.env[name[1]] = self._run(f'{typed}; printf %s "${name[1]}"')
            return ""
        return self._run(typed, until)

    def ask(self, *words: str) -> Any:
        """The same a person sees, for a machine."""
        done = subprocess.run(
            ["intentcast", *words, "--json"], env=self.env, cwd=self.home, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def leave(self) -> None:
        """Ctrl-C in every terminal."""
        self._stack.close()

    def _run(self, line: str, until: str = "") -> str:
        """In a terminal: there `ask` shows what is public, and wants a yes."""
        terminal, screen = os.openpty()
        modes = termios.tcgetattr(screen)
        modes[3] &= ~termios.ECHO  # our yes is typed before it is asked for
        termios.tcsetattr(screen, termios.TCSANOW, modes)
        with subprocess.Popen(
            ["bash", "-c", line],
            env=self.env,
            cwd=self.home,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
        ) as process:
            os.close(screen)
            try:
                os.write(terminal, b"y\n")
                shown = _read(terminal, until)
                if until:
                    os.killpg(process.pid, signal.SIGINT)
                    shown += _read(terminal)
            finally:
                os.close(terminal)
                process.wait(SECONDS)
        assert process.returncode == (Exit.INTERRUPTED if until else 0), f"{line}\n{shown}"
        return shown

    @contextmanager
    def _running(self, line: str) -> Iterator[str]:
        """A terminal that stays open, from when the node is ready until Ctrl-C."""
        with subprocess.Popen(
            ["bash", "-c", f"exec {line}"], env=self.env, cwd=self.home, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            self.nodes[line] = process
            shown, deadline = b"", time.monotonic() + SECONDS
            try:
                while not re.search(rb"^(Ready: |Ctrl-C ends it)", shown, re.MULTILINE):
                    ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
                    data = os.read(process.stdout.fileno(), 65_536) if ready else b""
                    assert data, f"{line}\n{shown.decode()}"
                    shown += data
                yield shown.decode()
            finally:
                process.terminate()
                process.communicate(timeout=SECONDS)


def strip_words(line: str) -> str:
    """Without quoted text and comments, where capitals are only capitals."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\s#.*", "", line)


def _read(terminal: int, until: str = "") -> str:
    """What it shows until nobody has it open any more, or `until` (a pattern) is there."""
    shown, deadline = b"", time.monotonic() + SECONDS
    while (
        not (until and re.search(until.encode(), shown, re.MULTILINE))
        and select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]
    ):
        try:
            data = os.read(terminal, 65_536)
        except OSError:
            return shown.decode()
        shown += data
    assert time.monotonic() < deadline, f"nothing more came:\n{shown.decode()}"
    return shown.decode()


@pytest.fixture
def place() -> Iterator[Path]:
    """Short enough for the sockets of nodes, which pytest's own places are not."""
    with tempfile.TemporaryDirectory(prefix="ic-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def somebody(place: Path) -> Iterator[Desk]:
    """Whose invite the others have: a node that is always on."""
    desk = Desk(place / "somebody")
    desk.env |= ON_THIS_COMPUTER
    desk.type("intentcast up --meeting")
    desk.words["ADDRESS"] = desk.ask("invite")["address"]
    yield desk
    desk.leave()


ON_THIS_COMPUTER = {"INTENTCAST_NET": "five-minutes", "INTENTCAST_LISTEN": "/ip4/127.0.0.1/tcp/0"}
"""Settings of those whose computers are one: a network of their own, on loopback."""


def read(pattern: str, shown: str) -> str:
    found = re.search(pattern, shown, re.MULTILINE)
    assert found is not None, shown
    return found[1]


def test_as_a_person_and_as_a_vendor(place: Path, somebody: Desk) -> None:
    """Bob makes a price list and is heard; Alice asks, sees his offer, accepts, and holds proof that needs no node."""
    alice, bob = Desk(place / "alice"), Desk(place / "bob")
    for desk in (alice, bob):
        desk.env |= ON_THIS_COMPUTER
        desk.words["ADDRESS"] = somebody.words["ADDRESS"]
    start, by_hand = blocks("Five minutes as a vendor")
    asking, deciding = blocks("Five minutes as a person")
    try:
        for line in lines(start):
            bob.type(line)
        up, ask = lines(asking)
        alice.type(up)
        shown = alice.type(ask, until=r"^  offer \w+ .* Alpine Cars")
        assert "PUBLIC" in shown
        assert "STAYS HERE" in shown
        wish = read(r"Wish (\w{8})", shown)
        alice.words["INTENT"] = bob.words["INTENT"] = wish

        for line in lines(by_hand):
            shown = bob.type(line)
        assert "offered" in shown

        offers, accept, proof = lines(deciding)
        assert "Alpine" in alice.type(offers)
        alice.words["OFFER"] = alice.ask("offers", wish)["offers"][0]["id"][:8]
        alice.words["CONTRACT"] = read(r"Confirmed. Keep the evidence: intentcast export (\w{8})", alice.type(accept))
        alice.leave()
        alice.type(proof)
        assert (alice.home / "deal.evidence").is_file()
    finally:
        alice.leave()
        bob.leave()


def test_as_a_developer(place: Path) -> None:
    """Four terminals, and the deal; with the shop killed between offer and accept, and started again elsewhere."""
    me = Desk(place / "me")
    four, *_ = blocks("Five minutes as a developer")
    *before, accept = lines(moved(four, place))
    try:
        for line in before:
            shown = me.type(line)
        me.words["OFFER"] = read(r"offer (\w{8})", shown)
        shop = next(line for line in me.nodes if "/ic/shop " in line)
        me.nodes[shop].kill()
        me.type(re.sub(r"--listen \S+", "--listen /ip4/127.0.0.1/tcp/0", shop))
        assert "contract" in me.type(accept).lower()
    finally:
        me.leave()


def test_as_a_developer_with_a_mesh(place: Path) -> None:
    """Twenty nodes, spoken to in the words that the mesh itself prints; one wish is followed through them, and a
    scenario played. The doors of the last block are all there."""
    me = Desk(place / "me")
    me.env["TMPDIR"] = str(place)
    _, mesh, _table, doors = blocks("Five minutes as a developer")
    up, trace, play = lines(mesh)
    try:
        shown = me.type(up)
        me.words["FOLDER"] = read(r"nodes are ready after .* in (\S+)", shown)
        asked = me.type(read(r"^ *(intentcast ask .*)$", shown), until=r"^  offer \w+")
        me.words["WISH"] = read(r"Wish (\w{8})", asked)
        assert len(re.findall(r"heard it from", me.type(trace))) >= 1
        assert "holds: first-deal" in me.type(play)
    finally:
        me.leave()
    assert not list(place.glob("intentcast-mesh-*"))
    named = re.findall(r"\bscripts/[a-z-]+", doors)
    assert len(named) > 10
    assert [name for name in named if not os.access(ROOT / name, os.X_OK)] == []


def moved(block: str, place: Path) -> str:
    """To ports and a folder that nobody else on this machine has: the one thing that is not as written."""
    with ExitStack() as taken:
        for port in sorted(set(re.findall(r"/tcp/(\d{4,5})", block))):
            free = taken.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            block = block.replace(f"/tcp/{port}", f"/tcp/{free}")
    return block.replace("/tmp/ic/", f"{place}/ic/")
