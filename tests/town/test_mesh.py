"""`intentcast mesh`, as a developer runs it: ordinary commands speak to its nodes, and nothing of it stays behind."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.town.live import COLUMNS, Row, fitting, table_lines
from node.town.plan import plan, worse
from node.town.play import Play
from node.town.processes import open_folder
from node.town.scenario import NodeSpec, load_scenario
from node.trouble import Exit, Trouble

pytestmark = pytest.mark.live

COMMAND = [sys.executable, "-m", "node"]
SKIING = [
    "A 4x4",
    "-a",
    "rent",
    "-c",
    "mobility.car",
    "--where",
    "iata:LYS",
    "--from",
    "2027-03-20",
    "--to",
    "2027-03-25",
]


def intentcast(*words: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run([*COMMAND, *words, "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a mesh makes its folder: short enough for the sockets in it, which pytest's own places are not."""
    with tempfile.TemporaryDirectory(prefix="ic-", dir="/tmp") as path:
        yield Path(path)


@contextmanager
def mesh(place: Path, *flags: str) -> Iterator[dict[str, Any]]:
    """A mesh that is ready; ended by Ctrl-C, after which nothing of it is left."""
    env = {**os.environ, "TMPDIR": str(place)}
    process = subprocess.Popen(
        [*COMMAND, "mesh", "up", "--json", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield json.loads(line)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == Exit.INTERRUPTED, said
    finally:
        process.kill()
        process.communicate()
    assert list(place.iterdir()) == []
    assert running_in(place) == []


def running_in(place: Path) -> list[Path]:
    """Processes whose command names this place."""
    return [entry for entry in Path("/proc").iterdir() if str(place) in command_line(entry)]


def command_line(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""  # gone meanwhile, or no process at all


@pytest.mark.parametrize("kind", ["--memory", "--libp2p", "--process"])
def test_commands_speak_to_its_nodes(place: Path, kind: str) -> None:
    """Alice's wish is asked, answered by both shops and accepted with the commands of every day; `trace` follows it."""
    with mesh(place, kind, "--nodes", "4", "--vendors", "2") as ready:
        homes = {node["name"]: node["home"] for node in ready["nodes"]}
        assert list(homes) == ["market", "person-1", "vendor-1", "vendor-2"]
        alice = homes["person-1"]
        asked = intentcast(
            "ask", *SKIING, "--prop", "drive=4x4", "--max-offers", "2", "--yes", "--wait", "20s", "--home", alice
        )
        assert {offer["vendor"]["name"] for offer in asked["offers"]} <= {"vendor-1", "vendor-2"}
        best = asked["offers"][0]
        contract = intentcast("accept", best["id"], "--contact", "Alice", "--yes", "--home", alice)["contract"]
        assert contract["state"] == "confirmed"
        theirs = intentcast("show", contract["id"], "--home", homes[best["vendor"]["name"]])
        assert theirs["contract"]["id"] == contract["id"]
        check_trace(intentcast("trace", contract["id"], "--home", alice), best["vendor"]["name"])
        for home in homes.values():
            Path(home).parent.joinpath("mesh.json").unlink(missing_ok=True)
        alone = intentcast("trace", asked["intent"]["id"], "--home", alice)
        assert not alone["mesh"]
        assert {step["node"] for step in alone["steps"]} == {"here"}


def check_trace(trace: dict[str, Any], winner: str) -> None:
    """Whoever heard the wish heard it from somebody who had it before; both ends of the deal tell the same story."""
    assert trace["mesh"]
    assert trace["silent"] == []
    steps = trace["steps"]
    (said,) = (step for step in steps if step["what"] == "said" and step["kind"] == "intent")
    assert said["node"] == "person-1"
    had = {"person-1": said["at"]}
    for step in steps:
        if step["what"] == "heard" and step["kind"] == "intent":
            assert had[step["via"]] <= step["at"]
            had[step["node"]] = step["at"]
    assert set(had) == {"person-1", "market", "vendor-1", "vendor-2"}
    whats = {(step["node"], step["what"]) for step in steps}
    assert {("person-1", "offer.received"), ("person-1", "contract.confirmed")} <= whats
    assert {(winner, "offer.made"), (winner, "contract.confirmed")} <= whats
    assert {one["node"] for one in trace["decisions"]} == {"vendor-1", "vendor-2"}


def test_a_scenario_is_played_on_the_screen(place: Path) -> None:
    """Step by step, and the end is told; then the mesh goes."""
    env = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(
        [*COMMAND, "mesh", "up", "--scenario", "first-deal", "--once"],
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    assert "alice accept wish car by bob" in done.stdout
    assert "All holds: Alice asks, Bob's shop answers" in done.stdout
    lines = done.stdout.splitlines()
    heads = [number for number, line in enumerate(lines) if line.split() == list(COLUMNS)]
    assert heads, "the table is printed into a pipe too"
    assert [line.split()[0] for line in lines[heads[0] + 1 : heads[0] + 4]] == ["market", "alice", "bob"]
    bob = next(line.split() for line in reversed(lines) if line.startswith("bob "))
    assert dict(zip(COLUMNS, bob, strict=False))["offered"] == "1"
    assert list(place.iterdir()) == []


def test_faults_of_the_network_are_refused_where_there_are_none(place: Path) -> None:
    """At once, and not when their time has come."""
    for flags in (["--libp2p", "--partition", "person-1@9m"], ["--process", "--delay", "80ms"]):
        done = subprocess.run(
            [*COMMAND, "mesh", "up", *flags],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "TMPDIR": str(place)},
        )
        assert (done.returncode, done.stdout) == (Exit.USAGE, "")
        assert f"Leave out {flags[0]}." in done.stderr


def test_flags_beside_a_scenario_are_obeyed_or_refused(place: Path) -> None:
    """The weather and the partition of flags fall on the story; who is there, its file says."""
    words = [*COMMAND, "mesh", "up", "--scenario", "first-deal", "--once"]
    env = {**os.environ, "TMPDIR": str(place)}
    for flag in (["--nodes", "30"], ["--vendors", "2"], ["--topology", "ring"]):
        done = subprocess.run([*words, *flag], capture_output=True, text=True, timeout=60, env=env)
        assert (done.returncode, done.stdout) == (Exit.USAGE, "")
        assert f"{flag[0]} does not go with --scenario" in done.stderr
    faults = ["--delay", "150ms", "--partition", "alice|bob@1s-2s"]
    done = subprocess.run([*words, *faults], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    assert "parted alice | bob | the others" in done.stdout
    assert "s  heal" in done.stdout
    assert max(int(lag) for lag in re.findall(r"(\d+) ms$", done.stdout, re.MULTILINE)) >= 150


def test_what_flags_say_stands_before_the_file(tmp_path: Path) -> None:
    """Only what they name; a fault needs its hour and people who are in the story."""
    story = tmp_path / "story.toml"
    story.write_text(
        'story = "x"\nseed = 4\nweather = { delay = "1s", jitter = "2ms" }\nnodes = { bob = {}, eve = {} }'
    )
    found = load_scenario(story, worse("80ms", "5%", "bob|eve@3s", None))
    assert (found.weather.delay, found.weather.jitter, found.weather.loss, found.seed) == (0.08, 0.002, 0.05, 4)
    assert [(fault.does, fault.at) for fault in found.meanwhile] == [("partition", 3)]
    assert load_scenario(story, worse(None, None, None, 9)).seed == 9
    with pytest.raises(Trouble, match=r"meanwhile, 1 \(partition\): there is no node 'carol'"):
        load_scenario(story, worse(None, None, "carol@3s", None))
    with pytest.raises(Trouble, match=r"meanwhile, 1 \(heal\): when\?"):
        load_scenario(story, {"meanwhile": [{"does": "heal"}]})


def test_what_a_killed_mesh_left_is_taken_away_by_the_next(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After kill -9 its nodes end by themselves, and its folder goes when another mesh starts; that of a mesh that
    lives stays."""
    env = {**os.environ, "TMPDIR": str(place)}
    words = [*COMMAND, "mesh", "up", "--json", "--nodes", "2", "--process"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env) as killed:
        assert killed.stdout is not None
        left = Path(json.loads(killed.stdout.readline())["folder"])
        assert running_in(left)
        killed.kill()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with mesh(place, "--nodes", "2") as living:  # its end finds nothing in the place, and nobody
        assert not left.exists()
        with open_folder(None, "intentcast-mesh-") as another:
            assert another.is_dir()
            assert Path(living["folder"], "mesh.json").is_file()


def test_plans_have_the_shape_one_asks_for(tmp_path: Path) -> None:
    """Every node starts from somebody before it; a file of pairs can say from whom."""
    ring = plan(5, 2, "ring").nodes
    assert [spec.join for spec in ring.values()] == [
        None, ["market"], ["person-1"], ["person-2"], ["vendor-1", "market"]
    ]  # fmt: skip
    assert plan(9, 3, "random", seed=7).nodes == plan(9, 3, "random", seed=7).nodes
    assert plan(9, 3, "random", seed=7).nodes != plan(9, 3, "random", seed=8).nodes
    pairs = tmp_path / "pairs"
    pairs.write_text("market person-1\nvendor-1 person-1  # a shop round the corner\n")
    assert plan(3, 1, str(pairs)).nodes["vendor-1"].join == ["person-1"]
    parted = plan(4, 1, partition="person-1,person-2|vendor-1@30s-90s")
    assert [(step.does, step.at) for step in parted.steps] == [("partition", 30), ("heal", 90)]
    assert plan(4, 1, loss="5%").needs_memory == "weather"
    assert parted.needs_memory == "partition"
    assert plan(4, 1).needs_memory is None


def test_the_table_as_text() -> None:
    """Words begin at the left, numbers end at the right; who is down has none."""
    rows = [Row("market", "meeting", peers=11, heard=2, lag=0), Row("person-1", "person", up=False)]
    assert table_lines(rows) == [
        "node      role     peers  mesh  heard  wishes  offered  waiting   lag",
        "market    meeting     11     0      2       0        0        0  0 ms",
        "person-1  person    down",
    ]


def test_on_a_small_screen_the_last_people_give_way() -> None:
    """Who is down, sells or holds mail is shown as long as there is room; the order stays."""
    roles = {
        "market": "meeting",
        "person-1": "person",
        "person-2": "person",
        "person-3": "person",
        "vendor-1": "vendor",
    }
    rows = [Row(name, role, up=name != "person-3") for name, role in roles.items()]
    assert fitting(rows, 5) == (rows, 0)
    shown, left_out = fitting(rows, 4)
    assert [row.node for row in shown] == ["market", "person-1", "person-3", "vendor-1"]
    assert left_out == 1


async def test_they_come_side_by_side_each_after_whom_it_starts_from(clock: MockClock) -> None:
    """So many at a time and no more; a chain is a chain. When one cannot come, nobody comes after it."""
    stage = PaperStage()
    came: list[str] = []
    await Play(plan(9, 2, "star"), stage).enter_side_by_side(3, came.append)
    assert (stage.order[0], stage.most, clock.current_time()) == ("market", 3, 4.0)
    assert sorted(came) == sorted(stage.actors)

    stage = PaperStage()
    await Play(plan(4, 1, "ring"), stage).enter_side_by_side(3, came.append)
    assert stage.order == ["market", "person-1", "person-2", "vendor-1"]

    stage = PaperStage(fails="person-2")
    with pytest.raises(Trouble, match="person-2 did not start"):
        await Play(plan(4, 1, "ring"), stage).enter_side_by_side(3, came.append)
    assert stage.order == ["market", "person-1"]


class PaperStage:
    """Nobody is there; each takes a second to come."""

    world = None

    def __init__(self, fails: str = "") -> None:
        self.actors: dict[str, Any] = {}
        self.order: list[str] = []
        self.most = 0
        self._fails = fails
        self._coming = 0

    async def enter(self, name: str, _spec: NodeSpec, join: Sequence[str]) -> None:
        assert set(join) <= set(self.order), f"{name} came before {join}"
        self._coming += 1
        self.most = max(self.most, self._coming)
        await trio.sleep(1)
        self._coming -= 1
        if name == self._fails:
            raise Trouble("no_start", f"{name} did not start")
        self.actors[name] = SimpleNamespace(desk=self, is_up=True, peer_id=name)
        self.order.append(name)

    async def status(self) -> dict[str, Any]:
        return {"vendor": "a key"}

    def set_clock(self, name: str, skew: float) -> None: ...

    def sleep(self, seconds: float) -> None: ...


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"nodes": 1, "vendors": 0}, "a mesh has 2 to 200 nodes"),
        ({"nodes": 3, "vendors": 3}, "3 vendors do not fit"),
        ({"nodes": 3, "vendors": 1, "topology": "donut"}, "no topology 'donut'"),
        ({"nodes": 3, "vendors": 1, "delay": "fast"}, "'fast' is no span of time"),
        ({"nodes": 3, "vendors": 1, "loss": "150%"}, "'150%' is no share"),
        ({"nodes": 3, "vendors": 1, "partition": "market"}, "does not say who is parted, and when"),
        ({"nodes": 3, "vendors": 1, "partition": "bob@3s"}, "there is no node 'bob'"),
        ({"nodes": 3, "vendors": 1, "partition": "market|@3s"}, "does not say who is parted, and when"),
    ],
)
def test_a_bad_flag_is_told(words: dict[str, Any], said: str) -> None:
    with pytest.raises(Trouble) as trouble:
        plan(**words)
    assert said in trouble.value.message
    assert trouble.value.exit_code == Exit.USAGE
