"""What a vendor's program answers with: a quote, a decline, a decision; and the context that makes them from a person's
words. Every slip is told with how to mend it, before anything is sent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from protocol.deal import DECLINE_REASONS, REJECT_REASONS
from protocol.limits import MAX_LIFE
from protocol.terms import Money

from ..money import BadMoney, parse_money
from ..trouble import usage
from .section import Section, Wrong
from .wish import Wish

Price = str | int | Money
"""`"48.00 EUR"`, minor units of the offer's currency (4800), or Money."""


@dataclass(frozen=True, slots=True)
class Quote:
    """An offer, as it goes to the node. Made by `ctx.offer`."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Decline:
    """No offer, for a reason that your own figures show. Nobody else is told."""

    code: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no to an accept. Made by `ctx.confirm` and `ctx.reject`."""

    confirm: bool
    reason: str | None = None
    reference: str | None = None
    note: str | None = None


Answer = Quote | Decline | None


@dataclass(frozen=True, slots=True)
class Deal:
    """An offer of yours that somebody accepted: the first time you learn who it is."""

    contract: str
    wish: Wish
    offer: Mapping[str, Any]
    contact: str
    """How to reach them, in their words."""
    options: tuple[str, ...]
    """Names of the options they chose."""
    total: Money
    """With the options."""
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler answers with."""

    wish: Wish
    now: int
    """Seconds UTC."""

    def offer(
        self,
        *,
        total: Price | None = None,
        currency: str | None = None,
        lines: Iterable[tuple[str, int, str, Price]] = (),
        fees: Mapping[str, Price] | None = None,
        options: Iterable[tuple[str, str, Price]] = (),
        valid_for: str | int = "2h",
        props: Mapping[str, Any] | None = None,
        category: str | None = None,
        when: Mapping[str, str] | None = None,
        where: Mapping[str, Any] | None = None,
        note: str | None = None,
        policies: Mapping[str, str] | None = None,
        stock: str | None = None,
        of: int | None = None,
        away: bool = False,
        turnaround: str | int = 0,
        per_stranger: int | None = None,
    ) -> Quote:
        """An offer. What it does not say about time and place is as wished.

        - `lines`: (title, count, unit, price of one); without a `total` it is lines and fees.
        - `options`: (name, title, price), added only if the customer chooses them.
        - `props`: what it is like; what is not said does not meet a must.
        - `stock` and `of`: the node counts, and promises no more than so many of it at a time; `away`: each comes
          back after the time of the offer, and is ready again after `turnaround`.

        Raises Trouble for money that cannot be read or does not add up.
        """
        parts, beside = list(lines), list(options)
        if total is None and not parts:
            raise usage("offer", "an offer needs a total or lines", 'Write total="240 EUR".')
        coin = self._currency(currency, total, [part[3] for part in parts])
        made = [self._line(part, coin) for part in parts]
        charged = [{"name": name, "amount": _minor(price, coin)} for name, price in (fees or {}).items()]
        amounts = [part[1] * _minor(part[3], coin) for part in parts]
        amounts += [_minor(price, coin) for price in (fees or {}).values()]
        minor = sum(amounts) if total is None else _minor(total, coin)
        body: dict[str, Any] = {
            "total": {"minor": minor, "currency": coin},
            "valid_for": _seconds(valid_for, "valid_for", 60),
            "lines": made or None,
            "fees": charged or None,
            "options": [{"name": name, "title": title, "amount": _minor(price, coin)} for name, title, price in beside]
            or None,
            "props": [{"name": name, "value": _said(value)} for name, value in (props or {}).items()] or None,
            "category": category,
            "when": dict(when) if when else None,
            "where": dict(where) if where else None,
            "note": note,
            "policies": [{"name": name, "note": text} for name, text in (policies or {}).items()] or None,
        }
        if stock is not None:
            if of is None:
                raise usage("offer", f"how many of {stock} are there?", "Write of=3.")
            body["stock"] = {
                "key": stock,
                "many": of,
                "comes_back": away,
                "turnaround": _seconds(turnaround, "turnaround", 0),
                "per_stranger": per_stranger,
            }
        return Quote({name: value for name, value in body.items() if value is not None})

    def decline(self, code: str, note: str | None = None) -> Decline:
        """No, with one of the words of `protocol.deal.DECLINE_REASONS`: `capacity`, `out_of_area`, `policy`, ..."""
        if code not in DECLINE_REASONS:
            raise usage("decline", f"no reason {code!r}", "Use one of " + ", ".join(DECLINE_REASONS))
        return Decline(code, note)

    def confirm(self, reference: str | None = None, note: str | None = None) -> Decision:
        return Decision(True, None, reference, note)

    def reject(self, reason: str = "sold_out", note: str | None = None) -> Decision:
        """Refuse an accept: `sold_out`, `terms` or `policy`. It counts against your word."""
        if reason not in REJECT_REASONS or reason == "superseded":
            raise usage("reject", f"no reason {reason!r}", "Use sold_out, terms or policy.")
        return Decision(False, reason, None, note)

    def _currency(self, said: str | None, total: Price | None, prices: list[Price]) -> str:
        if said is not None:
            return said
        for price in [total, *prices]:
            if isinstance(price, Money):
                return price.currency
            if isinstance(price, str):
                return money_of(price, None).currency
        if self.wish.limit is not None:
            return self.wish.limit.currency
        raise usage("offer", "in which currency?", 'Write total="240 EUR", or currency="EUR".')

    def _line(self, line: tuple[str, int, str, Price], coin: str) -> dict[str, Any]:
        title, count, unit, price = line
        minor = _minor(price, coin)
        return {"title": title, "count": count, "unit": unit, "price": minor, "amount": count * minor}


def money_of(text: str, currency: str | None) -> Money:
    try:
        return parse_money(text, currency)
    except BadMoney as bad:
        raise usage("price", str(bad), bad.hint) from None


def _said(value: Any) -> str:
    """A property as people write it."""
    return "yes" if value is True else "no" if value is False else str(value)


def _minor(price: Price, currency: str) -> int:
    if isinstance(price, str):
        negative = price.strip().startswith("-")
        money = money_of(price.strip().removeprefix("-"), currency)
        price = Money(money.minor, money.currency) if not negative else -money.minor
    if isinstance(price, Money):
        if price.currency != currency:
            raise usage("price", f"{price.currency} and {currency} in one offer", "An offer has one currency.")
        return price.minor
    return price


def _seconds(length: str | int, name: str, least: int) -> int:
    if isinstance(length, int):
        return length
    try:
        return Section({name: length}).duration(name, least, MAX_LIFE, None)
    except Wrong as wrong:
        raise usage(name, f"{name}: {wrong.what}", wrong.hint) from None
