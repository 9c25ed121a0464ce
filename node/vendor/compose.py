"""From what a vendor says, by hand or in a program, to an offer: complete, honest about what deviates, and sendable."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from protocol.errors import Refused
from protocol.intent import Intent
from protocol.match import match
from protocol.offer import Cancellation, Fee, Line, Offer, Option, Vendor
from protocol.schema import read, write
from protocol.terms import Policy, When, Where

from ..drafts import to_fact, to_money
from ..trouble import refused, usage


def compose(wish: Intent, said: Mapping[str, Any], name: str) -> Offer:
    """The offer, but for the ways back. `said` has the keys of an offer's body in the API; what it does not say about
    time and place is as wished. Raises Trouble for one that does not answer, does not add up or cannot be sent."""
    total = to_money(said["total"])
    fees = tuple(Fee(**fee) for fee in said.get("fees") or ())
    rest = total.minor - sum(fee.amount for fee in fees)
    if rest < 0:
        raise refused("offer", "the fees are more than the total", "The total holds everything: lines and fees.")
    try:
        body = Offer(
            Vendor(name),
            str(said.get("category") or wish.category),
            lines=tuple(Line(**line) for line in said.get("lines") or ()) or (Line(wish.title, 1, "job", rest, rest),),
            total=total,
            fees=fees,
            props=tuple(to_fact(wish, fact) for fact in said.get("props") or ()),
            options=tuple(Option(**option) for option in said.get("options") or ()),
            when=_part(When, said.get("when")) or (replace(wish.when, flex=None) if wish.when else None),
            where=_part(Where, said.get("where")) or wish.where,
            note=said.get("note"),
            cancellation=tuple(Cancellation(**step) for step in said.get("cancellation") or ()),
            policies=tuple(Policy(**policy) for policy in said.get("policies") or ()),
        )
        found = match(wish, body)
        if found.unmet:
            raise refused(
                "must",
                "this does not answer the wish: " + "; ".join(str(unmet) for unmet in found.unmet),
                "State what you offer with --prop name=value.",
            )
        finished = replace(body, meets=found.meets, deviates=found.deviates)
        write(finished)
    except Refused as wrong:
        raise refused("offer", f"this cannot be offered: {wrong.detail}") from None
    return finished


def intent_of(view: Mapping[str, Any]) -> Intent:
    """A wish as the API and `intentcast intents --json` show it, read back. Raises Trouble."""
    known = {field.name: view[field.name] for field in fields(Intent) if field.name in view}
    try:
        return read(Intent, _plain({**known, "box": bytes(32)}), "wish")
    except Refused as wrong:
        raise usage(
            "wish", f"this is no wish: {wrong.detail}", "Use what `intentcast intents --json` prints."
        ) from None


def _part(cls: Any, said: Any) -> Any:
    return None if said is None else read(cls, _plain(said), cls.__name__.lower())


def _plain(value: Any) -> Any:
    """Without what is null: absent is the only way to say nothing."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
