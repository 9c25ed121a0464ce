"""A whole home: in a file and back, and how well it is."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from node.trouble import Exit, Trouble, is_no_room, refused, usage

from .files import check_writable
from .options import Home, Json, client_of, home_path
from .output import clean, print_fields, print_json, say

PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="Read the passphrase from its first line; - is stdin."),
]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Take along the keys of single wishes and open offers too.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write the whole node to one encrypted file: settings, its two keys, catalogue, and all it remembers.

    Works while the node runs. The keys of single wishes and offers stay behind: they exist to be deleted, so that
    nobody can read later what was sealed to them. Without them wishes and offers that are open now end with this
    computer; contracts, history and the node's own keys are whole. --with-keys takes them along.

    Examples:

    intentcast backup /media/stick/ana.backup

    intentcast backup shop.backup --passphrase-file /run/secrets/backup
    """
    check_writable(file, force)
    from node.backup import check_passphrase, write_backup

    passphrase = check_passphrase(_passphrase(passphrase_file, twice=True))
    manifest = write_backup(home_path(home), file.absolute(), passphrase, with_keys=with_keys)
    view = {"file": str(file), "bytes": file.stat().st_size, **_shown(manifest)}
    if as_json:
        return print_json(view)
    print(file)
    wishes, threads = manifest["wishes_without_keys"], manifest["threads_without_keys"]
    if with_keys:
        say("With the keys of single wishes: who opens this file can read what was sealed to them, also later.")
    elif wishes or threads:
        lost = f"{wishes} open wish{'es' * (wishes != 1)} and {threads} offer{'s' * (threads != 1)}"
        say(f"Without the keys of {lost}: a restored node cannot go on with them.")
        say("If it must, use --with-keys; then who opens the file can read what was sealed to them, also later.")
    say("Without the passphrase nobody can open it, you neither. Only what is in the home is in it.")
    return None


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What backup wrote.")],
    passphrase_file: PassphraseFile = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Make a home of a backup: the same node, with the same keys. The home must be new; nothing is overwritten.

    End the old node first: two nodes with one key get in each other's way.

    Example:

    intentcast restore ana.backup --home ~/ana
    """
    from node.backup import check_passphrase, restore_backup

    path = home_path(home)
    manifest = restore_backup(file, path, check_passphrase(_passphrase(passphrase_file, twice=False)))
    view = {"home": str(path), **_shown(manifest)}
    if as_json:
        return print_json(view)
    print_fields(view)
    say("If the old node still runs somewhere, end it before you start this one: intentcast up")
    return None


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="FILE", help="Also write what may be sent along with a bug report."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with your node and its home, and say how to mend it. Changes nothing.

    Ends with 1 if something is broken. The bundle holds versions, numbers and the program's own log lines: no keys,
    no texts, no contacts and no addresses.

    Examples:

    intentcast doctor

    intentcast doctor --bundle report.json
    """
    if bundle is not None:
        check_writable(bundle, force)
    from node.doctor import examine, verdict_of

    path = home_path(home)
    status: dict[str, Any] = {}

    def ask_node() -> dict[str, Any]:
        status.update(client_of(home).get("status"))
        return status

    findings = examine(path, ask_node)
    verdict = verdict_of(findings)
    if bundle is not None:
        from node.bundle import bundle as make_bundle
        from node.home import write_file

        document = json.dumps(make_bundle(path, findings, status), indent=2) + "\n"
        try:
            write_file(bundle.absolute(), document.encode())
        except OSError as wrong:
            hint = "Make room on that disk, or choose another." if is_no_room(wrong) else "Choose another place."
            raise refused("not_written", f"{bundle}: {wrong.strerror}", hint) from None
    if as_json:
        print_json({"verdict": verdict, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            print(clean(f"{finding.verdict:<5} {finding.check:<15} {finding.what}"))
            if finding.mend and finding.verdict != "ok":
                print(clean(f"{'':<21} {finding.mend}"))
        if bundle is not None:
            say(f"{bundle} may go with a bug report. It is short: read it first.")
    raise typer.Exit(Exit.FAILURE if verdict == "fail" else Exit.OK)


def _shown(manifest: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in manifest.items() if name != "files"} | {
        "files": [name for name, _ in manifest["files"]]
    }


_FIRST_LINE = "Write the passphrase into the first line of a file, or leave the option out and type it."


def _passphrase(file: Path | None, *, twice: bool) -> str:
    """From a file or stdin, or asked for at a terminal."""
    if file is not None:
        try:
            text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8").partition("\n")[0]
        except FileNotFoundError:
            raise usage("passphrase", f"there is no file {file}", _FIRST_LINE) from None
        except (OSError, UnicodeDecodeError) as wrong:
            raise usage("passphrase", f"{file} cannot be read: {wrong}", _FIRST_LINE) from None
        return text.rstrip("\r\n")
    if not sys.stdin.isatty():
        raise usage("passphrase", "there is no terminal to ask for the passphrase", "Use --passphrase-file.")
    import getpass

    text = getpass.getpass("Passphrase: ")
    if twice and getpass.getpass("Once more: ") != text:
        raise Trouble("passphrase", "the two are not the same", "Nothing was written. Try again.")
    return text
