"""Make a home, and run the node in it until it is told to stop."""

import gc
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from node.trouble import Exit, Trouble, refused

from .options import Home, Json, home_path
from .output import print_json, say

if TYPE_CHECKING:
    from node.app import Node
    from node.config import Config
    from node.home import Home as HomeDirectory

STOP_SECONDS: Final = 3.0
"""How long the node may take to say goodbye after Ctrl-C or SIGTERM."""

Net = Annotated[str | None, typer.Option("--net", metavar="NAME", help="The network: main, or one of your own.")]


def init(net: Net = None, home: Home = None, as_json: Json = False) -> None:
    """Make a home for a node: its settings and its keys. `up` does it too, if there is none.

    Example:

    intentcast init --home ~/shop --net main
    """
    from node.config import check_net, load_config
    from node.home import Home as HomeDirectory

    directory = HomeDirectory(home_path(home))
    wanted = check_net(net) if net is not None else None
    if directory.config_file.exists() and wanted is not None:
        found = load_config(directory.path, environ={}).net
        if found != wanted:
            hint = f"Make another home for {wanted} with --home, or change net in {directory.config_file}."
            raise refused("other_net", f"{directory.path} belongs to the network {found}", hint)
    made = directory.make(wanted or load_config(directory.path).net)
    config = load_config(directory.path)
    peer_id = _peer_id(directory)
    if as_json:
        return print_json({"home": str(directory.path), "net": config.net, "peer_id": peer_id, "made": made})
    print(directory.path)
    say(f"Made {', '.join(made)}." if made else "Everything was there already.")
    say(f"Network {config.net}, peer id {peer_id}. Next: intentcast up" + _home_flag(home))
    return None


def up(
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="ADDR", help="Listen at: /ip4/0.0.0.0/tcp/20123; repeatable."),
    ] = None,
    announce: Annotated[
        list[str] | None, typer.Option("--announce", metavar="ADDR", help="Tell others this address; repeatable.")
    ] = None,
    join: Annotated[
        list[str] | None, typer.Option("--join", metavar="ADDR", help="A node to start from; repeatable.")
    ] = None,
    static: Annotated[
        list[str] | None,
        typer.Option("--static", metavar="ADDR", help="A node you agreed with to exchange everything; repeatable."),
    ] = None,
    net: Net = None,
    meeting: Annotated[
        bool | None, typer.Option("--meeting/--no-meeting", help="Carry every division, so others can meet here.")
    ] = None,
    mailbox: Annotated[
        bool | None,
        typer.Option("--mailbox/--no-mailbox", help="Hold sealed messages for others while they are away."),
    ] = None,
    mailboxes: Annotated[
        list[str] | None,
        typer.Option("--mailboxes", metavar="ADDR", help="A node that holds yours while you are away; up to three."),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
    division: Annotated[
        list[str] | None,
        typer.Option("--division", metavar="NAME", help="Listen to this division too: mobility, home; repeatable."),
    ] = None,
    until_stdin_ends: Annotated[
        bool, typer.Option("--until-stdin-ends", hidden=True, help="End with the program that started this node.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Run your node until Ctrl-C. The first start makes its home and keys.

    Examples:

    intentcast up

    intentcast up --join /ip4/203.0.113.5/tcp/20123/p2p/12D3KooW...
    """
    from node.config import check_ports, load_config
    from node.home import Home as HomeDirectory

    flags = {
        "listen": listen,
        "announce": announce,
        "join": join,
        "static": static,
        "net": net,
        "meeting": meeting,
        "divisions": division,
        "mailbox": mailbox,
        "mailboxes": mailboxes,
        "log_level": log_level,
    }
    directory = HomeDirectory(home_path(home))
    config = load_config(directory.path, flags)  # what is wrong is said before anything is made
    first = not directory.exists
    if first:
        check_ports(config.listen)
    if config.catalogue is not None:
        _check_catalogue(config.catalogue)
    made = directory.make(config.net)
    if made and first:
        say(f"Made a home at {directory.path}: {', '.join(name for name in made if '/' not in name)}.")
        say("The keys in it are this node. They are not encrypted: keep the disk to yourself.")
        say("Keep a copy of all, under a passphrase: intentcast backup FILE")
    config = load_config(directory.path, flags)
    for key in ("node.key", "vendor.key"):
        directory.seed(key)  # exposed or damaged keys are told before the network is
    with directory.lock():
        raise typer.Exit(_run(config, directory, as_json, until_stdin_ends))


def _check_catalogue(path: Path) -> None:
    """A mistake in it is told before anything is made or started."""
    from node.vendor.catalogue import load_catalogue
    from node.vendor.template import NO_CONTACT

    if NO_CONTACT in load_catalogue(path).contact:
        say(f"{path} does not say how customers reach you: write it behind `contact`, or they will read just that.")


def _run(config: "Config", directory: "HomeDirectory", as_json: bool, until_stdin_ends: bool) -> int:
    import trio

    from node.logs import configure_logging

    configure_logging(config.log_level, config.log_json, file=directory.log_file)
    stopped_by: list[int] = []
    try:
        trio.run(_serve, config, directory, as_json, stopped_by, until_stdin_ends)
    except KeyboardInterrupt:  # a second Ctrl-C, while it was saying goodbye
        return Exit.INTERRUPTED
    except BaseExceptionGroup as group:
        leaves = _leaves(group)
        if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
            return Exit.INTERRUPTED
        for leaf in leaves:
            if isinstance(leaf, Trouble) and all(isinstance(other, Trouble) for other in leaves):
                raise leaf from None
        raise
    finally:
        gc.freeze()  # or Python searches all that was imported for cycles before it ends, for up to a second
    return Exit.INTERRUPTED if stopped_by == [signal.SIGINT] else Exit.OK


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Nurseries wrap what goes wrong in groups, within groups."""
    found: list[BaseException] = []
    for inner in group.exceptions:
        found += _leaves(inner) if isinstance(inner, BaseExceptionGroup) else [inner]
    return found


async def _serve(
    config: "Config", directory: "HomeDirectory", as_json: bool, stopped_by: list[int], until_stdin_ends: bool
) -> None:
    import trio

    from node.api import serve_api
    from node.api.door import serve_door
    from node.app import open_node

    socket_path = directory.socket_path()
    with trio.CancelScope() as life:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with open_node(config) as node, trio.open_nursery() as nursery:
                await nursery.start(serve_api, node.desk, socket_path)
                if config.hook_port:
                    await nursery.start(serve_door, node.desk, node.desk.office.hooks, config.hook_port)
                addresses = list(node.addresses)
                directory.write_note(peer_id=node.peer_id, addresses=addresses, net=config.net, socket=str(socket_path))
                ready = {"peer_id": node.peer_id, "addresses": addresses, "home": str(directory.path)}
                if until_stdin_ends:
                    nursery.start_soon(_end_with_stdin)
                _say_ready({"event": "ready", **ready, "net": config.net}, config, as_json)
                async for number in signals:
                    stopped_by.append(number)
                    break
                _restore_signals()
                life.deadline = trio.current_time() + STOP_SECONDS
                await _say_rest(node)
                nursery.cancel_scope.cancel()


async def _end_with_stdin() -> None:
    """Whoever started us holds the other end of our standard input: when it is gone, so are we, however it went."""
    import os

    import trio

    while True:
        await trio.lowlevel.wait_readable(sys.stdin.fileno())
        if not os.read(sys.stdin.fileno(), 4096):
            signal.raise_signal(signal.SIGTERM)
            return


def _restore_signals() -> None:
    """From here on a second Ctrl-C or SIGTERM ends the process at once, as people expect."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _say_ready(ready: dict[str, Any], config: "Config", as_json: bool) -> None:
    if as_json:
        print_json(ready)
    else:
        print(f"Ready: {ready['peer_id']} on {ready['net']}", flush=True)
        for address in ready["addresses"]:
            print(f"  {address}", flush=True)
    if not (config.join or config.static):
        say("No peer was given, so nobody hears this node until somebody joins it.")
        say("  Join others: intentcast up --join ADDRESS    Let others join you: intentcast invite")
        say("  Try it all on this computer: intentcast demo")
    if config.catalogue is not None:
        say(f"Wishes are answered from {config.catalogue}.")
    if sys.stderr.isatty():
        say("Ctrl-C ends it.")


async def _say_rest(node: "Node") -> None:
    """What stays when the node goes."""
    import trio

    say("Ending ...")
    with trio.move_on_after(0.5):
        status = await node.desk.status()
        wishes, threads = _count(status.get("wishes")), _count(status.get("threads"))
        waiting = _count(status.get("outbox"))
        if wishes or threads or waiting:
            say(f"Open wishes: {wishes}, open threads: {threads}, messages not yet delivered: {waiting}.")
            say("They stay; the next `intentcast up` goes on with them. Wishes expire by themselves.")
        else:
            say("Nothing is open.")


def _count(value: Any) -> int:
    """A number, or the number of open ones in a table of states."""
    if isinstance(value, dict):
        return sum(count for state, count in value.items() if state in _OPEN and isinstance(count, int))
    return len(value) if isinstance(value, list) else int(value or 0)


_OPEN: Final = frozenset({"open", "updated", "deciding", "waiting", "queued"})


def _peer_id(directory: "HomeDirectory") -> str:
    from protocol.keys import SigningKey, peer_id

    return peer_id(SigningKey(directory.seed("node.key")).public)


def _home_flag(home: Path | None) -> str:
    return "" if home is None else f" --home {home}"
