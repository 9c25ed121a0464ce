"""A vendor's commands: look at the catalogue, decide accepts, see what happened."""

from pathlib import Path
from typing import Annotated, Any

import typer

from node.trouble import Exit, usage

from .client import check_id
from .options import Home, Json, client_of, home_path
from .output import print_fields, print_json, say

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
