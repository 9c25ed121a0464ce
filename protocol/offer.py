"""The offer: a vendor's signed, binding answer to one revision of one wish, sealed to its author."""

from dataclasses import dataclass
from typing import Annotated

from .errors import Reason
from .limits import MAX_LABEL, MAX_NOTE, MAX_REPLY_ROUTES, MAX_TITLE
from .schema import Int, Invalid, Many, Text
from .terms import CATEGORY, MAX_MINOR, PROPERTY_NAME, Fact, Money, Policy, Route, When, Where


@dataclass(frozen=True, slots=True)
class Vendor:
    name: Annotated[str, Text(MAX_LABEL)]
    """What the vendor calls itself. Proves nothing: the key is who it is."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the price. Amounts are minor units of the total's currency, tax included."""

    title: Annotated[str, Text(MAX_TITLE)]
    count: Annotated[int, Int(1, 1_000_000)]
    unit: Annotated[str, Text(MAX_LABEL)]
    price: Annotated[int, Int(-MAX_MINOR, MAX_MINOR)]
    """Per unit; negative for a discount."""
    amount: Annotated[int, Int(-MAX_MINOR, MAX_MINOR)]

    def check(self) -> None:
        if self.amount != self.count * self.price:
            raise Invalid("amount is not count times price", Reason.SUM)


@dataclass(frozen=True, slots=True)
class Fee:
    """Everything that is added to the lines. A fee that is not here is not owed."""

    name: Annotated[str, Text(MAX_LABEL)]
    amount: Annotated[int, Int(0, MAX_MINOR)]


@dataclass(frozen=True, slots=True)
class Deviation:
    """A wish of the person that this offer does not fulfil, said openly."""

    name: Annotated[str, Text(32, PROPERTY_NAME)]
    offered: Annotated[str | None, Text(MAX_LABEL)] = None
    """What there is instead, in words; absent: not known."""


@dataclass(frozen=True, slots=True)
class Option:
    """Something that can be added when accepting."""

    name: Annotated[str, Text(32, PROPERTY_NAME)]
    title: Annotated[str, Text(MAX_TITLE)]
    amount: Annotated[int, Int(0, MAX_MINOR)]


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Cancelling until `until` (an instant) costs `fee`."""

    until: Annotated[int, Int(0)]
    fee: Annotated[int, Int(0, MAX_MINOR)]


@dataclass(frozen=True, slots=True)
class Offer:
    """Binding until the message's `exp`; stock is subject to confirm."""

    vendor: Vendor
    category: Annotated[str, Text(164, CATEGORY)]
    lines: Annotated[tuple[Line, ...], Many(64, least=1)]
    total: Money
    fees: Annotated[tuple[Fee, ...], Many(32)] = ()
    props: Annotated[tuple[Fact, ...], Many(64)] = ()
    """What is offered, so that the receiver can check meets and deviates with the same code."""
    meets: Annotated[tuple[str, ...], Many(32), Text(32, PROPERTY_NAME)] = ()
    deviates: Annotated[tuple[Deviation, ...], Many(40)] = ()
    """Every property of the wish, and category and when besides."""
    options: Annotated[tuple[Option, ...], Many(32)] = ()
    when: When | None = None
    where: Where | None = None
    note: Annotated[str | None, Text(MAX_NOTE)] = None
    cancellation: Annotated[tuple[Cancellation, ...], Many(8)] = ()
    policies: Annotated[tuple[Policy, ...], Many(16)] = ()
    reply: Annotated[tuple[Route, ...], Many(MAX_REPLY_ROUTES)] = ()

    def check(self) -> None:
        total = sum(line.amount for line in self.lines) + sum(fee.amount for fee in self.fees)
        if total != self.total.minor:
            raise Invalid(f"lines and fees add up to {total}, the total says {self.total.minor}", Reason.SUM)


@dataclass(frozen=True, slots=True)
class OfferWithdraw:
    """The vendor takes an offer back. It stands all the same for whoever accepted before acknowledging this."""

    note: Annotated[str | None, Text(MAX_NOTE)] = None
