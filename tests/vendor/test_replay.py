"""Recorded wishes, asked again: before a price list or a program goes to work."""

import json
from pathlib import Path

import pytest

from node.cli.app import main
from node.town.samples import ALPINE, SKIING
from node.trouble import Exit

PROGRAM = """
from node.vendor import Vendor

shop = Vendor("Bob", categories=["mobility.**"])

@shop.on_intent(action="rent")
def quote(wish, ctx):
    if "raise" in wish.title:
        raise ValueError("oh no")
    return ctx.offer(total="100 EUR", props={"drive": "4x4"})
"""


def recorded(**more: object) -> dict[str, object]:
    """As `intentcast intents --json` shows a wish."""
    head = {"id": "a" * 64, "revision": "b" * 64, "state": "open", "at": 1_800_000_000, "exp": 1_800_600_000}
    return {**head, **SKIING, **more}


@pytest.fixture
def wishes(tmp_path: Path) -> Path:
    file = tmp_path / "wishes.json"
    views = [recorded(), recorded(title="Please raise"), recorded(action="buy", title="A car to keep\x1b[31m")]
    file.write_text(json.dumps({"intents": views}))
    return file


def test_a_program_is_asked(wishes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.py").write_text(PROGRAM)
    code = main(["vendor", "replay", str(wishes), "--program", str(tmp_path / "shop.py")])
    lines = capsys.readouterr().out.splitlines()
    assert code == Exit.FAILURE
    assert lines[0].endswith("100.00 EUR for 1 x " + str(SKIING["title"]) + "; not as wished: winter_tyres")
    assert lines[1] == "Please raise: raised ValueError: oh no"
    assert lines[2].endswith(": nothing")
    assert "\x1b" not in lines[2]


def test_a_catalogue_is_asked(wishes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.toml").write_text(ALPINE.format(name="Alpine Cars", price="48.00", stock=3))
    code = main(["vendor", "replay", str(wishes), "--catalogue", str(tmp_path / "shop.toml"), "--json"])
    views = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == Exit.OK
    assert [view["answer"] for view in views] == ["offer", "offer", "none"]
    assert views[0]["offer"]["total"] == {"minor": 28_800, "currency": "EUR"}
    assert views[2]["line"] == "you have that, but not to buy"


@pytest.mark.parametrize(
    ("text", "says"), [("{}", "this is no wish"), ("[1]", "is no wish"), ('{"a":1}\nno', "wishes.json:2"), ("", "")]
)
def test_what_is_no_wish_is_told(text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.toml").write_text(ALPINE.format(name="Alpine Cars", price="48.00", stock=3))
    (tmp_path / "wishes.json").write_text(text)
    code = main(["vendor", "replay", str(tmp_path / "wishes.json"), "--catalogue", str(tmp_path / "shop.toml")])
    assert code == (Exit.USAGE if says else Exit.OK)
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import and", "shop.py: SyntaxError"),
        ("x = 1\nx.shop()", "shop.py:2: AttributeError"),
        ("shop = 5", "no Vendor called shop"),
    ],
)
def test_a_program_that_cannot_be_loaded_is_told(
    text: str, says: str, wishes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop.py").write_text(text)
    assert main(["vendor", "replay", str(wishes), "--program", str(tmp_path / "shop.py")]) != Exit.OK
    assert says in capsys.readouterr().err


def test_slips_at_the_command_line_are_told(wishes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.toml").write_text(ALPINE.format(name="Alpine Cars", price="48.00", stock=3))
    wishes.write_bytes(b"\xff\xaa")
    assert main(["vendor", "replay", str(wishes), "--catalogue", str(tmp_path / "shop.toml")]) == Exit.USAGE
    assert "is no text in UTF-8" in capsys.readouterr().err
    assert main(["vendor", "leads", "--csv", "--json", "--home", str(tmp_path)]) == Exit.USAGE
    assert "--csv and --json at once" in capsys.readouterr().out


def test_a_list_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad lines are shown with file and line, as compilers do, and the exit code says that some are left out."""
    (tmp_path / "cars.csv").write_text("Title;Price\nDuster;48\nClio;cheap\n")
    (tmp_path / "catalogue.toml").write_text(
        'name = "A"\ncontact = "b"\ncategories = ["mobility.**"]\ncurrency = "EUR"\n'
        '[[lists]]\nfile = "cars.csv"\ncategory = "mobility.car"\naction = "rent"\nper = "day"\nplaces = "anywhere"\n'
    )
    assert main(["vendor", "check", str(tmp_path / "catalogue.toml")]) == Exit.REFUSED
    out = capsys.readouterr().out.splitlines()
    assert out[1] == f"{tmp_path}/cars.csv: 1 of 2 lines are used"
    assert out[2].startswith(f"{tmp_path}/cars.csv:3: 'cheap' is no")
