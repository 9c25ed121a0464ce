"""A vendor's commands: look at the catalogue, decide accepts, see what happened."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from node.trouble import Exit, Trouble, refused, usage

from .client import check_id
from .options import Home, Json, client_of, home_path
from .output import clean, print_fields, print_json, say, short

ContractId = Annotated[str, typer.Argument(metavar="CONTRACT", help="Id of the accept, or its first 8 characters.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="A word to the customer.")]


def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A catalogue; that of the home if none is named.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Look at a catalogue and its lists without a node: what is wrong, line by line. Exit code 5 if lines are left out.

    Example:

    intentcast vendor check
    """
    from node.config import load_config
    from node.vendor.catalogue import load_catalogue

    if file is None:
        file = load_config(home_path(home)).catalogue
        if file is None:
            raise usage("no_catalogue", "this home has no catalogue", "Make one: intentcast vendor init --help")
    found = load_catalogue(file.absolute())
    lists: list[dict[str, Any]] = []
    for one in found.lists:
        report = one.report
        lists.append(
            {
                "file": str(report.file),
                "lines": report.lines,
                "used": report.kept,
                "left_out": report.bad_lines,
                "unused_columns": list(report.unused),
                "bad": [{"line": bad.line, "what": bad.what, "hint": bad.hint} for bad in report.bad],
            }
        )
    if as_json:
        print_json({"catalogue": str(file), "items": len(found.items), "lists": lists})
    else:
        print(f"{file}: {len(found.items)} items")
        for view in lists:
            print(f"{view['file']}: {view['used']} of {view['lines']} lines are used")
            if view["unused_columns"]:
                say(f"  Columns nothing was made of: {', '.join(view['unused_columns'])}")
            for bad in view["bad"]:
                print(f"{view['file']}:{bad['line']}: {bad['what']}" + (f" ({bad['hint']})" if bad["hint"] else ""))
            if view["left_out"] > len(view["bad"]):
                print(f"  ... and {view['left_out'] - len(view['bad'])} more")
    if any(view["left_out"] for view in lists):
        raise typer.Exit(Exit.REFUSED)


def confirm(
    contract: ContractId,
    reference: Annotated[str | None, typer.Option("--reference", metavar="TEXT", help="Your number for it.")] = None,
    note: Note = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Confirm an accept that waits for you: now there is a contract.

    Example:

    intentcast vendor confirm 5d20b3aa --reference R-17
    """
    _decide(contract, {"confirm": True, "reference": reference, "note": note}, home, as_json)


def reject(
    contract: ContractId,
    reason: Annotated[str, typer.Option("--reason", metavar="WORD", help="sold_out, terms or policy.")] = "policy",
    note: Note = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Refuse an accept that waits for you. It counts against your word.

    Example:

    intentcast vendor reject 5d20b3aa --reason sold_out
    """
    if reason not in ("sold_out", "terms", "policy"):
        raise usage("bad_reason", f"{reason!r} is no reason", "Known are sold_out, terms and policy.")
    _decide(contract, {"confirm": False, "reason": reason, "note": note}, home, as_json)


def _decide(contract: str, body: dict[str, Any], home: Path | None, as_json: bool) -> None:
    said = {name: value for name, value in body.items() if value is not None}
    found = client_of(home).post("vendor", "accepts", check_id(contract, "a contract"), body=said)
    if as_json:
        print_json(found)
    else:
        print_fields(found["contract"])


def stats(
    days: Annotated[int, typer.Option("--days", min=1, max=400, help="How many days to count.")] = 30,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What your node did, and what became of it: wishes heard, offers made, deals, how fast, and why not.

    Example:

    intentcast vendor stats --days 7
    """
    found = client_of(home).get("vendor", "stats", days=days)
    if as_json:
        print_json(found)
        return
    print(f"The last {found['days']} days")
    print(f"  heard {found['heard']}, of your kind {found['matched']}, offered {found['offered']}")
    ends = ("declined", "void", "withdrawn", "rejected", "lapsed")
    words = {"void": "expired or replaced", "rejected": "refused by you", "lapsed": "not confirmed in time"}
    print(f"  accepted {found['accepted']}, confirmed {found['confirmed']}")
    print("  " + ", ".join(f"{words.get(name, name)} {found[name]}" for name in ends))
    if found["honoured"] is not None:
        print(f"  word kept: {100 * found['honoured']:.1f} % of accepted offers")
    took = ", ".join(f"{name}: {count}" for name, count in found["took"].items() if count)
    if took:
        print(f"  answered within {took}")
    for title, name in (
        ("Passed over, because of", "passed_because"),
        ("Declined, because of", "declined_because"),
        ("Refused, because of", "rejected_because"),
    ):
        if found[name]:
            print(f"{title}")
            for reason, count in found[name].items():
                print(f"  {count:>6}  {reason}")
    _print_programs(found["programs"])


def why(home: Home = None, as_json: Json = False) -> None:
    """Wishes your node heard and did not answer, each with the reason in one line.

    Example:

    intentcast vendor why
    """
    found = client_of(home).get("vendor", "unanswered")
    if as_json:
        print_json(found)
        return
    for view in found["intents"]:
        print(clean(f"{short(view['id'])}  {view['title'][:50]}: {view['line']}"))
    if not found["intents"]:
        say("Every wish that was heard is answered.")


def programs(
    forget: Annotated[
        str | None, typer.Option("--forget", metavar="NAME", help="Wait no longer for a program that is away.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Your programs: who is at work, what they answered, and how they failed.

    Example:

    intentcast vendor programs
    """
    client = client_of(home)
    if forget is not None:
        found = client.delete("vendor", "programs", forget)["programs"]
    else:
        found = client.get("status")["programs"]
    if as_json:
        print_json({"programs": found})
    else:
        _print_programs(found)
        if not found:
            say("No program has come yet. How to write one: node/vendor/README.md")


def _print_programs(found: list[dict[str, Any]]) -> None:
    for view in found:
        counts = ", ".join(f"{name} {count}" for name, count in view["counts"].items())
        print(f"{view['name']}: {view['state']}" + (f" ({counts})" if counts else ""))
        if "last_error" in view:
            print(clean(f"  last failure: {view['last_error']}"))


def leads(
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write to a file.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets; no cell is a formula.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Your leads: every offer you made, with the person once they said who they are. JSON, or --csv.

    Example:

    intentcast vendor leads --csv --out leads.csv
    """
    from node.vendor.leads import as_csv as to_csv

    if as_csv and as_json and out is None:
        raise usage("csv_or_json", "--csv and --json at once", "Take one away, or write the CSV to a file: --out.")
    found = client_of(home).get("vendor", "leads")
    text = to_csv(found["leads"]) if as_csv else json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    from node.home import write_file

    try:
        write_file(out.absolute(), text.encode())
    except OSError as wrong:
        raise refused("not_written", f"{out}: {wrong.strerror}", "Choose another place.") from None
    if as_json:
        print_json({"file": str(out), "leads": len(found["leads"])})
    else:
        print(out)


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Wishes, one JSON document a line; - is stdin.")],
    program: Annotated[
        str | None, typer.Option("--program", metavar="FILE.py[:NAME]", help="Ask this program. It is run.")
    ] = None,
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", metavar="FILE", help="Ask this catalogue; without both, the home's.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What your catalogue or program would answer to recorded wishes. No node, no network; nothing is sent.

    Record some: intentcast intents --json > wishes.json

    Example:

    intentcast vendor replay wishes.json --program my_shop.py
    """
    from node.config import load_config
    from node.vendor.replay import read_wishes, replayed, with_catalogue, with_program

    if program is None and catalogue is None:
        catalogue = load_config(home_path(home)).catalogue
        if catalogue is None:
            raise usage("no_catalogue", "what is to be asked?", "Name a --program or a --catalogue.")
    answer = with_program(program) if program is not None else with_catalogue(catalogue)  # type: ignore[arg-type]
    failed = 0
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as wrong:
        raise Trouble("not_read", f"{file}: {wrong.strerror}", "", Exit.NOT_FOUND) from None
    except UnicodeDecodeError:
        raise usage("not_text", f"{file} is no text in UTF-8", "Use what `intentcast intents --json` prints.") from None
    for view in replayed(read_wishes(text, str(file)), answer):
        failed += view["answer"] == "failed"
        if as_json:
            print_json(view)
        else:
            print(clean(f"{view['title'][:50]}: {view['line']}"))
    if failed:
        raise typer.Exit(Exit.FAILURE)


hook = typer.Typer(help="Tell your own systems what happens, by signed requests.", no_args_is_help=True)


@hook.command("list")
def hook_list(home: Home = None, as_json: Json = False) -> None:
    """Who is told what, and how it went.

    Example:

    intentcast vendor hook list
    """
    found = client_of(home).get("vendor", "hooks")
    if as_json:
        print_json(found)
        return
    for view in found["hooks"]:
        print(f"{view['id']}  {view['url'] or '(what comes in)'}  {view['state']}")
        if view["url"]:
            print(f"  told {view['done']}, waiting {view['waiting']}, failed {view['failed']}")
            print(f"  {', '.join(view['events'])}")
        if view["last_failure"]:
            print(f"  last failure: {view['last_failure']}")
    if not found["hooks"]:
        say("Nobody is told anything. Add one: intentcast vendor hook add URL")


@hook.command("add")
def hook_add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to: https://example.org/hook")],
    event: Annotated[
        list[str] | None, typer.Option("--event", metavar="NAME", help="Only these events; repeatable.")
    ] = None,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="It is a machine of yours: private addresses and plain HTTP.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Tell this address what happens. Prints the key its signatures are checked with, once.

    Example:

    intentcast vendor hook add https://example.org/hook --event contract.confirmed
    """
    said = {"do": "add", "url": url, "allow_private": allow_private, **({"events": event} if event else {})}
    _print_key(client_of(home).post("vendor", "hooks", body=said), as_json)


@hook.command("rotate")
def hook_rotate(
    id_text: Annotated[str, typer.Argument(metavar="ID", help="The hook (intentcast vendor hook list).")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Change a hook's key. The old one goes on signing beside the new one for a day.

    Example:

    intentcast vendor hook rotate 1a2b3c4d
    """
    _print_key(client_of(home).post("vendor", "hooks", body={"do": "rotate", "id": id_text}), as_json)


@hook.command("incoming")
def hook_incoming(home: Home = None, as_json: Json = False) -> None:
    """Make the key your own systems sign offers with, or change it. They post to /hooks/offers at `hook_port`.

    Example:

    intentcast vendor hook incoming
    """
    from node.config import load_config

    _print_key(client_of(home).post("vendor", "hooks", body={"do": "incoming"}), as_json)
    port = load_config(home_path(home)).hook_port
    if port:
        say(f"What is posted to http://127.0.0.1:{port}/hooks/offers is signed with it.")
    else:
        say("Nobody can post yet: set hook_port in config.toml, and start the node again.")


@hook.command("remove")
def hook_remove(
    id_text: Annotated[str, typer.Argument(metavar="ID", help="The hook (intentcast vendor hook list).")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Tell it nothing more.

    Example:

    intentcast vendor hook remove 1a2b3c4d
    """
    found = client_of(home).post("vendor", "hooks", body={"do": "remove", "id": id_text})
    if as_json:
        print_json(found)
    else:
        print(found["id"])


def _print_key(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_fields({name: value for name, value in found.items() if value})
    say("Keep the secret: it is shown this once.")
