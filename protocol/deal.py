"""From an offer to a contract: decline, accept, confirm, reject; and the two that answer any message: ack, problem."""

from dataclasses import dataclass
from typing import Annotated, Final

from .intent import CLOSE_REASONS
from .limits import MAX_CONTACT, MAX_LABEL, MAX_NOTE
from .schema import Bin, Choice, Int, Many, Text
from .terms import PROPERTY_NAME

DECLINE_REASONS: Final = (
    "price_sensitivity",
    "shipping_cost",
    "shipping_speed",
    "product_fit",
    "trust_security",
    "returns_policy",
    "payment_options",
    "comparison",
    "timing_deferred",
    "other",
    "terms_mismatch",
    "out_of_area",
    "capacity",
    "policy",
)
"""The first ten are the words agent commerce uses when a cart is left; the last four are ours."""

WISH_TURNS: Final = ("updated", *CLOSE_REASONS)
"""What can become of a wish while an offer to it is open: a newer revision, or its end."""

REJECT_REASONS: Final = ("sold_out", "superseded", "terms", "policy")

PROBLEM_CODES: Final = ("lapsed", "state", "body", "policy", "busy")


@dataclass(frozen=True, slots=True)
class Decline:
    """No, thank you. The reason leaves only if the person agrees."""

    reason: Annotated[str | None, Choice(DECLINE_REASONS)] = None
    wish: Annotated[str | None, Choice(WISH_TURNS)] = None
    """What became of the wish, if that is why; absent: it is as it was."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Yes to exactly the offer named by `ref`. Its id is the contract's id once it is confirmed."""

    contact: Annotated[str, Text(MAX_CONTACT)]
    """How the vendor reaches the person: disclosed here, to this vendor, for the first time."""
    options: Annotated[tuple[str, ...], Many(32), Text(32, PROPERTY_NAME)] = ()
    note: Annotated[str | None, Text(MAX_NOTE)] = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """The vendor's signature under the accept: now there is a contract."""

    contact: Annotated[str, Text(MAX_CONTACT)]
    reference: Annotated[str | None, Text(MAX_LABEL)] = None
    note: Annotated[str | None, Text(MAX_NOTE)] = None


@dataclass(frozen=True, slots=True)
class Reject:
    """The vendor cannot keep the offer. Counted against its honour, whatever the reason."""

    reason: Annotated[str, Choice(REJECT_REASONS)]
    note: Annotated[str | None, Text(MAX_NOTE)] = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Stored: the message `ref`, which came in the item with this digest. Signed, so it is evidence."""

    digest: Annotated[bytes, Bin(32)]


@dataclass(frozen=True, slots=True)
class Problem:
    """The message `ref` was stored and has no effect."""

    code: Annotated[str, Choice(PROBLEM_CODES)]
    arg: Annotated[int | None, Int()] = None
    wish: Annotated[str | None, Choice(WISH_TURNS)] = None
    """About an offer: what had become of the wish, if that is why it has no effect."""
