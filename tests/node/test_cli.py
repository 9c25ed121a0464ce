"""Commands, as people and scripts use them, against the real API on a real socket with a desk of paper behind it."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from node.api import serve_api
from node.cli.app import main
from node.cli.spans import show_instant
from node.home import Home
from node.trouble import Exit
from tests.node.paper_desk import PEER_ID, PaperDesk

ASK = ["ask", "4x4", "from", "Lyon", "--action", "rent", "--category", "mobility.car"]


class Shell:
    """Types commands into one home. stdout and stderr are those of the last command."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys
        self.out = self.err = ""

    async def run(self, *words: str) -> int:
        code = await trio.to_thread.run_sync(main, [*words, "--home", str(self.home)])
        self.out, self.err = self._capsys.readouterr()
        return code

    async def json(self, *words: str, code: int = 0) -> Any:
        assert await self.run(*words, "--json") == code, self.out + self.err
        lines = self.out.splitlines()
        assert len(lines) == 1, "exactly one JSON document"
        return json.loads(lines[0])


@asynccontextmanager
async def running(home: Path, desk: PaperDesk) -> AsyncIterator[None]:
    """A node in its home, as `up` runs it."""
    directory = Home(home)
    directory.make("test")
    with trio.fail_after(20), directory.lock():
        async with trio.open_nursery() as nursery:
            path = await nursery.start(serve_api, desk, directory.socket_path())
            directory.write_note(peer_id=PEER_ID, addresses=[], net="test", socket=str(path))
            yield
            nursery.cancel_scope.cancel()


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path / "home", capsys)


# ------------------------------------------------------------------------------------------------------ the person


async def test_alice_asks_and_scripts_get_what_they_rely_on(shell: Shell) -> None:
    """The wish reaches the desk as said; offers that were there before we looked are in the answer."""
    desk = PaperDesk()
    desk.answers = [{"minor": 24_000}]
    async with running(shell.home, desk):
        found = await shell.json(
            *ASK, "--yes", "--wait", "5s", "--max-offers", "1", "--max-price", "400 EUR", "--public-price", "450 EUR",
            "--where", "iata:LYS", "--from", "2027-02-14T10:00", "--to", "2027-02-21T10:00", "--tz", "Europe/Paris",
            "--prop", "drive=awd", "--want", "gps=yes", "--avoid", "fuel=diesel", "--expires", "2d", "--note", "hi",
            "--terms", "a", "--terms", "b", "--quantity", "2", "--spread", "0",
        )  # fmt: skip
    assert set(found) >= {"intent", "reached", "hidden", "offers"}
    assert set(found["intent"]) >= {"id", "category", "action"}
    (offer,) = found["offers"]
    assert set(offer) >= {"id", "vendor", "total", "meets", "deviates", "state"}
    assert (found["reached"], found["hidden"], offer["total"]) == (2, 0, {"minor": 24_000, "currency": "EUR"})
    assert desk.asked == desk.previewed
    assert desk.asked == [
        {
            "action": "rent",
            "category": "mobility.car",
            "title": "4x4 from Lyon",
            "note": "hi",
            "props": [
                {"name": "drive", "op": "eq", "value": "awd", "need": "must"},
                {"name": "gps", "op": "eq", "value": "yes", "need": "want"},
                {"name": "fuel", "op": "eq", "value": "diesel", "need": "avoid"},
            ],
            "quantity": 2,
            "when": {"start": "2027-02-14T10:00", "end": "2027-02-21T10:00", "tz": "Europe/Paris"},
            "where": {"at": {"code": "iata:LYS"}},
            "limit_public": {"minor": 45_000, "currency": "EUR"},
            "limit_private": {"minor": 40_000, "currency": "EUR"},
            "max_offers": 1,
            "spread": 0,
            "terms": ["a", "b"],
            "expires": 172_800,
        }
    ]


async def test_before_sending_she_sees_what_is_public_and_what_stays(shell: Shell) -> None:
    """Two columns on stderr; the private limit is in the right one. stdout has only the result."""
    desk = PaperDesk()
    async with running(shell.home, desk):
        assert await shell.run(*ASK, "--yes", "--max-price", "400 EUR") == 0
    public, here = shell.err.index("PUBLIC"), shell.err.index("STAYS HERE")
    assert public < here
    row = next(line for line in shell.err.splitlines() if "400.00 EUR" in line)
    assert row.rindex("400.00 EUR") > row.rindex("│", 0, row.rindex("400.00 EUR")) > row.index("│")
    assert shell.out == ""


async def test_without_a_terminal_a_wish_needs_yes(shell: Shell) -> None:
    """Nothing is public by accident: exit 2 and a hint, before anything is sent."""
    desk = PaperDesk()
    async with running(shell.home, desk):
        answer = await shell.json(*ASK, code=Exit.USAGE)
    assert answer["error"]["code"] == "needs_yes"
    assert "--yes" in answer["error"]["hint"]
    assert desk.asked == []


async def test_an_offer_that_comes_while_she_waits(shell: Shell) -> None:
    """Offers arrive live, told on stderr, and end the wait when there are as many as she wanted."""
    desk = PaperDesk()
    async with running(shell.home, desk):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def bob() -> None:
                await desk.watched.wait()
                desk.tell("wish.heard", intent="somebody else's")
                desk.arrive(next(iter(desk.own)), name="Bob's cars")

            started = time.monotonic()
            found = await shell.json(*ASK, "--yes", "--wait", "15s", "--max-offers", "1")
    assert time.monotonic() - started < 10
    assert [offer["vendor"]["name"] for offer in found["offers"]] == ["Bob's cars"]
    assert "Bob's cars" in shell.err


@pytest.mark.parametrize(
    ("reached", "answers", "wait", "code", "hidden"),
    [
        (0, [], None, Exit.NOTHING_CAME, 0),
        (0, [], "1s", Exit.NOTHING_CAME, 0),
        (2, [], "1s", Exit.NOTHING_CAME, 0),
        (2, [], None, Exit.OK, 0),
        (2, [{"state": "over_limit"}], "1s", Exit.OK, 1),
        (2, [{}], "1s", Exit.OK, 0),
    ],
)
async def test_nothing_came_in_time(
    shell: Shell, reached: int, answers: list[dict[str, Any]], wait: str | None, code: Exit, hidden: int
) -> None:
    """Exit 6 if nobody was reached, or nothing came within --wait; the JSON carries the wish all the same."""
    desk = PaperDesk()
    desk.reached, desk.answers = reached, answers
    async with running(shell.home, desk):
        found = await shell.json(*ASK, "--yes", *(["--wait", wait] if wait else []), code=code)
    assert found["intent"]["id"] in desk.own
    assert (found["reached"], found["hidden"]) == (reached, hidden)
    if not reached:
        assert "Nobody was reached" in shell.err


async def test_offers_accept_and_the_rest(shell: Shell) -> None:
    """The documented shapes of offers, accept, decline, withdraw, show, status and invite."""
    desk = PaperDesk()
    async with running(shell.home, desk):
        wish = await desk.ask({"action": "rent", "category": "mobility.car", "title": "4x4"}, 0)
        intent = wish["intent"]["id"]
        offer = desk.arrive(intent)["id"]
        over = desk.arrive(intent, state="over_limit")["id"]
        listed = await shell.json("offers", intent)
        assert ([one["id"] for one in listed["offers"]], listed["hidden"]) == ([offer], 1)
        everything = await shell.json("offers", intent, "--all")
        assert [one["id"] for one in everything["offers"]] == [offer, over]
        words = ["--contact", "Alice, +33", "--option", "gps", "--wait", "3s", "--note", "hello"]
        contract = (await shell.json("accept", offer, *words))["contract"]
        assert set(contract) >= {"id", "state", "intent", "offer", "requester", "vendor", "vendor_contact"}
        assert (contract["state"], contract["offer"]) == ("confirmed", offer)
        assert desk.accepted == [{"contact": "Alice, +33", "note": "hello", "options": ["gps"], "wait": 3.0}]
        assert (await shell.json("decline", over, "--reason", "product_fit"))["offer"]["state"] == "declined"
        assert (await shell.json("show", offer))["kind"] == "offer"
        assert (await shell.json("withdraw", intent))["intent"]["state"] == "withdrawn"
        assert (await shell.json("status"))["peer_id"] == PEER_ID
        assert (await shell.json("invite"))["address"].endswith(PEER_ID)
        assert (await shell.json("intents", "--mine"))["intents"][0]["id"] == intent


@pytest.mark.parametrize(("state", "code"), [("accepted", 6), ("rejected", 5), ("lapsed", 5), ("confirmed", 0)])
async def test_what_became_of_an_accept(shell: Shell, state: str, code: int) -> None:
    """No confirm in time is 6, no from the vendor is 5; the JSON is the contract in every case."""
    desk = PaperDesk()
    desk.confirms = state
    async with running(shell.home, desk):
        offer = desk.arrive("f" * 64)["id"]
        found = await shell.json("accept", offer, "--contact", "Alice", code=code)
    assert found["contract"]["state"] == state


async def test_an_accept_never_outlives_the_offer_and_says_so(shell: Shell) -> None:
    """Asked for a day on an offer good for two hours: the offer itself ends then. No advice that cannot help is given;
    where more time could be given, it says until when."""
    desk = PaperDesk()
    desk.confirms = "accepted"
    words = ["--contact", "Alice", "--answer-within", "1d"]
    async with running(shell.home, desk):
        offer = desk.arrive("f" * 64)["id"]
        desk.accept_view = {"answer_by": 1_800_000_000, "valid_until": 1_800_000_000, "delivery": "STORED"}
        assert await shell.run("accept", offer, *words) == Exit.NOTHING_CAME
        assert "the offer itself ends then" in shell.err
        assert "a mailbox holds it" in shell.err
        assert "Another time" not in shell.err
        desk.accept_view["valid_until"] = 1_800_007_200
        assert await shell.run("accept", offer, *words) == Exit.NOTHING_CAME
        assert "the offer itself ends" not in shell.err
        assert f"this offer is good until {show_instant(1_800_007_200)}" in shell.err


# ------------------------------------------------------------------------------------------------------ the vendor


async def test_bob_answers_by_hand(shell: Shell) -> None:
    """intents, offer, offers: the sum is checked before the node hears of it."""
    desk = PaperDesk()
    async with running(shell.home, desk):
        (heard,) = (await shell.json("intents"))["intents"]
        words = ["--line", "7 days=210 EUR", "--fee", "Airport=30 EUR", "--prop", "drive=awd", "--valid-for", "2h"]
        made = await shell.json("offer", heard["id"], "--total", "240 EUR", *words, "--name", "Bob", "--contact", "+33")
        assert made["offer"]["total"] == {"minor": 24_000, "currency": "EUR"}
        (listed,) = (await shell.json("offers"))["offers"]
        assert listed["said"] == {
            "total": {"minor": 24_000, "currency": "EUR"},
            "valid_for": 7_200,
            "lines": [{"title": "7 days", "count": 1, "unit": "item", "price": 21_000, "amount": 21_000}],
            "fees": [{"name": "Airport", "amount": 3_000}],
            "props": [{"name": "drive", "value": "awd"}],
            "name": "Bob",
            "contact": "+33",
        }
        wrong = await shell.json("offer", heard["id"], "--total", "250 EUR", *words, code=Exit.USAGE)
        assert "add up to 240.00 EUR" in wrong["error"]["message"]
        assert len(desk.offers) == 1


async def test_people_get_tables_and_no_markup(shell: Shell) -> None:
    """A vendor's name is text: neither markup nor escapes reach the terminal."""
    desk = PaperDesk()
    async with running(shell.home, desk):
        wish = await desk.ask({}, 0)
        desk.arrive(wish["intent"]["id"], name="[red]Mallory\x1b[2J\nEvil[/red]")
        assert await shell.run("offers", wish["intent"]["id"]) == 0
        (line,) = shell.out.splitlines()
        assert line.split("\t")[1:4] == ["240.00 EUR", "[red]Mallory�[2J Evil[/red]", "offered"]
        assert await shell.run("intents") == 0
        assert "mobility.car" in shell.out


# ------------------------------------------------------------------------------------------------- what goes wrong

PRICE = ["--max-price", "400"]
DATES = ["--from", "2027-02-21", "--to", "2027-02-14"]


@pytest.mark.parametrize(
    ("words", "code", "word", "says", "helps"),
    [
        ([*ASK, "--yes", *PRICE], 2, "bad_price", "--max-price: '400' has no currency", "400 EUR"),
        ([*ASK, "--yes", *DATES], 2, "bad_dates", "--to 2027-02-14 does not come after --from 2027-02-21", ""),
        ([*ASK[:-1], "mobility.cra", "--yes"], 2, "unknown_category", "mobility.cra", "mobility.car"),
        ([*ASK, "--yes", "--where", "Lyon"], 2, "bad_place", "--where 'Lyon'", "iata:LYS"),
        (ASK[:4], 2, "no_action", "--action is missing", "buy, rent"),
        ([*ASK[:6], "--yes"], 2, "no_category", "--category is missing", "plumber"),
        (["ask", *ASK[4:]], 2, "no_title", "say in a few words", "intentcast ask"),
        ([*ASK, "--action", "steal"], 2, "bad_action", "'steal'", "repair"),
        ([*ASK, "--quantity", "0"], 2, "usage", "--quantity", "--help"),
        ([*ASK, "--wait", "2h"], 2, "bad_duration", "over an hour", ""),
        ([*ASK, "--update", "xyz"], 2, "bad_id", "no id of a wish", "first 8"),
        ([*ASK, "--colour", "red"], 2, "usage", "No such option", "intentcast ask --help"),
        (["frobnicate"], 2, "usage", "No such command", "--help"),
        (["offers", "deadbeef"], 3, "not_found", "there is no wish deadbeef", "status"),
        (["offers", "dead"], 2, "bad_id", "'dead' is no id", ""),
        (["show", "deadbeef"], 3, "not_found", "deadbeef", ""),
        (["accept", "deadbeef"], 2, "no_contact", "reach you", "--contact"),
        (["accept", "deadbeef", "--contact", "A"], 3, "not_found", "deadbeef", ""),
        (["decline", "deadbeef", "--reason", "ugly"], 2, "bad_reason", "ugly", "product_fit"),
        (["offer", "deadbeef", "--total", "1,000 EUR"], 2, "bad_price", "two ways", "1000 EUR"),
        (["offer", "deadbeef", "--total", "9 EUR", "--fee", "x"], 2, "bad_line", "'x'", "Airport"),
        (["offer", "deadbeef", "--total", "9 EUR", "--fee", "x=1 CHF"], 2, "bad_line", "1 CHF is not in EUR", ""),
        (["peers"], 1, "bug", "ZeroDivisionError", "log"),
        (["verify", "/nonexistent"], 3, "not_found", "/nonexistent", ""),
    ],
)
async def test_it_says_what_where_and_how_to_mend_it(
    shell: Shell, words: list[str], code: int, word: str, says: str, helps: str
) -> None:
    """One stable word, a sentence, a hint, the right exit code; the same to people on stderr; nothing is asked."""
    desk = PaperDesk()
    async with running(shell.home, desk):
        if words[0] == "verify":
            assert await trio.to_thread.run_sync(main, [*words, "--json"]) == code
            shell.out, _ = shell._capsys.readouterr()
            answer = json.loads(shell.out)
        else:
            answer = await shell.json(*words, code=code)
            assert await shell.run(*words) == code
            assert shell.out == ""
            assert says in shell.err
    assert answer["error"]["code"] == word
    assert says in answer["error"]["message"]
    assert helps in answer["error"]["hint"]
    assert desk.asked == []
    assert desk.accepted == []


@pytest.mark.parametrize("words", [["status"], ["intents"], ["invite"], ["show", "deadbeef"], [*ASK, "--yes"]])
async def test_no_node_runs(shell: Shell, words: list[str]) -> None:
    """Exit 4 with the command that starts it, whether there is no home, an idle one, or a killed node's leftovers;
    and nothing is made."""
    answer = await shell.json(*words, code=Exit.NOT_RUNNING)
    assert answer["error"]["code"] == "not_running"
    assert "intentcast up" in answer["error"]["hint"]
    assert not shell.home.exists()
    directory = Home(shell.home)
    directory.make("test")
    await shell.json(*words, code=Exit.NOT_RUNNING)
    directory.write_note(socket=str(directory.socket_path()))
    await shell.json(*words, code=Exit.NOT_RUNNING)


async def test_home_and_json_may_stand_before_the_command(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """As people type them, and from the environment too."""
    async with running(shell.home, PaperDesk()):
        words = ["--home", str(shell.home), "--json", "status"]
        assert await trio.to_thread.run_sync(main, words) == 0
        assert json.loads(capsys.readouterr().out)["peer_id"] == PEER_ID


def test_somebody_elses_home(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Refused by every command, before anything is read or written."""
    home = tmp_path / "home"
    Home(home).make("main")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in home.iterdir())
    owner = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    for words in (["up"], ["init"], ["status"], ["offers"], ["export", "deadbeef", str(tmp_path / "x")]):
        assert main([*words, "--home", str(home), "--json"]) == Exit.REFUSED
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "home_of_another"
    assert sorted((path.name, path.stat().st_mtime_ns) for path in home.iterdir()) == before


# --------------------------------------------------------------------------------------------------- homes and files


def test_init_makes_a_home_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it made; the second time nothing; another network is refused."""
    home = tmp_path / "home"
    assert main(["init", "--home", str(home), "--net", "lab", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["home"], first["net"]) == (str(home), "lab")
    assert first["peer_id"].startswith("12D3KooW")
    assert "node.key" in first["made"]
    assert main(["init", "--home", str(home), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["net"], again["peer_id"], again["made"]) == ("lab", first["peer_id"], [])
    assert main(["init", "--home", str(home), "--net", "main", "--json"]) == Exit.REFUSED
    assert "belongs to the network lab" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main(["init", "--home", str(tmp_path / "b"), "--net", "Big Net"]) == Exit.USAGE
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--join", "not-an-address", "--join: 'not-an-address'"),
        ("--join", "/ip4/127.0.0.1/tcp/4001", "must end in /p2p/"),
        ("--join", "/ip4/300.0.0.1/tcp/1/p2p/12D3KooW", "300.0.0.1"),
        ("--listen", "/ip4/127.0.0.1/tcp/70000", "70000"),
        ("--net", "Main!", "--net: "),
        ("--log-level", "loud", "--log-level: "),
    ],
)
def test_up_with_wrong_words_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, says: str
) -> None:
    """An address that does not parse: exit 2, what and where, and no home."""
    home = tmp_path / "home"
    assert main(["up", "--home", str(home), flag, value, "--json"]) == Exit.USAGE
    error = json.loads(capsys.readouterr().out)["error"]
    assert says in error["message"]
    assert error["hint"]
    assert not home.exists()


def test_verify_of_what_is_no_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 5, valid: false and a reason, without a node and without a home."""
    file = tmp_path / "x.evidence"
    for data in (b"", b"\x00", os.urandom(100), bytes(2 << 20)):
        file.write_bytes(data)
        assert main(["verify", str(file), "--json"]) == Exit.REFUSED
        answer = json.loads(capsys.readouterr().out)
        assert answer["error"]["code"] == "not_valid"
    file.write_bytes(b"\x00")
    assert main(["verify", str(file), "--json"]) == Exit.REFUSED
    assert json.loads(capsys.readouterr().out)["valid"] is False


# ------------------------------------------------------------------------------------------------ the whole program


def start(home: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.node.paper_desk", "up", "--home", str(home), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


def test_up_runs_until_it_is_told_to_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ready in one line; a second `up` is refused with the pid; SIGTERM ends it cleanly and says what remains."""
    home = tmp_path / "home"
    node = start(home, "--json", "--net", "lab", "--listen", "/ip4/127.0.0.1/tcp/0")
    assert node.stdout is not None
    ready = json.loads(node.stdout.readline())
    assert ready == {
        "event": "ready",
        "peer_id": PEER_ID,
        "addresses": [f"/ip4/127.0.0.1/tcp/20123/p2p/{PEER_ID}"],
        "home": str(home),
        "net": "lab",
    }
    assert main(["status", "--home", str(home), "--json"]) == 0
    capsys.readouterr()
    code, out, _ = finish(start(home, "--json"))
    error = json.loads(out)["error"]
    assert (code, error["code"]) == (Exit.REFUSED, "home_running")
    assert f"process {node.pid}" in error["message"]
    assert "--home" in error["hint"]
    assert main(["status", "--home", str(home), "--json"]) == 0
    started = time.monotonic()
    node.terminate()
    code, _, err = finish(node)
    assert time.monotonic() - started < 3
    assert code == 0
    assert "Made a home" in err
    assert "No peer was given" in err
    assert "intentcast demo" in err
    assert "open threads: 1" in err
    assert not (home / "node.sock").exists()
    assert not (home / "running.json").exists()
    assert main(["status", "--home", str(home)]) == Exit.NOT_RUNNING


def test_up_after_a_kill_and_ctrl_c(tmp_path: Path) -> None:
    """A killed node's socket, note and lock are no obstacle; Ctrl-C is exit 130."""
    home = tmp_path / "home"
    for signal_number, code in ((9, -9), (2, Exit.INTERRUPTED)):
        node = start(home)
        assert node.stdout is not None
        assert node.stdout.readline() == f"Ready: {PEER_ID} on main\n"
        assert stat.S_IMODE((home / "node.sock").stat().st_mode) == 0o600
        node.send_signal(signal_number)
        assert finish(node)[0] == code
    assert not (home / "node.sock").exists()


def test_a_port_in_use_leaves_no_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A first start that cannot listen says which address and why, and makes nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        assert main(["up", "--home", str(tmp_path / "home"), "--listen", address, "--json"]) == Exit.FAILURE
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["message"]) == ("listen", f"cannot listen on {address}: Address already in use")
    assert "--listen" in error["hint"]
    assert not (tmp_path / "home").exists()


def test_a_port_in_use_is_told_as_it_is(tmp_path: Path) -> None:
    """What the network says of it comes through the nurseries as one sentence, and the home is free again."""
    Home(tmp_path / "home").make("main")
    code, out, err = finish(start(tmp_path / "home", "--json", "--listen", "/ip4/127.0.0.1/tcp/1"))
    assert code == Exit.FAILURE
    assert json.loads(out)["error"]["code"] == "port_in_use"
    assert "Traceback" not in err
    assert not Home(tmp_path / "home").is_running


HEAVY = ("libp2p", "multiaddr", "fastapi", "starlette", "hypercorn", "sqlalchemy", "nacl", "trio", "structlog")
"""Typer itself brings pydantic along."""


@pytest.mark.parametrize(
    "words",
    [["--help"], ["ask", "--help"], ["up", "--help"], ["status"], ["offers", "deadbeef"], [*ASK, "--yes"], ["peers"]],
    ids=lambda words: words[0] + words[-1],
)
def test_client_commands_stay_light(tmp_path: Path, words: list[str]) -> None:
    """Neither libp2p nor the server is imported for help or for talking to a running node."""
    program = (
        "import sys; from node.cli.app import main; code = main(sys.argv[1:])\n"
        f"print([name for name in {HEAVY} if name in sys.modules], 'node.api' in sys.modules, file=sys.stderr)"
    )
    home = [] if "--help" in words else ["--home", str(tmp_path)]
    ran = subprocess.run([sys.executable, "-c", program, *words, *home], capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1] == "[] False", ran.stderr


def commands() -> list[list[str]]:
    return [
        [word]
        for word in (
            "init up ask intents offers show offer accept decline withdraw status peers invite export verify demo"
        ).split()
    ] + [["vendor", "init"], ["vendor"]]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_is_for_newcomers(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """One sentence of purpose and an example that runs this very command; every option is explained."""
    assert main([*words, "--help"]) == 0
    out = capsys.readouterr().out
    if words != ["vendor"]:
        assert f"intentcast {' '.join(words)}" in out.split("Options", 1)[0].split("Example", 1)[1]
    assert "<str>" not in out.rpartition("Options")[2], "each option says what it takes"


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """`intentcast ... | head` ends quietly."""
    program = "import sys; from node.cli import main; sys.exit(main())"
    ran = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" --help | true; exit ${PIPESTATUS[0]}', sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ran.stderr
    assert "BrokenPipe" not in ran.stderr
