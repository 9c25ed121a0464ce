"""The table of kinds (kinds.toml), read once."""

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Final

from . import address, deal, intent, mailbox, offer
from .envelope import Realm

Body = (
    intent.Intent
    | intent.IntentClose
    | offer.Offer
    | offer.OfferWithdraw
    | deal.Decline
    | deal.Accept
    | deal.Confirm
    | deal.Reject
    | deal.Ack
    | deal.Problem
    | address.NodeAddress
    | mailbox.MailboxGrant
    | mailbox.MailboxClaim
)

_BODIES: Final[dict[str, type[Body]]] = {cls.__name__: cls for cls in Body.__args__}


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    realm: Realm
    sender: str
    """requester, vendor or either of them; in no exchange at all: node, a transport key, or receiver, the key of either
    party to a mailbox."""
    answers: tuple[str, ...]
    head: frozenset[str]
    body: type[Body]
    moves: dict[str, str]
    acked: bool


def _load() -> dict[str, Kind]:
    table = tomllib.loads(resources.files(__package__).joinpath("kinds.toml").read_text("utf-8"))
    return {
        name: Kind(
            name,
            Realm(row["realm"]),
            row["sender"],
            tuple(row["answers"]),
            frozenset(row["head"]),
            _BODIES[row["body"]],
            dict(row["moves"]),
            row["acked"],
        )
        for name, row in table.items()
    }


KINDS: Final = _load()
