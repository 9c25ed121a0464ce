"""Two halves of a market that lose each other: real processes in network namespaces, split and healed by nft rules.

    node -- veth -- hub (forwards, drops by rule) -- slow wire -- hub of the other half -- veth -- node

Each node has a namespace and a subnet of its own; the hubs are namespaces as well, so nothing of the machine's own
network is touched. Needs `ip`, `nft` and the right to make namespaces and tunnels; skips, with a word, without them.
"""

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.adversary.figures import Figure, at_least, at_most, told, within
from tests.driver import SKIING

from .processes import NodeProcess, make_node, running, wait_for

HEAL_GOAL = 60.0
"""Seconds from healing until every live wish is at every subscriber, and no dead one is."""

LOSS = 20
"""Of a hundred packets, in each direction, while the halves are apart."""

DELAY, JITTER = 0.05, 0.02
"""Seconds from one half to the other, one way, and what chance adds: another continent."""

PORT = 4001


class Impossible(Exception):
    """What this machine's kernel or our rights do not allow."""


def run(*command: str, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    if done.returncode:
        raise Impossible(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Halves:
    """`size` namespaces on each side, a hub for each side, and a slow wire between the hubs."""

    def __init__(self, size: int) -> None:
        self._tag = f"ic{os.getpid()}"
        self.places = [(side, number) for side in (1, 2) for number in range(1, size + 1)]
        self._wires: list[subprocess.Popen[bytes]] = []

    def name(self, side: int, number: int) -> str:
        return f"{self._tag}-{side}-{number}"

    def hub(self, side: int) -> str:
        return f"{self._tag}-hub-{side}"

    def address(self, side: int, number: int) -> str:
        return f"10.77.{side}.{4 * number + 2}"

    def build(self) -> None:
        for tool in ("ip", "nft"):
            if shutil.which(tool) is None:
                raise Impossible(f"there is no {tool}: apt-get install -y iproute2 nftables")
        _remove_left_behind()
        for side in (1, 2):
            run("ip", "netns", "add", self.hub(side))
            self._in_hub(side, "ip", "link", "set", "lo", "up")
            self._in_hub(side, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for side, number in self.places:
            name, wire = self.name(side, number), f"v{side}-{number}"
            run("ip", "netns", "add", name)
            run(
                "ip", "link", "add", wire, "netns", self.hub(side), "type", "veth", "peer", "name", "up0", "netns", name
            )
            gate = f"10.77.{side}.{4 * number + 1}"
            self._in_hub(side, "ip", "address", "add", f"{gate}/30", "dev", wire)
            self._in_hub(side, "ip", "link", "set", wire, "up")
            for words in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{self.address(side, number)}/30", "dev", "up0"),
                ("link", "set", "up0", "up"),
                ("route", "add", "default", "via", gate),
            ):
                run("ip", "-n", name, *words)
        self._join_hubs()
        self._rules("")

    def _join_hubs(self) -> None:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ends[0], ends[1]:
            for side, end in zip((1, 2), ends, strict=True):
                command = ["ip", "netns", "exec", self.hub(side), sys.executable, "-m", "tests.endurance.wire"]
                wire = subprocess.Popen(
                    [*command, "far", str(end.fileno()), str(DELAY), str(JITTER)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    pass_fds=[end.fileno()],
                    start_new_session=True,
                )
                self._wires.append(wire)
                assert wire.stdout is not None
                assert wire.stderr is not None
                if wire.stdout.readline() != b"ready\n":
                    raise Impossible(f"no tunnel: {wire.stderr.read().decode().strip().splitlines()[-1:]}")
                self._in_hub(side, "ip", "link", "set", "far", "up")
                self._in_hub(side, "ip", "route", "add", f"10.77.{3 - side}.0/24", "dev", "far")

    def split(self) -> None:
        one, other = "10.77.1.0/24", "10.77.2.0/24"
        self._rules(
            f"ip saddr {one} ip daddr {other} drop\nip saddr {other} ip daddr {one} drop\n"
            f"numgen random mod 100 < {LOSS} drop"
        )

    def heal(self) -> None:
        self._rules("")

    def dropped(self) -> int:
        """Packets, since the rules changed last."""
        text = "".join(self._in_hub(side, "nft", "list", "chain", "inet", "weather", "forward") for side in (1, 2))
        return sum(
            int(words[words.index("packets") + 1]) for words in map(str.split, text.splitlines()) if "packets" in words
        )

    def round_trip(self) -> float:
        """Seconds from the first node of one half to that of the other, and back: the best of five."""
        program = (
            "import socket, time\n"
            "def trip():\n"
            "    began = time.monotonic()\n"
            f"    socket.create_connection(({self.address(2, 1)!r}, {PORT})).close()\n"
            "    return time.monotonic() - began\n"
            "print(min(trip() for _ in range(5)))"
        )
        return float(run("ip", "netns", "exec", self.name(1, 1), sys.executable, "-c", program))

    def _rules(self, lines: str) -> None:
        counted = lines.replace(" drop", " counter drop")
        table = f"chain forward {{\ntype filter hook forward priority 0; policy accept;\n{counted}\n}}"
        given = f"table inet weather\ndelete table inet weather\ntable inet weather {{\n{table}\n}}\n"
        for side in (1, 2):
            self._in_hub(side, "nft", "-f", "-", given=given)  # one transaction

    def _in_hub(self, side: int, *command: str, given: str | None = None) -> str:
        return run("ip", "netns", "exec", self.hub(side), *command, given=given)

    def remove(self) -> None:
        for wire in self._wires:
            wire.communicate()  # closes its standard input, and it ends
        for name in (self.hub(1), self.hub(2), *(self.name(*place) for place in self.places)):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def _remove_left_behind() -> None:
    """Namespaces of a run that was killed."""
    for line in run("ip", "netns", "list").splitlines():
        left = re.match(r"ic(\d+)-", line)
        if left is not None and not Path("/proc", left[1]).exists():
            run("ip", "netns", "delete", line.split()[0])


@contextmanager
def open_halves(size: int) -> Iterator[Halves]:
    """Raises Impossible."""
    halves = Halves(size)
    try:
        halves.build()
        yield halves
    finally:
        halves.remove()


def partition(size: int = 5, seconds: float = 600.0, wishes: int = 10, seed: int = 1) -> list[Figure]:
    """Two meeting points, one in each half, know each other. People ask before the split and during it, on both sides,
    and withdraw some of both. Raises Impossible."""
    chance = random.Random(seed)
    with open_halves(size) as halves, TemporaryDirectory(prefix="intentcast-partition-") as text:
        nodes = _open_nodes(halves, Path(text))
        with running(nodes):
            meetings = {1: nodes[0], 2: nodes[size]}
            for number, node in enumerate(nodes):
                if number not in (0, size):
                    side = 1 if number < size else 2
                    node.options += ("--join", meetings[side].address)
                elif number == size:
                    node.options += ("--join", nodes[0].address)
                node.start()
            trip = halves.round_trip()
            live = _ask(nodes, wishes, chance)
            wait_for("everybody hears of everything", lambda: _all_know(nodes, live, set()), 120)
            halves.split()
            began = time.monotonic()
            dead = _withdraw(nodes, live, wishes // 2, chance)
            while time.monotonic() - began < seconds - 1:
                time.sleep(min(seconds / 5, seconds - 1))
                live |= _ask(nodes, max(1, wishes // 5), chance)
            dropped = halves.dropped()
            apart = not _all_know(nodes, live, dead)
            halves.heal()
            healed = wait_for("the halves agree", lambda: _all_know(nodes, live, dead), 20 * HEAL_GOAL)
            twice = sum(_shown_twice(node) for node in nodes)
    where = f"2 x {size} nodes, {seconds:.0f} s apart, {LOSS} % loss"
    return [
        Figure(
            "T27",
            "a round trip between them",
            f"{trip * 1000:.0f} ms",
            f"at least {2000 * DELAY:.0f} ms",
            trip >= 2 * DELAY,
        ),
        at_least("T27", f"{where}: packets dropped", dropped, 1),
        Figure("T27", "the halves did not know the same before", "yes" if apart else "no", "yes", apart),
        told("T27", "live wishes, withdrawn ones", f"{len(live)}, {len(dead)}"),
        within("T27", "after healing until all know all", healed, HEAL_GOAL),
        at_most("T27", "shown twice", twice, 0),
    ]


def _open_nodes(halves: Halves, folder: Path) -> list[NodeProcess]:
    nodes = []
    for side, number in halves.places:
        listen = f"/ip4/{halves.address(side, number)}/tcp/{PORT}"
        options = ["--listen", listen, "--division", "mobility"] + (["--meeting"] if number == 1 else [])
        wrapper = ["ip", "netns", "exec", halves.name(side, number)]
        nodes.append(make_node(folder / f"{side}-{number}", options, wrapper=wrapper))
    return nodes


def _ask(nodes: list[NodeProcess], count: int, chance: random.Random) -> set[tuple[str, str]]:
    """(home of its author, wish)."""
    asked = set()
    for _ in range(count):
        node = chance.choice(nodes)
        body = {"wish": {**SKIING, "expires": 7200}, "reach_wait": 0}
        asked.add((node.name, str(node.client.post("ask", body=body)["intent"]["id"])))
    return asked


def _withdraw(
    nodes: list[NodeProcess], live: set[tuple[str, str]], count: int, chance: random.Random
) -> set[tuple[str, str]]:
    dead = set(chance.sample(sorted(live), count))
    for name, wish in dead:
        next(node for node in nodes if node.name == name).client.post("withdraw", wish)
    live -= dead
    return dead


def _all_know(nodes: list[NodeProcess], live: set[tuple[str, str]], dead: set[tuple[str, str]]) -> bool:
    for node in nodes:
        heard = {one["id"]: one["state"] for one in node.client.get("heard")["intents"]}
        if any(heard.get(wish) != "open" for name, wish in live if name != node.name):
            return False
        if any(heard.get(wish) == "open" for name, wish in dead if name != node.name):
            return False
    return True


def _shown_twice(node: NodeProcess) -> int:
    """Revisions that its person was told of more than once."""
    last = node.client.get("status")["now"]
    told_of: Counter[str] = Counter()
    deadline = time.monotonic() + 2
    for event in node.client.events(0, deadline):
        if event["type"] == "wish.heard":
            told_of[event["revision"]] += 1
    assert told_of, f"{node.name} heard of nothing until {last}"
    return sum(count - 1 for count in told_of.values())
