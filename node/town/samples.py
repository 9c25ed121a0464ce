"""A wish, a shop and an offer to play with."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node.vendor.catalogue import Catalogue, load_catalogue

ALPINE = """
name = "{name}"
contact = "+33 4 00 00 00 00"
categories = ["mobility.**"]
currency = "EUR"
tz = "Europe/Paris"
valid_for = "2h"

[items.duster]
title = "Dacia Duster 4x4"
category = "mobility.car"
action = "rent"
price = "{price}"
per = "day"
stock = {stock}
places = ["iata:LYS"]

[items.duster.properties]
drive = "4x4"
winter_tyres = true
"""


def catalogue_of(text: str, lists: Mapping[str, str] | None = None) -> Catalogue:
    """A catalogue from the text of its file, and those of the price lists beside it (name -> text). Raises Trouble."""
    with tempfile.TemporaryDirectory(prefix="intentcast-") as folder:
        path = Path(folder) / "catalogue.toml"
        path.write_text(text, encoding="utf-8")
        for name, rows in (lists or {}).items():
            path.with_name(name).write_text(rows, encoding="utf-8")
        return load_catalogue(path)


def car_hire_text(price: str = "48.00", stock: int = 3, name: str = "Alpine Cars") -> str:
    """The file of a shop that answers SKIING. The price is per day, and the skiers stay six."""
    return ALPINE.format(name=name, price=price, stock=stock)


def car_hire(price: str = "48.00", stock: int = 3) -> Catalogue:
    """The same, read."""
    return catalogue_of(car_hire_text(price, stock))


def by_hand(price: int = 41_200, **more: Any) -> dict[str, Any]:
    """An offer that answers SKIING, made by a person. Price in cents."""
    return {
        "name": "Bob",
        "contact": "bob@example.org",
        "total": {"minor": price, "currency": "EUR"},
        "props": [{"name": "drive", "value": "4x4"}],
        **more,
    }


SKIING: dict[str, Any] = {
    "action": "rent",
    "category": "mobility.car",
    "title": "A 4-wheel-drive SUV from Lyon Airport, for skiing in the French Alps",
    "props": [
        {"name": "drive", "op": "eq", "value": "4x4", "need": "must"},
        {"name": "winter_tyres", "op": "eq", "value": "yes", "need": "want"},
    ],
    "when": {"start": "2027-03-20T10:00", "end": "2027-03-25T18:00", "tz": "Europe/Paris"},
    "where": {"at": {"code": "iata:LYS"}},
}
"""The wish this project began with."""
