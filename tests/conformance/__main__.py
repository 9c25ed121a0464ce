"""`scripts/conformance`: does a program, in whatever language, follow protocol/README.md? See README.md here.

Exit codes: 0 every row passed or was skipped, 1 a row failed, 2 the arguments are wrong, 4 there is no such node.
"""

import argparse
import shlex
import shutil
import sys

import trio
from rich.console import Console

from node.network.address import parse_dialable
from node.network.seam import DialError
from node.trouble import Exit
from tests.interop.modules import MODULES

from . import live, vectors
from .rows import Outcome, Report, Row


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/conformance",
        description="Does a program follow protocol/README.md? With no arguments: the vectors, put to our two readers.",
        epilog="Exit code 1: a row failed; 2: wrong arguments; 4: no such node. tests/conformance/README.md has more.",
    )
    parser.add_argument("--reader", metavar="COMMAND", help="put the vectors to this program, as lines of JSON")
    parser.add_argument("--live", metavar="ADDRESS", help="look at this running node: /ip4/…/tcp/…/p2p/…")
    parser.add_argument("--net", metavar="NAME", help="the network it must be of; without it, the one it says it is of")
    parser.add_argument(
        "--patience", type=seconds, default=10.0, metavar="SECONDS", help="to wait for each answer (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    chosen = parser.parse_args(arguments)
    progress = Console(stderr=True)
    report = Report(lambda row: progress.print(f"{row.outcome}: {row.name}", markup=False, highlight=False))
    if chosen.json or not progress.is_terminal:
        report.tell = lambda _row: None
    if chosen.reader is not None:
        command = shlex.split(chosen.reader)
        if not command or shutil.which(command[0]) is None:
            parser.error(f"--reader: there is no program {chosen.reader!r} to run")
        vectors.ask("your reader", command, report)
    if chosen.live is not None:
        try:
            parse_dialable(chosen.live)
        except ValueError as wrong:
            parser.error(f"--live: {wrong}")
        try:
            trio.run(live.examine, live.Visit(chosen.live, chosen.patience, report), chosen.net)
        except DialError as wrong:
            print(f"No node answers at {chosen.live}: {wrong}.", file=sys.stderr)
            print("Is it running, and is this the address `intentcast invite` shows there?", file=sys.stderr)
            return Exit.NOT_RUNNING
        except live.Unfit as unfit:
            print(unfit, file=sys.stderr)
            return Exit.USAGE
    if chosen.reader is None and chosen.live is None:
        vectors.ask("Python (protocol/)", vectors.OURS, report)
        _ask_javascript(report)
    if chosen.json:
        print(report.as_json())
    else:
        report.show(Console())
    return Exit.OK if report.is_good else Exit.FAILURE


def _ask_javascript(report: Report) -> None:
    part = "JavaScript (tests/interop)"
    missing = "Node.js is not on this machine's PATH" if shutil.which("node") is None else ""
    if not missing and not MODULES.is_dir():
        missing = "tests/interop/node_modules is not there yet: `cd tests/interop && npm ci`"
    if missing:
        report.add(Row(part, "the reader runs", "Examples", Outcome.SKIPPED, missing))
    else:
        vectors.ask(part, vectors.JAVASCRIPT, report)


def seconds(text: str) -> float:
    found = float(text)
    if not 5 <= found <= 600:
        raise argparse.ArgumentTypeError("from 5 to 600 seconds")
    return found


if __name__ == "__main__":
    sys.exit(main())
