"""From what people say, in flags or JSON, to what travels: wishes, properties, facts and money, judged and normalised.

Every function raises Trouble that says what to mend; nothing is stored or sent here.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any, TypeVar

from protocol.categories import UnknownCategory, resolve
from protocol.codec import encode
from protocol.errors import Reason, Refused
from protocol.intent import ACTIONS, Intent
from protocol.limits import DEFAULT_LIFE, DEFAULT_MAX_OFFERS, MAX_LIFE, MIN_LIFE
from protocol.properties import PropertyError, canonical_value, normalise_property, property_def
from protocol.schema import read, write
from protocol.terms import Fact, Money, Property, When, Where

from .requester import check_life
from .trouble import usage
from .wish import Wish

T = TypeVar("T")


class Draft:
    """A wish as a person says it, judged and normalised. With `old`: what is not said stays as it was."""

    def __init__(self, wish: Mapping[str, Any], old: Wish | None, now: int) -> None:
        self._wish = wish
        self._old = old.intent if old is not None else None
        said = wish.get("expires")
        self.life = int(said) if said else DEFAULT_LIFE if old is None else None
        """Seconds; None: a revision that keeps the life it has."""
        if self.life is not None:
            check_life(self.life)
        if self.life is not None and self.life > MAX_LIFE:
            raise usage("expires", "a wish lives at most 30 days", "Use --expires 30d or less.")
        if "limit_private" in wish or old is None:
            self.limit = to_money(wish["limit_private"]) if wish.get("limit_private") else None
        else:
            self.limit = old.limit
        self._now = now
        self._until = max(now + (self.life or 0), old.last_exp if old is not None else 0)
        """Instant at which the wish ends."""

    def intent(self, box: bytes, reply: Any) -> Intent:
        said, old = self._wish, self._old
        category = self._category()
        action = said.get("action") or (old.action if old else None)
        if action is None:
            raise usage("action", "what should be done is missing", "Use --action with one of " + ", ".join(ACTIONS))
        if action not in ACTIONS:
            raise usage("action", f"no action {action!r}", "Use one of " + ", ".join(ACTIONS))
        title = said.get("title") or (old.title if old else None)
        if not title:
            raise usage("title", "a wish needs a few words that say what it is", 'For example: intentcast ask "A 4x4"')
        offers_by = said.get("offers_by") or (old.offers_by if old else None)
        if offers_by is not None and offers_by <= self._now:
            raise usage("offers_by", "the time for offers is over already", "Use --offers-by with a later time.")
        if offers_by is not None and offers_by > self._until - MIN_LIFE:
            raise usage(
                "offers_by", "the wish would end before its offers can be looked at", "Use a longer life: --expires."
            )
        body: dict[str, Any] = {
            "action": action,
            "category": category,
            "title": title,
            "box": box,
            "note": said.get("note") or (old.note if old else None),
            "quantity": said.get("quantity") or (old.quantity if old else 1),
            "offers_by": offers_by,
            "spread": said.get("spread") if said.get("spread") is not None else (old.spread if old else 0),
            "max_offers": said.get("max_offers") or (old.max_offers if old else DEFAULT_MAX_OFFERS),
            "terms": tuple(said.get("terms") or (old.terms if old else ())),
        }
        try:
            intent = Intent(
                **body,
                props=self._props(category, str(action)),
                when=_read(When, said["when"], "when") if said.get("when") else (old.when if old else None),
                where=_read(Where, said["where"], "where") if said.get("where") else (old.where if old else None),
                limit=to_money(said["limit_public"]) if said.get("limit_public") else (old.limit if old else None),
                reply=reply,
            )
            encode(write(intent))
        except Refused as wrong:
            what = wrong.detail.removeprefix("body.") or wrong.reason.value
            hint = "Take out line breaks, tabs and other invisible characters." if wrong.reason is Reason.TEXT else ""
            raise usage("wish", what, hint) from None
        return intent

    def _category(self) -> str:
        said = self._wish.get("category") or (self._old.category if self._old else None)
        if said is None:
            raise usage(
                "category", "a category is missing", "For example --category mobility.car, or --category plumber."
            )
        try:
            return resolve(str(said))
        except UnknownCategory as unknown:
            near = " or ".join(unknown.suggestions)
            hint = (
                f"Did you mean {near}?" if near else "The tree's first words are: mobility, travel, lodging, home, ..."
            )
            raise usage("category", f"no category {said!r}", hint) from None

    def _props(self, category: str, action: str) -> tuple[Property, ...]:
        if self._wish.get("props") is None:
            return self._old.props if self._old else ()
        return tuple(to_property(category, action, prop) for prop in self._wish["props"])


def to_property(category: str, action: str, said: Mapping[str, Any]) -> Property:
    name, unit = str(said["name"]), said.get("unit")
    values = said["value"] if isinstance(said["value"], list | tuple) else [said["value"]]
    try:
        named = [_value(category, action, name, value, unit) for value in values]
    except PropertyError as wrong:
        raise usage("property", str(wrong)) from None
    known = property_def(category, action, name)
    op, value = said["op"], tuple(one for _, one in named) if said["op"] in ("in", "range") else named[0][1]
    if op == "eq" and known is not None and type(value) is int:
        op = known.op  # `seats=4` is at least four, `excess=500` at most 500: what people mean by it
    return _read(
        Property,
        {
            "name": named[0][0],
            "op": op,
            "value": value,
            "need": said["need"],
            **({"unit": unit} if unit and known is None else {}),
            **({"weight": said["weight"]} if said.get("weight") is not None else {}),
        },
        name,
    )


def _value(category: str, action: str, name: str, value: Any, unit: str | None) -> tuple[str, Any]:
    if isinstance(value, str):
        text = f"{value} {unit}" if unit and property_def(category, action, name) is not None else value
        return normalise_property(category, action, name, text)
    known = property_def(category, action, name)
    return (known.name if known else name), canonical_value(category, action, name, value, unit)


def to_fact(wish: Intent, said: Mapping[str, Any]) -> Fact:
    try:
        name, value = _value(wish.category, wish.action, str(said["name"]), said["value"], said.get("unit"))
    except PropertyError as wrong:
        raise usage("property", str(wrong)) from None
    return Fact(name, value)


def _read(cls: type[T], said: Any, what: str) -> T:
    known = {name: value for name, value in said.items() if value is not None}
    try:
        return read(cls, _clean(known), what)
    except Refused as wrong:
        raise usage(what, wrong.detail) from None


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _clean(item) for name, item in value.items() if item is not None}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value


def to_money(said: Any) -> Money:
    if isinstance(said, Money):
        return said
    return _read(Money, said, "price")


def normalised(said: Any) -> Any:
    """All texts in NFC, as the specification asks of senders: two spellings of one letter are one letter."""
    if isinstance(said, str):
        return unicodedata.normalize("NFC", said)
    if isinstance(said, Mapping):
        return {name: normalised(item) for name, item in said.items()}
    return [normalised(item) for item in said] if isinstance(said, list | tuple) else said
