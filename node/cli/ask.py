"""Ask: from flags to a wish, shown before it is sent, and the offers that come."""

import sys
import time
from typing import Annotated, Any, Final

import typer

from node.trouble import Exit, usage

from .client import Client, check_id
from .money import parse_money, show_money
from .options import Home, Json, Yes, client_of
from .output import print_json, say, short, two_columns
from .places import parse_where
from .properties import parse_property
from .spans import parse_duration, parse_instant, parse_when, system_zone
from .wishes import none_yet, print_offers

ACTIONS: Final = ("buy", "rent", "hire", "book", "repair")
REACH_WAIT: Final = 10.0
"""Seconds to wait for a peer that hears this kind of wish, if --wait does not say otherwise."""
LIVE_WAIT: Final = 60.0
"""Seconds a person at a terminal watches offers arrive; Ctrl-C ends it earlier and loses nothing."""

Text = Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="What you want, in a few words: the title.")]
Action = Annotated[str | None, typer.Option("--action", "-a", metavar="|".join(ACTIONS), help="What you want to do.")]
Category = Annotated[
    str | None,
    typer.Option("--category", "-c", metavar="WHAT", help="What it is about: mobility.car, or a word such as plumber."),
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where", metavar="PLACE", help="iata:LYS, country:FR, geo:45.72,5.08, cell:u05k, 'Lyon (iata:LYS)'."
    ),
]
ReturnTo = Annotated[str | None, typer.Option("--return-to", metavar="PLACE", help="Another place where it ends.")]
Radius = Annotated[str | None, typer.Option("--radius", metavar="KM", help="Kilometres around --where.")]
From = Annotated[str | None, typer.Option("--from", metavar="DATE", help="Start: 2026-02-14 or 2026-02-14T10:00.")]
To = Annotated[
    str | None, typer.Option("--to", metavar="DATE", help="End: the first moment after. A date means its midnight.")
]
Tz = Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="Zone of the dates; yours if not said.")]
Flex = Annotated[str | None, typer.Option("--flex", metavar="TIME", help="How much the dates may move: 1d, 6h.")]
MaxPrice = Annotated[
    str | None, typer.Option("--max-price", metavar="MONEY", help="The most you would pay. STAYS HERE: '400 EUR'.")
]
PublicPrice = Annotated[
    str | None, typer.Option("--public-price", metavar="MONEY", help="The same, but PUBLIC: everybody reads it.")
]
Prop = Annotated[
    list[str] | None, typer.Option("--prop", metavar="NAME=VALUE", help="It must: drive=awd, seats>=5, fuel=a|b.")
]
Want = Annotated[list[str] | None, typer.Option("--want", metavar="NAME=VALUE", help="You would like it to.")]
Avoid = Annotated[list[str] | None, typer.Option("--avoid", metavar="NAME=VALUE", help="You would rather not.")]
Quantity = Annotated[int | None, typer.Option("--quantity", metavar="N", min=1, max=1_000_000, help="How many.")]
OffersBy = Annotated[
    str | None,
    typer.Option("--offers-by", metavar="TIME", help="Sealed offers, all opened then: 2h, or 2026-02-14T18:00."),
]
MaxOffers = Annotated[
    int | None, typer.Option("--max-offers", metavar="N", min=1, max=100, help="Offers you want to see.")
]
Spread = Annotated[
    str | None, typer.Option("--spread", metavar="TIME", help="Ask vendors to scatter their answers over this time.")
]
Terms = Annotated[
    list[str] | None, typer.Option("--terms", metavar="NAME", help="Name of an agreement you proffer; repeatable.")
]
Expires = Annotated[str | None, typer.Option("--expires", metavar="TIME", help="Life of the wish, 5m to 30d.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="More words. PUBLIC, like the title.")]
Wait = Annotated[
    str | None, typer.Option("--wait", metavar="TIME", help="How long to wait for offers; none in time is exit 6.")
]
Update = Annotated[
    str | None, typer.Option("--update", metavar="ID", help="Revise this wish; what you do not say again stays.")
]


def ask(
    text: Text = None,
    action: Action = None,
    category: Category = None,
    where: Where = None,
    return_to: ReturnTo = None,
    radius: Radius = None,
    start: From = None,
    end: To = None,
    tz: Tz = None,
    flex: Flex = None,
    max_price: MaxPrice = None,
    public_price: PublicPrice = None,
    prop: Prop = None,
    want: Want = None,
    avoid: Avoid = None,
    quantity: Quantity = None,
    offers_by: OffersBy = None,
    max_offers: MaxOffers = None,
    spread: Spread = None,
    terms: Terms = None,
    expires: Expires = None,
    note: Note = None,
    update: Update = None,
    wait: Wait = None,
    yes: Yes = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Tell every vendor what you want, and see their offers arrive.

    Before anything is sent you see what becomes PUBLIC and what STAYS HERE.

    Examples:

    intentcast ask "4x4 from Lyon airport" -a rent -c mobility.car --where iata:LYS --prop drive=awd

    intentcast ask "leaking tap" -a repair -c plumber --where geo:48.85,2.35,10 --max-price "150 EUR"

    intentcast ask "a room" -a book -c hotel --where iata:LYS --from 2027-02-14 --to 2027-02-21 --yes --json
    """
    said = {
        "action": _action(action, update),
        "category": _category(category, update),
        "title": _title(text, update),
        "note": note,
        "props": _props(prop, want, avoid),
        "quantity": quantity,
        "when": parse_when(start, end, tz, flex),
        "where": parse_where(where, return_to, radius),
        "limit_public": parse_money(public_price, "--public-price") if public_price is not None else None,
        "limit_private": parse_money(max_price, "--max-price") if max_price is not None else None,
        "offers_by": parse_instant(offers_by, tz or system_zone(), "--offers-by") if offers_by is not None else None,
        "max_offers": max_offers,
        "spread": parse_duration(spread, "--spread") if spread is not None else None,
        "terms": terms,
        "expires": parse_duration(expires, "--expires") if expires is not None else None,
        "update": check_id(update, "a wish") if update is not None else None,
    }
    seconds = None if wait is None else float(parse_duration(wait, "--wait"))
    if seconds is not None and seconds > 3600:
        raise usage("bad_duration", f"--wait: {wait} is over an hour", "The wish stays open: look later with offers.")
    wish = {name: value for name, value in said.items() if value not in (None, [])}
    terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if not yes and not terminal:
        hint = "Look at what you send, then add --yes."
        raise usage("needs_yes", "there is no terminal to confirm at, and a wish is public", hint)
    client = client_of(home)
    _show_before(client, wish, yes)
    started = time.monotonic()
    reach_wait = REACH_WAIT if seconds is None else seconds
    try:
        result = client.post("ask", body={"wish": wish, "reach_wait": reach_wait}, wait=reach_wait)
    except KeyboardInterrupt:
        say("Interrupted. The wish may be out: look with intentcast intents --mine, end it with intentcast withdraw.")
        raise typer.Exit(Exit.INTERRUPTED) from None
    watch = LIVE_WAIT if seconds is None and terminal and not as_json else seconds
    interrupted = False
    if result["reached"]:
        say(f"Told {result['reached']} peer{'' if result['reached'] == 1 else 's'}. Wish {result['intent']['id']}")
        if not any(not route["addr"].startswith("/p2p/") for route in result["intent"].get("reply", ())):
            say("This node has no address that others can dial: only vendors it is linked with can answer.")
            say("  Open a port for it and name it: intentcast up --announce /ip4/<your public address>/tcp/<port>")
        if watch is not None:
            say("Waiting for offers. Ctrl-C stops the waiting, not the wish.")
            interrupted = _watch(client, result, started + watch)
    _finish(result, seconds is not None, as_json, interrupted)


def _show_before(client: Client, wish: dict[str, Any], yes: bool) -> None:
    shown = client.post("preview", body={"wish": wish})
    two_columns(("PUBLIC: everybody can read this", shown["public"]), ("STAYS HERE", shown["stays_here"]))
    if not yes and not typer.confirm("Send it?", default=False, err=True):
        say("Nothing was sent.")
        raise typer.Exit(Exit.FAILURE)


def _watch(client: Client, result: dict[str, Any], deadline: float) -> bool:
    """Let offers arrive until the deadline, or until there are as many as were asked for. True: interrupted."""
    intent = result["intent"]
    known: set[str] = set()

    def refresh() -> bool:
        view = client.get("wishes", intent["id"], "offers")
        for name in ("sealed", "opens_at"):  # they are opened now, perhaps
            result.pop(name, None)
        result.update(view)
        for offer in view["offers"]:
            if offer["id"] not in known:
                known.add(offer["id"])
                say(f"  offer {short(offer['id'])}  {show_money(offer['total'])}  {offer['vendor'].get('name', '')}")
        most = intent.get("max_offers")
        return isinstance(most, int) and len(known) >= most

    try:
        # Events are told from the first one on: an offer that came before we listened is not missed.
        if refresh():
            return False
        for event in client.events(0, deadline, about=intent["id"]):
            if str(event["type"]).startswith(("offer.", "offers.")) and refresh():
                return False
        refresh()
    except KeyboardInterrupt:
        return True
    return False


def _finish(result: dict[str, Any], waited: bool, as_json: bool, interrupted: bool) -> None:
    intent, offers, hidden = result["intent"], result["offers"], result["hidden"]
    if as_json:
        print_json(result)
    else:
        print_offers(offers, none_yet(result))
    if result.get("warning"):
        say(f"Careful: {result['warning']}.")
    if hidden:
        say(f"{hidden} over your limit, not shown. See them: intentcast offers {short(intent['id'])} --all")
    if not result["reached"]:
        say("Nobody was reached: no peer that hears this kind of wish. It stays open, and goes out when one comes.")
        say("  Join others: intentcast up --join ADDRESS (they print theirs with: intentcast invite)")
        raise typer.Exit(Exit.NOTHING_CAME)
    say(f"The wish stays open. Later: intentcast offers {short(intent['id'])}")
    say(f"  Take one: intentcast accept OFFER --contact ...   End it: intentcast withdraw {short(intent['id'])}")
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    if waited and not offers and not hidden and not result.get("sealed"):
        raise typer.Exit(Exit.NOTHING_CAME)


def _action(action: str | None, update: str | None) -> str | None:
    if action is None and update is None:
        raise usage("no_action", "--action is missing: what do you want to do?", f"One of {', '.join(ACTIONS)}.")
    if action is not None and action.lower() not in ACTIONS:
        raise usage("bad_action", f"--action: {action!r} is none", f"One of {', '.join(ACTIONS)}.")
    return None if action is None else action.lower()


def _category(category: str | None, update: str | None) -> str | None:
    if not (category or "").strip() and update is None:
        raise usage("no_category", "--category is missing: what is it about?", "For example mobility.car, or plumber.")
    return None if category is None else category.strip()


def _title(text: list[str] | None, update: str | None) -> str | None:
    title = " ".join(text or []).strip()
    if not title and update is None:
        raise usage("no_title", "say in a few words what you want", 'For example: intentcast ask "4x4 from Lyon" ...')
    if len(title) > 200:
        raise usage("bad_title", f"the title has {len(title)} characters, 200 are allowed", "Put the rest into --note.")
    return title or None


def _props(must: list[str] | None, want: list[str] | None, avoid: list[str] | None) -> list[dict[str, Any]]:
    given = (("must", "--prop", must), ("want", "--want", want), ("avoid", "--avoid", avoid))
    return [parse_property(text, need, flag) for need, flag, texts in given for text in texts or []]
