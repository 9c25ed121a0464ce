"""Leads for a vendor's books: what was offered to whom, as far as they said who they are.

A wish has no person: what becomes of it is an opportunity. It becomes a lead when its author accepts, and with that
discloses how to reach them. Column names are those CRM systems know (Odoo, HubSpot).
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ..money import format_minor

COLUMNS: Final = (
    "id", "type", "stage", "name", "category", "contact", "email", "phone", "expected_revenue", "currency",
    "date_deadline", "created", "valid_until", "contract", "source", "description",
)  # fmt: skip

_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_PHONE: Final = re.compile(r"\+?[0-9][0-9 ()/.-]{5,24}[0-9]")
_FORMULA: Final = re.compile("^[\\s\u200b\ufeff]*[=+\\-@|%\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet takes for a formula: a stranger's words must not run in a vendor's accounts."""


def lead_of(offer: Mapping[str, Any], wish: Mapping[str, Any] | None) -> dict[str, Any]:
    """One offer of ours, as the API shows it, with its wish if that is still known."""
    contact = offer.get("requester_contact")
    email, phone = (found.search(contact) if contact else None for found in (_EMAIL, _PHONE))
    total, when = offer["total"], offer.get("when")
    return {
        "id": offer["id"],
        "type": "opportunity" if contact is None else "lead",
        "stage": offer["state"],
        "name": wish["title"] if wish is not None else offer["lines"][0]["title"],
        "category": offer["category"],
        "contact": contact,
        "email": email[0] if email else None,
        "phone": phone[0].strip() if phone else None,
        "expected_revenue": format_minor(total["minor"], total["currency"]),
        "currency": total["currency"],
        "date_deadline": when["start"] if when else None,
        "created": _day(offer["at"]),
        "valid_until": _day(offer["valid_until"]),
        "contract": offer.get("contract"),
        "source": "intentcast",
        "description": "; ".join(f"{line['count']} x {line['title']}" for line in offer["lines"]),
    }


def as_csv(leads: Iterable[Mapping[str, Any]]) -> str:
    """For spreadsheets: a first line of names, and every cell that could be taken for a formula behind a quote mark."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for lead in leads:
        writer.writerow([defused(lead.get(name)) for name in COLUMNS])
    return text.getvalue()


def defused(value: Any) -> str:
    """A cell no spreadsheet computes. Source: OWASP, CSV Injection."""
    text = "" if value is None else str(value)
    return f"'{text}" if _FORMULA.match(text) or text[:1] in ("\t", "\r", "\n") else text


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
