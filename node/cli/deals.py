"""Answering and agreeing: a vendor's offer by hand, and what the person does with it."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from node.trouble import Exit, usage

from .client import check_id
from .money import parse_money, show_money
from .options import Home, Json, Yes, client_of
from .output import priced, print_fields, print_json, say, short
from .properties import parse_fact
from .spans import parse_duration, show_instant

CONFIRM_WAIT: Final = "10s"
ANSWER_WITHIN: Final = "1h"
REASONS: Final = (
    "price_sensitivity shipping_cost shipping_speed product_fit trust_security returns_policy payment_options "
    "comparison timing_deferred other terms_mismatch out_of_area capacity policy"
).split()

OfferId = Annotated[str, typer.Argument(metavar="OFFER", help="Id of the offer, or its first 8 or more characters.")]


def offer(
    intent: Annotated[str, typer.Argument(metavar="INTENT", help="Id of the wish (intentcast intents).")],
    total: Annotated[str, typer.Option("--total", metavar="MONEY", help="All in, tax included: '240 EUR'.")],
    line: Annotated[
        list[str] | None, typer.Option("--line", metavar="TITLE=MONEY", help="A line of the price; repeatable.")
    ] = None,
    fee: Annotated[
        list[str] | None, typer.Option("--fee", metavar="NAME=MONEY", help="A fee within the total; repeatable.")
    ] = None,
    prop: Annotated[
        list[str] | None, typer.Option("--prop", metavar="NAME=VALUE", help="What you offer is: drive=awd.")
    ] = None,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Words to the person.")] = None,
    valid_for: Annotated[
        str, typer.Option("--valid-for", metavar="TIME", help="How long the offer binds you: 2h, 1d.")
    ] = "1d",
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What you call yourself.")] = None,
    contact: Annotated[
        str | None,
        typer.Option("--contact", metavar="TEXT", help="How to reach you; told only to who accepts and is confirmed."),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Answer a wish by hand. The offer is signed, sealed to the person, and binds you while it is valid.

    Examples:

    intentcast offer 3f9a2c41 --total "240 EUR" --prop drive=awd --note "Snow chains included" --valid-for 2h

    intentcast offer 3f9a2c41 --total "240 EUR" --line "7 days=210 EUR" --fee "Airport=30 EUR"
    """
    money = parse_money(total, "--total")
    body: dict[str, Any] = {"total": money, "valid_for": parse_duration(valid_for, "--valid-for")}
    lines = [_amount(text, money, "--line") for text in line or []]
    fees = [_amount(text, money, "--fee") for text in fee or []]
    _check_sum(money, lines, fees)
    if lines:
        body["lines"] = [
            {"title": title, "count": 1, "unit": "item", "price": amount, "amount": amount} for title, amount in lines
        ]
    if fees:
        body["fees"] = [{"name": title, "amount": amount} for title, amount in fees]
    if prop:
        body["props"] = [parse_fact(text, "--prop") for text in prop]
    body |= {key: value for key, value in (("note", note), ("name", name), ("contact", contact)) if value}
    view = client_of(home).post("heard", check_id(intent, "a wish"), "offer", body=body)
    if as_json:
        return print_json(view)
    say(f"Offered {show_money(money)}. If the person accepts, your node confirms. Look: intentcast offers")
    return print_fields({"offer": view["offer"]["id"], "state": view["offer"].get("state")})


def accept(
    offer_id: OfferId,
    contact: Annotated[
        str | None,
        typer.Option("--contact", metavar="TEXT", help="How this one vendor reaches you: phone, mail. Sent sealed."),
    ] = None,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Words to the vendor.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME", help="An option of the offer; repeatable.")
    ] = None,
    wait: Annotated[
        str, typer.Option("--wait", metavar="TIME", help="How long to wait for the vendor's confirm.")
    ] = CONFIRM_WAIT,
    answer_within: Annotated[
        str, typer.Option("--answer-within", metavar="TIME", help="How long the vendor has to confirm; then it lapses.")
    ] = ANSWER_WITHIN,
    tell_others: Annotated[
        str | None,
        typer.Option("--tell-others", metavar="CODE", help="Tell the others why they lost: a reason as for decline."),
    ] = None,
    yes: Yes = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Accept an offer: with the vendor's confirm it becomes a contract that both have signed.

    Example:

    intentcast accept 8c01d7e2 --contact "Ana, +33 6 12 34 56 78"

    intentcast accept 8c01d7e2 --contact ana@example.org --answer-within 1d
    """
    seconds = float(parse_duration(wait, "--wait"))
    if seconds > 3600:
        raise usage("bad_duration", f"--wait: {wait} is over an hour", "Accept, and look later with: intentcast show")
    patience = parse_duration(answer_within, "--answer-within")
    if not 60 <= patience <= 30 * 24 * 3600:
        raise usage("bad_duration", f"--answer-within: {answer_within} is not a minute to 30 days", "The usual is 1h.")
    found = check_id(offer_id, "an offer")
    check_reason(tell_others, "--tell-others")
    terminal = sys.stdin.isatty() and sys.stderr.isatty() and not as_json
    client = client_of(home)
    if contact is None and terminal:
        contact = str(typer.prompt("How does the vendor reach you?", err=True))
    if not (contact or "").strip():
        hint = '--contact "Ana, +33 6 12 34 56 78": it goes, sealed, to this one vendor.'
        raise usage("no_contact", "the vendor must be able to reach you", hint)
    if terminal and not yes:
        view = client.get("show", found)
        shown = view.get("offer", view)
        say(f"You accept {show_money(shown.get('total', ''))} from {shown.get('vendor', {}).get('name', 'the vendor')}")
        say(f"They learn: {contact}{f' / {note}' if note else ''}")
        if not typer.confirm("Accept?", default=False, err=True):
            say("Nothing was sent.")
            raise typer.Exit(Exit.FAILURE)
    body = {"contact": contact, "options": option or [], "wait": seconds} | ({"note": note} if note else {})
    body |= {"tell_others": tell_others} if tell_others else {}
    body["answer_within"] = patience
    try:
        view = client.post("offers", found, "accept", body=body, wait=seconds)
    except KeyboardInterrupt:
        say(f"Interrupted. The accept may be out, and it binds: look with intentcast show {short(found)}")
        raise typer.Exit(Exit.INTERRUPTED) from None
    contract = view["contract"]
    if as_json:
        print_json(view)
    else:
        print_fields(priced(contract))
    state = contract.get("state")
    if state == "confirmed":
        say(f"Confirmed. Keep the evidence: intentcast export {short(contract['id'])} contract.evidence")
        return
    if state in ("rejected", "lapsed"):
        say(f"The vendor's answer: {state}. You are bound to nothing.")
        raise typer.Exit(Exit.REFUSED)
    for line in _while_it_stands(contract):
        say(line)
    raise typer.Exit(Exit.NOTHING_CAME)


def _while_it_stands(contract: dict[str, Any]) -> Iterator[str]:
    """What to know of an accept that nobody has answered yet. It never outlives the offer, whatever was asked."""
    answer_by, valid_until = contract.get("answer_by"), contract.get("valid_until")
    ends_with_offer = answer_by is not None and answer_by == valid_until
    why = ": the offer itself ends then, and no --answer-within reaches further" if ends_with_offer else ""
    yield f"No confirm yet. Your accept stands until {show_instant(answer_by)}{why}."
    yield f"Look with: intentcast show {short(contract.get('id'))}"
    if contract.get("delivery") == "STORED":
        yield "The vendor is away and a mailbox holds it."
        if valid_until is not None and not ends_with_offer:
            good = show_instant(valid_until)
            yield f"Another time, a longer --answer-within gives more time: this offer is good until {good}."


def decline(
    offer_id: OfferId,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="CODE", help=f"Tell the vendor why: {', '.join(REASONS)}.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Decline an offer. Why leaves your node only if you say it.

    Example:

    intentcast decline 8c01d7e2 --reason product_fit
    """
    check_reason(reason, "--reason")
    view = client_of(home).post(
        "offers", check_id(offer_id, "an offer"), "decline", body={"reason": reason} if reason else {}
    )
    if as_json:
        return print_json(view)
    return say(f"Offer {short(view['offer'].get('id'))} is {view['offer'].get('state', 'declined')}.")


def check_reason(reason: str | None, flag: str) -> None:
    """Raises Trouble for what is no reason code."""
    if reason is not None and reason not in REASONS:
        raise usage("bad_reason", f"{flag}: {reason!r} is none", f"One of {', '.join(REASONS)}.")


def _amount(text: str, total: dict[str, Any], where: str) -> tuple[str, int]:
    title, sign, price = text.rpartition("=")
    if not sign or not title.strip():
        raise usage("bad_line", f"{where}: {text!r} is no line of a price", f"{where} 'Airport fee=30 EUR'")
    money = parse_money(price, where)
    if money["currency"] != total["currency"]:
        hint = "One offer has one currency."
        raise usage("bad_line", f"{where}: {price.strip()} is not in {total['currency']}, the total is", hint)
    return title.strip(), int(money["minor"])


def _check_sum(total: dict[str, Any], lines: list[tuple[str, int]], fees: list[tuple[str, int]]) -> None:
    if not lines:
        if fees and sum(amount for _, amount in fees) > total["minor"]:
            raise usage("bad_sum", "the fees are more than the total", "The total is all in, fees included.")
        return
    found = sum(amount for _, amount in lines + fees)
    if found != total["minor"]:
        real = show_money({"minor": found, "currency": total["currency"]})
        raise usage("bad_sum", f"lines and fees add up to {real}, the total says {show_money(total)}", "Mend one.")
