"""The command line: which commands there are, and how they end."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from node.trouble import Exit, Trouble, is_no_room, usage

from . import ask, deals, files, homes, mesh, network, options, running, trace, wishes
from . import vendor as vendors
from .output import print_trouble, say

UsageError: Any = typer.BadParameter.__mro__[1]
"""What Typer raises for a command line it cannot read. It has no public name of its own."""

HELP = """Tell a whole market what you want; vendors answer you directly. No server in between.

Start with `intentcast demo` (all on this computer) or `intentcast up` (your node).
Then, in another terminal: `intentcast ask --help`.
"""

app = typer.Typer(
    name="intentcast",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
archive = typer.Typer(
    help="What was said about your wishes, as files in your home.", no_args_is_help=True, rich_markup_mode="rich"
)
vendor = typer.Typer(help="Sell: answer wishes from a catalogue.", no_args_is_help=True, rich_markup_mode="rich")

meshes = typer.Typer(
    help="Many whole nodes on this computer, to play and to test with.", no_args_is_help=True, rich_markup_mode="rich"
)


@app.callback()
def before(home: options.Home = None, as_json: options.Json = False) -> None:
    """Options before the command; each command looks them up itself."""


_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "First steps": (files.demo,),
    "Your node": (
        running.init,
        running.up,
        network.status,
        network.peers,
        network.invite,
        network.metrics,
        homes.backup,
        homes.restore,
        homes.doctor,
    ),
    "What you want": (
        ask.ask,
        wishes.offers,
        deals.accept,
        deals.decline,
        wishes.withdraw,
        wishes.show,
    ),
    "What you sell": (wishes.intents, deals.offer),
    "Evidence": (files.export, files.verify),
}
for panel, commands in _PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
vendor.command("init")(files.vendor_init)
for command in (
    vendors.check,
    vendors.confirm,
    vendors.reject,
    vendors.stats,
    vendors.why,
    vendors.programs,
    vendors.leads,
    vendors.replay,
):
    vendor.command()(command)
vendor.add_typer(vendors.hook, name="hook")
app.add_typer(vendor, name="vendor", rich_help_panel="What you sell")
archive.command("list")(files.archive_list)
archive.command("delete")(files.archive_delete)
app.add_typer(archive, name="archive", rich_help_panel="Evidence")
app.command(rich_help_panel="What you build")(trace.trace)
for mesh_command in (mesh.up, mesh.play, mesh.scenarios, mesh.scenario, mesh.record, mesh.replay):
    meshes.command()(mesh_command)
app.add_typer(meshes, name="mesh", rich_help_panel="What you build")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code (see node/trouble.py)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        code = app(words, prog_name="intentcast", standalone_mode=False)
    except Trouble as trouble:
        print_trouble(trouble, as_json)
        return trouble.exit_code
    except UsageError as wrong:
        return _usage(wrong, as_json)
    except (KeyboardInterrupt, typer.Abort):
        say("Interrupted.")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left: say no more to it
        return Exit.OK
    except OSError as wrong:
        if not is_no_room(wrong):
            raise
        print_trouble(Trouble("disk_full", f"the disk is full: {wrong}", "Make room on it, and try again."), as_json)
        return Exit.FAILURE
    return code if isinstance(code, int) else Exit.OK


def _usage(wrong: Any, as_json: bool) -> int:
    context = wrong.ctx
    path = context.command_path if context is not None else "intentcast"
    message = wrong.format_message()
    if message.startswith("Usage:") or not message:  # a group without a command: its help was asked for, in a way
        print(message or context.get_help())
        return Exit.USAGE
    print_trouble(usage("usage", message, f"See: {path} --help"), as_json)
    return Exit.USAGE


__all__ = ["app", "main"]
