"""The bodies of requests: strict, bounded, and a field they do not know is an error that names the nearest one.

The desk judges what a wish means; here is only judged whether it has the shape of one.
"""

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Text = Annotated[str, Field(min_length=1, max_length=1000)]
Short = Annotated[str, Field(min_length=1, max_length=200)]
Seconds = Annotated[float, Field(ge=0, le=3600)]
Minor = Annotated[int, Field(ge=0, le=10**15)]


class Strict(BaseModel):
    """Whole numbers are no texts, and nothing is ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_field(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for name in value:
                if name not in cls.model_fields:
                    raise _unknown(str(name), list(cls.model_fields))
        return value


def _unknown(name: str, known: list[str]) -> PydanticCustomError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    rest = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    shown = name[:40].replace("{", "(").replace("}", ")")  # braces would be read as placeholders
    return PydanticCustomError("unknown_field", f"unknown field {shown!r}; {rest}")


class MoneyBody(Strict):
    minor: Minor
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class LineBody(Strict):
    """A line of a price: negative for a discount."""

    title: Short
    count: Annotated[int, Field(ge=1, le=1_000_000)]
    unit: Annotated[str, Field(min_length=1, max_length=80)]
    price: Annotated[int, Field(ge=-(10**15), le=10**15)]
    amount: Annotated[int, Field(ge=-(10**15), le=10**15)]


class FeeBody(Strict):
    name: Annotated[str, Field(min_length=1, max_length=80)]
    amount: Minor


class PlaceBody(Strict):
    code: Short | None = None
    cells: Annotated[list[Short], Field(max_length=16)] | None = None
    label: Short | None = None


class WhereBody(Strict):
    at: PlaceBody
    to: PlaceBody | None = None
    radius: Annotated[int, Field(ge=0, le=20_000)] | None = None
    """Kilometres."""


class WhenBody(Strict):
    """Local time, half-open."""

    start: Short
    end: Short
    tz: Short
    flex: Annotated[int, Field(ge=0)] | None = None
    """Seconds."""


Scalar = int | bool | Short


class PropertyBody(Strict):
    name: Short
    op: Literal["eq", "in", "min", "max", "range"]
    value: Scalar | Annotated[list[Scalar], Field(min_length=1, max_length=16)]
    need: Literal["must", "want", "avoid"]
    unit: Short | None = None
    weight: Annotated[int, Field(ge=0, le=100)] | None = None


class FactBody(Strict):
    name: Short
    value: Scalar
    unit: Short | None = None


class WishBody(Strict):
    """A wish as a person says it. What is not said takes the node's default; with `update`: stays as it was."""

    action: Short | None = None
    category: Short | None = None
    title: Short | None = None
    note: Text | None = None
    props: Annotated[list[PropertyBody], Field(max_length=32)] | None = None
    quantity: Annotated[int, Field(ge=1)] | None = None
    when: WhenBody | None = None
    where: WhereBody | None = None
    limit_public: MoneyBody | None = None
    """Broadcast: the most its author wants to pay."""
    limit_private: MoneyBody | None = None
    """Never leaves this node."""
    offers_by: Annotated[int, Field(ge=0)] | None = None
    """Instant, seconds UTC."""
    max_offers: Annotated[int, Field(ge=1)] | None = None
    spread: Annotated[int, Field(ge=0)] | None = None
    expires: Annotated[int, Field(ge=1)] | None = None
    """Seconds of life."""
    terms: Annotated[list[Short], Field(max_length=8)] | None = None
    update: Short | None = None
    """Id of the wish this replaces."""


class PreviewBody(Strict):
    wish: WishBody


class AskBody(Strict):
    wish: WishBody
    reach_wait: Seconds = 10.0
    """How long to wait for a peer that hears this kind of wish."""


class OptionBody(Strict):
    """Added only if the customer chooses it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,32}$")]
    title: Short
    amount: Minor


class PolicyBody(Strict):
    name: Annotated[str, Field(min_length=1, max_length=80)]
    note: Text


class CancellationBody(Strict):
    """Cancelling until then costs so much."""

    until: Annotated[int, Field(ge=0)]
    """Instant, seconds UTC."""
    fee: Minor


class StockBody(Strict):
    """What the node counts for a program: it promises no more of it than there is."""

    key: Annotated[str, Field(min_length=1, max_length=64)]
    many: Annotated[int, Field(ge=0, le=1_000_000)]
    comes_back: bool = False
    turnaround: Annotated[int, Field(ge=0, le=30 * 86_400)] = 0
    """Seconds."""
    per_stranger: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class OfferBody(Strict):
    total: MoneyBody
    valid_for: Annotated[int, Field(ge=1)]
    """Seconds."""
    lines: Annotated[list[LineBody], Field(max_length=64)] | None = None
    fees: Annotated[list[FeeBody], Field(max_length=32)] | None = None
    note: Text | None = None
    props: Annotated[list[FactBody], Field(max_length=64)] | None = None
    options: Annotated[list[OptionBody], Field(max_length=32)] | None = None
    category: Short | None = None
    when: WhenBody | None = None
    where: WhereBody | None = None
    policies: Annotated[list[PolicyBody], Field(max_length=16)] | None = None
    cancellation: Annotated[list[CancellationBody], Field(max_length=8)] | None = None
    name: Short | None = None
    contact: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class AcceptBody(Strict):
    contact: Annotated[str, Field(min_length=1, max_length=500)]
    note: Text | None = None
    options: Annotated[list[Short], Field(max_length=32)] = []
    wait: Seconds = 10.0
    """How long to wait for the vendor's confirm."""
    answer_within: Annotated[int, Field(ge=60, le=30 * 24 * 3600)] = 3600
    """Seconds after which the accept lapses unless it was confirmed; never later than the offer does."""
    tell_others: Short | None = None
    """Why the other vendors lost: told to them once this one has confirmed."""


class DeclineBody(Strict):
    reason: Short | None = None


class WithdrawBody(Strict):
    reason: Short | None = None
    """Told to those who offered."""


class DecideBody(Strict):
    """A vendor's word about an accept."""

    confirm: bool
    reason: Literal["sold_out", "terms", "policy"] | None = None
    reference: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    note: Text | None = None


class ProgramBody(Strict):
    """A vendor's program that comes to work."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    contact: Annotated[str, Field(min_length=1, max_length=500)]
    categories: Annotated[list[Short], Field(min_length=1, max_length=64)]
    decides: bool = False
    """Does it want to be asked about accepts?"""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 8


class ProgramOfferBody(OfferBody):
    stock: StockBody | None = None


class JobBody(Strict):
    """What a program made of a job."""

    outcome: Literal["offer", "nothing", "decline", "confirm", "reject", "raised", "timeout"]
    offer: ProgramOfferBody | None = None
    code: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")] | None = None
    reason: Literal["sold_out", "terms", "policy"] | None = None
    reference: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    note: Text | None = None
    error: Annotated[str, Field(max_length=500)] | None = None


class HookBody(Strict):
    """What a vendor's own system sends: an offer to a wish."""

    intent: Short
    offer: OfferBody


class HookChange(Strict):
    do: Literal["add", "rotate", "remove", "incoming"]
    id: Short | None = None
    url: Annotated[str, Field(max_length=2000)] | None = None
    events: Annotated[list[Short], Field(max_length=32)] | None = None
    allow_private: bool = False
