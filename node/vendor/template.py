"""A catalogue to start from: runnable as it is, with a comment at everything that wants to be changed."""

import json
import textwrap
from typing import Final

from node.trouble import usage
from protocol.categories import BadPattern, UnknownCategory, division_of, label_of, matches_pattern, tree
from protocol.codec import text_is_clean
from protocol.limits import MAX_CONTACT, MAX_LABEL
from protocol.properties import properties_for

from .patterns import check_pattern, suggest

NO_CONTACT: Final = "write here how to reach you"
"""Stands where a vendor named no contact: the file runs, and says what is missing."""

_TOP: Final = """\
# What you offer. The node answers matching wishes from this file, and reads it again when you change it.
# Change prices, places and texts; take away what you do not have. A line that begins with # is a comment.
# All fields, and how days and prices are counted: node/vendor/README.md

name = {name}
# Told to a customer only when you have confirmed a deal: how to reach you.
contact = {contact}
# The wishes to hear: ** stands for everything below.
categories = [{categories}]
currency = "EUR"
# Your time zone, for `available` below.
tz = "Europe/Paris"
# How long an offer stands. Until then you are bound by its price.
valid_for = "2h"
# Wishes older than this are not answered. Take the # away to use it.
# answer_within = "2d"

# Rules that come with every offer, in your words.
[policies]
{policies}
"""

_CAR_POLICIES: Final = """\
"Fuel" = "Full to full."
"Driver" = "A licence held for one year, and a credit card for the deposit."
"""
_PLAIN_POLICIES: Final = """\
"Prices" = "All taxes are included."
"""

_DUSTER: Final = """\
[items.duster]
title = "Dacia Duster 4x4"
category = "mobility.car.suv"
action = "rent"
# Per day of 24 hours from the pick-up, tax included. Other units: night, hour, piece, job.
price = "48.00"
per = "day"
minimum = 1
maximum = 28
# How many you have. Held while an accepted offer waits for its confirm.
stock = 3
# Where it is picked up. A point with a radius works too: { lat = 45.76, lon = 4.84, radius = 20, label = "Lyon" }
places = ["iata:LYS"]
# The time you need before a pick-up.
notice = "2h"
# When it is to be had; without this: always. `until` is the first moment it is gone again.
# available = [{ from = "2026-11-15", until = "2027-04-30" }]
discounts = [{ from = 7, percent = 10 }, { from = 14, percent = 15 }]
cancellation = { free_until = "48h", fee = "50 %" }

# What a wish can ask for. What is not said here does not meet a must.
[items.duster.properties]
drive = "4x4"
body = "suv"
seats = 5
doors = 5
transmission = "manual"
fuel = "diesel"
luggage = 3
air_conditioning = true
winter_tyres = true
mileage_per_day = "unlimited"
min_driver_age = "23 years"
insurance = "full"
excess = "900 EUR"
fuel_policy = "full-to-full"
{more}

# Always added to the price. per: once (if not said), piece (each car), or day.
[[items.duster.fees]]
name = "Airport fee"
amount = "15.00"

# Added only if the customer wants it.
[[items.duster.options]]
name = "snow_chains"
title = "Snow chains"
amount = "20.00"

[[items.duster.options]]
name = "ski_rack"
title = "Ski rack for four pairs"
amount = "5.00"
per = "day"
"""

_CLIO: Final = """\
[items.clio]
title = "Renault Clio"
category = "mobility.car.city"
action = "rent"
price = "29.00"
per = "day"
stock = 5
places = ["iata:LYS"]
notice = "2h"
discounts = [{ from = 7, percent = 10 }]
cancellation = { free_until = "24h", fee = "29.00" }

[items.clio.properties]
drive = "fwd"
body = "small"
seats = 5
doors = 5
# To be had either way: the wish chooses.
transmission = ["manual", "automatic"]
fuel = "petrol"
luggage = 1
air_conditioning = true
winter_tyres = false
mileage_per_day = "250 km"
min_driver_age = "21 years"
{more}

[[items.clio.fees]]
name = "Airport fee"
amount = "15.00"
"""

_PLUMBER: Final = """\
[items.leak]
title = "Find and mend a leak, up to two hours of work"
category = "home.plumbing"
action = ["repair", "hire"]
# The whole job, tax and small parts included. Wishes to repair do not say how long it takes, so nothing is per hour.
price = "140.00"
per = "job"
# How many such jobs you take on at a time.
stock = 4
# You come to every place within the radius (kilometres).
places = [{ lat = 45.76, lon = 4.84, radius = 30, label = "Lyon" }]
notice = "3h"
cancellation = { free_until = "2h", fee = "40.00" }
note = "Larger damage is shown to you and priced before anything is opened."

[items.leak.properties]
certified = true
insured = true
invoice = true
warranty_months = "2 years"
response_hours = "3 h"
materials = "included"
pricing = "fixed"
# To be had in several ways: the wish chooses.
property_type = ["apartment", "house", "office", "shop"]
urgency = ["today", "this-week", "flexible"]
{more}

[[items.leak.fees]]
name = "Travel"
amount = "25.00"

[[items.leak.options]]
name = "disposal"
title = "Taking the old parts away"
amount = "15.00"
"""

_CHALET: Final = """\
[items.chalet]
title = "Chalet with a view of Mont Blanc, six guests"
category = "lodging.chalet"
action = ["book", "rent"]
# Per night: midnights between arrival and departure, whatever the hours.
price = "180.00"
per = "night"
minimum = 2
maximum = 28
stock = 1
places = [{ lat = 45.92, lon = 6.87, label = "Chamonix" }]
notice = "1d"
# available = [{ from = "2026-12-01", until = "2027-05-01" }]
discounts = [{ from = 7, percent = 12.5 }]
cancellation = { free_until = "30d", fee = "50 %" }

[items.chalet.properties]
guests = 6
bedrooms = 3
beds = 5
bathrooms = 2
entire_place = true
kitchen = true
parking = "free"
pets_allowed = false
wifi = true
sauna = true
linen = true
check_in = "afternoon"
{more}

[[items.chalet.fees]]
name = "Final cleaning"
amount = "90.00"

[[items.chalet.options]]
name = "cot"
title = "Cot"
amount = "4.00"
per = "night"
"""

_PHONE: Final = """\
[items.phone]
title = "Fairphone 5, used one year"
category = "electronics.phone"
action = "buy"
price = "310.00"
per = "piece"
# Single things go once.
stock = 1
# Sent to where it is wanted.
places = "anywhere"
note = "A light scratch on the back; photos on request."

[items.phone.properties]
brand = "Fairphone"
model = "5"
condition = "good"
storage = "256 GB"
colour = "black"
battery_health = "93 %"
original_packaging = true
receipt = true
delivery = ["shipped", "pickup"]
{more}

[[items.phone.fees]]
name = "Postage"
amount = "6.90"
per = "piece"
"""

_EXAMPLES: Final = (
    ("mobility.car.suv", "rent", _DUSTER),
    ("mobility.car.city", "rent", _CLIO),
    ("home.plumbing", "repair", _PLUMBER),
    ("lodging.chalet", "book", _CHALET),
    ("electronics.phone", "buy", _PHONE),
)

_OTHER: Final = """\
[items.{key}]
title = {title}
category = "{category}"
action = "{action}"
# {per_words}
price = "50.00"
per = "{per}"
# How many you have; without this line: no end of them.
stock = 10
# Where: "anywhere", codes ("iata:LYS", "country:FR"), or points: [{{ lat = 45.76, lon = 4.84, radius = 30 }}]
places = "anywhere"
{discounts}cancellation = {{ free_until = "24h", fee = "20 %" }}
# note = "What you want to add, in a sentence or two."

# What a wish can ask for. What is not said here does not meet a must. Take the # away from what is so.
[items.{key}.properties]
{properties}

# Always added to the price.
# [[items.{key}.fees]]
# name = "Postage"
# amount = "5.00"

# Added only if the customer wants it.
# [[items.{key}.options]]
# name = "express"
# title = "Express"
# amount = "12.00"
"""

_PER_WORDS: Final = {
    "day": "Per day of 24 hours, tax included. Other units: night, hour, piece, job.",
    "night": "Per night: midnights between arrival and departure. Other units: day, hour, piece, job.",
    "piece": "For one, tax included. Other units: job; day, night and hour for what is rented or booked.",
    "job": "For the whole job, tax included. Other units: piece; day, night and hour for what is rented or booked.",
}


def template(categories: list[str], name: str, contact: str) -> str:
    """The text of a catalogue for these patterns; a category or an everyday word stands for all below it.

    Raises Trouble for a category nobody knows, or a name or contact that cannot be sent.
    """
    patterns = list(dict.fromkeys(_pattern(text) for text in categories))
    if not patterns:
        raise usage("no_category", "no category is named", "Say what you sell: --category 'mobility.car.**'")
    shop = _text("name", name, MAX_LABEL)
    reach = _text("contact", contact, MAX_CONTACT) if contact.strip() else f"{shop} ({NO_CONTACT})"
    items: dict[str, str] = {}
    for pattern in patterns:
        examples = {category: text for category, _, text in _EXAMPLES if matches_pattern(pattern, category)}
        for category, action, text in _EXAMPLES:
            if category in examples:
                items.setdefault(category, text.replace("{more}", _more(category, action, text)))
        if not examples:
            category = _narrow(pattern)
            items.setdefault(category, _other(category))
    cars = any(category.startswith("mobility.car") for category in items)
    top = _TOP.format(
        name=_quoted(shop),
        contact=_quoted(reach),
        categories=", ".join(_quoted(pattern) for pattern in patterns),
        policies=(_CAR_POLICIES if cars else _PLAIN_POLICIES).rstrip(),
    )
    return "\n".join((top, *items.values()))


def _narrow(pattern: str) -> str:
    """The first category of the pattern with nothing below it: a broad one would deviate from most wishes."""
    matching = [slug for slug in tree() if matches_pattern(pattern, slug)]
    leaves = (slug for slug in matching if not any(other.startswith(slug + ".") for other in tree()))
    return next(leaves, matching[0])


def _pattern(text: str) -> str:
    try:
        pattern = check_pattern(text)
    except UnknownCategory as bad:
        raise usage("unknown_category", f"there is no category {bad.text!r}", suggest(bad)) from None
    except BadPattern as bad:
        raise usage("bad_pattern", str(bad), "Write for example 'mobility.car.**'.") from None
    return pattern if "*" in pattern else f"{pattern}.**"


def _text(what: str, text: str, most: int) -> str:
    text = " ".join(text.split())
    if not 1 <= len(text) <= most or not text_is_clean(text):
        raise usage(f"bad_{what}", f"the {what} is not 1 to {most} plain characters", f"Write another {what}.")
    return text


def _quoted(text: str) -> str:
    """As a TOML string: JSON's escapes are a part of TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _more(category: str, action: str, text: str) -> str:
    """A comment that names the properties the example leaves out."""
    said = {line.partition(" =")[0] for line in text.splitlines()}
    names = [found.name for found in properties_for(category, action) if found.name not in said]
    if not names:
        return "# Any name of your own works too."
    return textwrap.fill(f"More: {', '.join(names)}.", 110, initial_indent="# ", subsequent_indent="#   ")


def _other(category: str) -> str:
    action, per = _usual(category)
    rows = [f"# {found.name} = ...  # {found.allowed()}" for found in properties_for(category, action)]
    return _OTHER.format(
        key=category.rpartition(".")[2],
        title=_quoted(f"{label_of(category)} (an example)"),
        category=category,
        action=action,
        per=per,
        per_words=_PER_WORDS[per],
        discounts="" if per == "job" else "discounts = [{ from = 10, percent = 5 }]\n",
        properties="\n".join(rows[:30]) or '# colour = "blue"',
    )


def _usual(category: str) -> tuple[str, str]:
    """How things of this kind mostly change hands, as (action, unit)."""
    division = division_of(category)
    if division == "mobility" and not category.startswith(("mobility.taxi", "mobility.car.")):
        return "rent", "day"
    if division == "lodging":
        return "book", "night"
    if division in ("home", "building", "garden"):
        return "hire", "job"
    if division in ("travel", "events", "health", "beauty", "learning", "food", "pets"):
        return "book", "piece"
    if division in ("professional", "business", "finance", "public", "community"):
        return "hire", "job"
    return "buy", "piece"
