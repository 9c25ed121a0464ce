"""Wishes and offers: list them, look at them, end them."""

from typing import Annotated, Any

import typer

from node.trouble import usage

from .client import check_id
from .money import show_money
from .options import Home, Json, client_of
from .output import priced, print_fields, print_json, print_table, say, short
from .spans import show_instant

_NONE_HEARD = (
    "No wish heard. Your node listens to the divisions of its catalogue and to those you name:\n"
    "  intentcast vendor init --help    intentcast up --division mobility"
)


def intents(
    mine: Annotated[bool, typer.Option("--mine", help="Your own wishes instead of those of others.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List the wishes your node has heard from others (or, with --mine, your own).

    Examples:

    intentcast intents

    intentcast intents --mine --json
    """
    views = client_of(home).get("wishes" if mine else "heard")
    if as_json:
        return print_json(views)
    rows = [
        (short(v.get("id")), v.get("state"), v.get("action"), v.get("category"), v.get("title"), _until(v))
        for v in views["intents"]
    ]
    empty = "No wish of yours. Ask: intentcast ask --help" if mine else _NONE_HEARD
    return print_table(("id", "state", "action", "category", "title", "until"), rows, empty)


def offers(
    intent: Annotated[str | None, typer.Argument(metavar="[INTENT]", help="Id of your wish.")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Also offers over your private limit.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List the offers to one of your wishes; without a wish: the offers your node made to others.

    Examples:

    intentcast offers 3f9a2c41

    intentcast offers --json
    """
    client = client_of(home)
    if intent is None:
        if show_all:
            raise usage("needs_intent", "--all needs a wish", "intentcast offers INTENT --all")
        view = client.get("offers")
        if as_json:
            return print_json(view)
        empty = (
            "This node made no offers. For offers to your wish: intentcast offers INTENT (intentcast intents --mine)"
        )
        return print_offers(view["offers"], empty)
    found = client.get("wishes", check_id(intent, "a wish"), "offers", include_hidden="true" if show_all else None)
    if as_json:
        return print_json(found)
    print_offers(found["offers"], none_yet(found))
    if found["hidden"] and not show_all:
        say(f"{found['hidden']} over your limit, not shown. See them with --all")
    return None


def show(
    id_text: Annotated[str, typer.Argument(metavar="ID", help="A wish, an offer or a contract.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show everything your node knows about one wish, offer or contract.

    Example:

    intentcast show 3f9a2c41
    """
    view = client_of(home).get("show", check_id(id_text, "a wish, an offer or a contract"))
    if as_json:
        print_json(view)
    else:
        said = {message_name(step): step["words"] for step in view.pop("messages", ())}
        print_fields({**priced(view), "messages": said})


def message_name(step: dict[str, Any]) -> str:
    """What was said, and in the view of a wish also to whom."""
    to = f" to {' '.join(step['vendor'].split())}, about offer {short(step['offer'])}" if "vendor" in step else ""
    return f"{step['kind']} {short(step['message'])}{to}"


def withdraw(
    id_text: Annotated[str, typer.Argument(metavar="ID", help="Your wish, or an offer you made.")],
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="CODE", help="Tell those who offered why: a code as for decline.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """End your wish for ever, or take back an offer you made. Everybody who offered is told that it ended.

    Examples:

    intentcast withdraw 3f9a2c41

    intentcast withdraw 3f9a2c41 --reason timing_deferred
    """
    from .deals import check_reason

    check_reason(reason, "--reason")
    view = client_of(home).post(
        "withdraw", check_id(id_text, "your wish or your offer"), body={"reason": reason} if reason else None
    )
    if as_json:
        return print_json(view)
    kind, what = ("intent", "Wish") if "intent" in view else ("offer", "Offer")
    return say(f"{what} {short(view[kind].get('id'))} is {view[kind].get('state', 'withdrawn')}.")


def none_yet(found: dict[str, Any]) -> str:
    """Why there is no offer to a wish to look at."""
    if "opens_at" not in found:
        return "No offer yet."
    many = found["sealed"]
    return f"{many or 'No'} offer{'' if many == 1 else 's'} so far, sealed until {show_instant(found['opens_at'])}."


def print_offers(views: list[dict[str, Any]], empty: str) -> None:
    """A table of offers, or the sentence that there are none."""
    empty_vendor: dict[str, Any] = {}
    rows = [
        (
            short(view.get("id")),
            show_money(view.get("total", "")),
            (view.get("vendor") or empty_vendor).get("name"),
            view.get("state"),
            view.get("meets") or [],
            view.get("deviates") or [],
            _why(view),
        )
        for view in views
    ]
    print_table(("id", "price", "vendor", "state", "meets", "deviates", "why"), rows, empty)


def _why(view: dict[str, Any]) -> str:
    """Why an offer ended, as far as it was said: what became of the wish, and a reason."""
    return ", ".join(filter(None, (f"wish {view['wish']}" if view.get("wish") else "", view.get("reason"))))


def _until(view: dict[str, Any]) -> str:
    return show_instant(view["exp"]) if "exp" in view else ""
