"""Things in files: evidence that can be checked without a node, and a vendor's first catalogue."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from node.trouble import Exit, Trouble, not_found, refused, usage

from .client import check_id
from .options import Home, Json, Yes, home_path
from .output import print_fields, print_json, say

MAX_EVIDENCE: Final = 1 << 20
"""Bytes to read at most; protocol.evidence has its own, stricter limit."""


def export(
    id_text: Annotated[str, typer.Argument(metavar="ID", help="A wish, an offer or a contract.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; - is stdout.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write the signed evidence of a wish, an offer or a contract to a file. Works with a stopped node too.

    Whoever has the file can check it with verify. That of a contract holds the contacts you both gave.

    Example:

    intentcast export 5d20b3aa contract.evidence
    """
    found = check_id(id_text, "a wish, an offer or a contract")
    to_stdout = str(file) == "-"
    if to_stdout and (as_json or sys.stdout.isatty()):
        raise usage("stdout_taken", "evidence is bytes, and stdout is taken", "Name a file, or pipe it on.")
    if not to_stdout:
        check_writable(file, force)
    path = home_path(home)
    from node.home import Home as HomeDirectory
    from node.home import write_file

    if not HomeDirectory(path).exists:
        raise Trouble("no_home", f"there is no home at {path}", "Name yours with --home.", Exit.NOT_FOUND)
    from node.export import export_evidence

    data, view = export_evidence(path, found)
    if to_stdout:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        write_file(file.absolute(), data)
    except OSError as wrong:
        raise refused("not_written", f"{file}: {wrong.strerror}", "Choose another place.") from None
    if as_json:
        print_json({**view, "file": str(file), "bytes": len(data)})
    else:
        print(file)
        say(f"{len(data)} bytes. Check it anywhere: intentcast verify {file}")


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export wrote, or archive; - is stdin.")],
    as_json: Json = False,
) -> None:
    """Check evidence offline: who signed what, for which network. Needs no node and no home.

    Takes a file that export wrote, a file or folder of an archive, or a whole archive.

    Examples:

    intentcast verify contract.evidence

    intentcast verify ~/.local/share/intentcast/archive
    """
    if file.is_dir() or file.suffix == ".jsonl":
        return _verify_archive(file, as_json)
    data = _read(file)
    from protocol.errors import Refused
    from protocol.evidence import verify as verify_evidence
    from protocol.keys import did

    try:
        found = verify_evidence(data)
    except Refused as wrong:
        hint = "Do not rely on it: it was changed, or is something else."
        trouble = refused("not_valid", f"{file} is not valid evidence: {wrong}", hint)
        if as_json:
            print_json({"valid": False, "reason": wrong.reason.value, **trouble.as_dict()})
            raise typer.Exit(Exit.REFUSED) from None
        raise trouble from None
    view = {
        "valid": True,
        "kind": found.kind,
        "id": found.id.hex(),
        "author": did(found.author),
        "net": found.net,
        "at": found.at,
        "requester": did(found.requester),
        "vendor": None if found.vendor is None else did(found.vendor),
    }
    if as_json:
        print_json(view)
    else:
        print_fields(view)
        say("The signatures hold. The time is what its author says.")
    return None


def _verify_archive(path: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from node.archive import check_archive

    try:
        found = check_archive(path)
    except Trouble as wrong:
        if not as_json or wrong.code != "not_valid":
            raise
        print_json({"valid": False, **wrong.as_dict()})
        raise typer.Exit(wrong.exit_code) from None
    if as_json:
        return print_json({"valid": True, "kind": "archive", **asdict(found)})
    print_fields({"valid": True, "kind": "archive", **asdict(found)})
    say("Every line says what its frame says, and every signature holds. Times are what their authors say.")
    if found.missing:
        say(f"{found.missing} of them answer something that is not here: lines were taken out, or never came.")
    return None


def archive_list(home: Home = None, as_json: Json = False) -> None:
    """List what is archived: a folder for each wish, with everything said about it.

    Example:

    intentcast archive list
    """
    from node.archive import FOLDER, Archive
    from node.home import Home as HomeDirectory

    folder = home_path(home) / FOLDER
    if not folder.is_dir() and not HomeDirectory(folder.parent).exists:
        raise not_found(f"there is no home at {folder.parent}", "Name yours with --home.")
    names = [path.name for path in Archive(folder).folders()]
    if as_json:
        return print_json({"archive": str(folder), "wishes": names})
    for name in names:
        print(name)
    return say(f"In {folder}." if names else f"Nothing is archived in {folder}.")


def archive_delete(
    id_text: Annotated[str, typer.Argument(metavar="INTENT", help="Id of the wish: the end of its folder's name.")],
    yes: Yes = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Delete what is archived about a wish, and archive nothing more about it. Works while the node runs.

    The store keeps what it needs, and a contract for good; this is about the readable files.

    Example:

    intentcast archive delete 3f9a2c41
    """
    found = check_id(id_text.split("-", 1)[0], "a wish")
    if not yes:
        if not sys.stdin.isatty():
            raise usage("needs_yes", "there is no terminal to confirm at", "Add --yes.")
        if not typer.confirm("Delete these files for good?", default=False, err=True):
            say("Nothing was deleted.")
            raise typer.Exit(Exit.FAILURE)
    from node.archive import delete_archived

    gone = delete_archived(home_path(home), found)
    if as_json:
        return print_json({"deleted": gone})
    return say("Deleted " + ", ".join(gone))


def vendor_init(
    category: Annotated[
        list[str],
        typer.Option("--category", "-c", metavar="PATTERN", help="What you sell: 'mobility.car.**'; repeatable."),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What you call yourself in offers.")] = "My shop",
    contact: Annotated[
        str,
        typer.Option("--contact", metavar="TEXT", help="How customers reach you; told only once you have confirmed."),
    ] = "",
    net: Annotated[str | None, typer.Option("--net", metavar="NAME", help="The network, if the home is new.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite catalogue.toml.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write a commented catalogue that your node answers wishes from. Edit it, then start the node.

    Example:

    intentcast vendor init --category 'mobility.car.**' --name "Alpine Cars" --contact "+33 4 00 00 00 00"
    """
    from node.config import check_net
    from node.home import Home as HomeDirectory
    from node.home import write_file
    from node.vendor.catalogue import template

    found = HomeDirectory(home_path(home))
    path = found.path / "catalogue.toml"
    if path.exists() and not force:
        raise refused("catalogue_exists", f"{path} is there already", "Edit it, or start afresh with --force.")
    text = template(category, name, contact)  # judges the categories before anything is made
    made = found.make(check_net(net) if net is not None else "main")
    write_file(path, text.encode())
    if as_json:
        return print_json({"catalogue": str(path), "home": str(found.path), "made": made, "categories": category})
    print(path)
    say("Edit prices and places in it, then: intentcast up" + ("" if home is None else f" --home {found.path}"))
    return None


def demo(
    keep: Annotated[Path | None, typer.Option("--keep", metavar="DIR", help="Leave the nodes' homes here.")] = None,
    as_json: Json = False,
) -> None:
    """Play the whole story on this computer: a wish, vendors' offers, a contract. Needs no network and no account.

    Example:

    intentcast demo
    """
    from node.demo import run

    raise typer.Exit(run(as_json, keep))


def check_writable(file: Path, force: bool) -> None:
    if file.is_dir():
        raise usage("is_directory", f"{file} is a directory", "Name a file in it.")
    if not file.absolute().parent.is_dir():
        raise usage("no_directory", f"{file.absolute().parent} is no directory", "Make it first.")
    if file.exists() and file.stat().st_size and not force:
        raise refused("file_exists", f"{file} is there already", "Name another file, or overwrite it with --force.")


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(MAX_EVIDENCE + 1)
        else:
            with open(file, "rb") as opened:
                data = opened.read(MAX_EVIDENCE + 1)
    except FileNotFoundError:
        hint = "Name what intentcast export wrote, or an archive."
        raise Trouble("not_found", f"there is no file {file}", hint, Exit.NOT_FOUND) from None
    except OSError as wrong:
        hint = "Make it readable, or take a copy that is."
        raise Trouble("not_read", f"{file}: {os.strerror(wrong.errno or 0)}", hint) from None
    if len(data) > MAX_EVIDENCE:
        raise refused("not_valid", f"{file} is over {MAX_EVIDENCE} bytes: no evidence is", "")
    return data
