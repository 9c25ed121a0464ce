"""The node among others: how it is, whom it knows, how to find it."""

import sys

from .options import Home, Json, client_of
from .output import print_fields, print_json, print_table, say


def status(home: Home = None, as_json: Json = False) -> None:
    """Say how your node is: who it is, whom it hears, what waits.

    Example:

    intentcast status
    """
    view = client_of(home).get("status")
    if as_json:
        print_json(view)
    else:
        print_fields({name: value for name, value in view.items() if name != "counters"})
        if view.get("clock", {}).get("advice"):
            say(f"Careful: {view['clock']['advice']}.")
        room = view.get("disk", {}).get("room")
        if room in ("low", "full"):
            say(f"The disk is {room}: other people's wishes are not stored. Make room on it.")
        say("With --json also every counter.")


def peers(home: Home = None, as_json: Json = False) -> None:
    """List the nodes yours is linked to.

    Example:

    intentcast peers --json
    """
    view = client_of(home).get("peers")
    if as_json:
        return print_json(view)
    rows = [(p.get("peer_id"), p.get("direction"), p.get("remote"), p.get("topics")) for p in view["peers"]]
    return print_table(
        ("peer", "direction", "remote", "topics"), rows, "No peer. Join one: intentcast up --join ADDRESS"
    )


def invite(home: Home = None, as_json: Json = False) -> None:
    """Print the address others join your node by, on a terminal also as a QR code.

    Example:

    intentcast invite
    """
    view = client_of(home).get("invite")
    if as_json:
        return print_json(view)
    print(view["address"])
    if sys.stdout.isatty():
        import segno

        segno.make(view["address"], error="l").terminal(out=sys.stderr, compact=True)
    if view.get("text") and view["text"] != view["address"]:
        say(view["text"])
    return None


def metrics(home: Home = None) -> None:
    """Print the node's figures in Prometheus' text format. What each means: node/api/README.md.

    Example:

    intentcast metrics > intentcast.prom
    """
    print(client_of(home).text("/metrics"), end="")
