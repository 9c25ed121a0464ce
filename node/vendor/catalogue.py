"""Reading `catalogue.toml`, the shop of a vendor without code.

All or nothing: one error, with its line and how to mend it, and nothing of the file is used. Long lists beside it are
more patient: a bad line is told, and the rest is used.
"""

import re
import tomllib
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Final

from node.money import BadMoney, read_currency
from node.trouble import Exit, Trouble, not_found
from protocol.categories import BadPattern, UnknownCategory, matches_pattern
from protocol.limits import MAX_CONTACT, MAX_LABEL, MAX_LIFE, MAX_NOTE
from protocol.offer import Vendor
from protocol.span import is_zone
from protocol.terms import Policy

from .items import ITEM_FIELDS, Shop, read_item
from .lines import key_lines, line_of
from .patterns import check_pattern, suggest
from .pricelist import MAX_LINES, PriceList, Source, read_list
from .section import Section, Wrong, dotted, shown
from .shelf import MIN_VALID, Catalogue, Item
from .spreadsheet import COLUMNS, Unreadable, open_table
from .template import template

MAX_FILE: Final = 1024 * 1024
"""Bytes of a catalogue: 500 items with long notes are half of it."""

MAX_ITEMS: Final = 500
"""Judging one item takes up to 0.2 ms, and every wish in the division is held against all of them."""

MAX_PATTERNS: Final = 64

MAX_LISTS: Final = 32

_POSITION: Final = re.compile(r"\s*\(at (?:line (?P<line>\d+), column \d+|end of document)\)")


def load_catalogue(path: Path) -> Catalogue:
    """Read a catalogue. Raises Trouble (code `catalogue`) with file and line, what is wrong and how to mend it."""
    source = _source(path)
    try:
        values = tomllib.loads(source, parse_float=Decimal)
    except tomllib.TOMLDecodeError as bad:
        found = _POSITION.search(str(bad))
        line = int(found["line"]) if found and found["line"] else max(1, len(source.splitlines()))
        what = _POSITION.sub("", str(bad))
        hint = 'Texts stand in "quotes", lists in [brackets], and every line is a comment, a [table] or name = value.'
        raise _trouble(path, line, f"this is no TOML: {what}", hint) from None
    try:
        return read_catalogue(Section(values), path.parent)
    except Wrong as wrong:
        line, where = line_of(key_lines(source), wrong.path), dotted(wrong.path)
        raise _trouble(path, line, f"{where}: {wrong.what}" if where else wrong.what, wrong.hint) from None


def read_catalogue(top: Section, folder: Path) -> Catalogue:
    """The catalogue of a parsed file; its lists lie in `folder`. Raises Wrong."""
    top.knows(
        "name", "contact", "categories", "currency", "tz", "valid_for", "answer_within", "policies", "items", "lists",
        "confirm",
    )  # fmt: skip
    patterns = tuple(dict.fromkeys(_patterns(top)))
    shop = Shop(currency=_currency(top), tz=_zone(top))
    rows = top.table("items")
    if not rows.values and "lists" not in top:
        raise top.wrong("items", "there is nothing to offer", "Add an item: a table [items.<a name of yours>].")
    if len(rows.values) > MAX_ITEMS:
        raise top.wrong("items", f"{len(rows.values)} items, at most {MAX_ITEMS} are allowed")
    items = tuple(_item(rows, key, shop, patterns) for key in rows.values)
    return Catalogue(
        vendor=Vendor(top.text("name", MAX_LABEL, "Alpine Cars")),
        contact=top.text("contact", MAX_CONTACT, "+33 4 00 00 00 00", prose=True),
        categories=patterns,
        items=items,
        valid_for=top.duration("valid_for", MIN_VALID, MAX_LIFE, "2h"),
        answer_within=top.duration("answer_within", 60, MAX_LIFE, None) if "answer_within" in top else None,
        policies=_policies(top.table("policies")),
        lists=_lists(top, shop, patterns, folder),
        confirm=top.word("confirm", ("at once", "by hand"), "at once") if "confirm" in top else "at once",
    )


def files_of(path: Path) -> tuple[Path, ...]:
    """The files a catalogue is read from: itself, and the lists it names, whether they are there or not. Of one that is
    no TOML, itself."""
    try:
        lists = tomllib.loads(_source(path)).get("lists")
    except (Trouble, tomllib.TOMLDecodeError):
        return (path,)
    parts = [part for part in lists if isinstance(part, dict)] if isinstance(lists, list) else []
    names = [name for part in parts[:MAX_LISTS] if isinstance(name := part.get("file"), str)]
    return (path, *(path.parent / name for name in names))


def _lists(top: Section, shop: Shop, patterns: tuple[str, ...], folder: Path) -> tuple[PriceList, ...]:
    found: list[PriceList] = []
    room = MAX_LINES
    for part in top.sections("lists", MAX_LISTS):
        part.knows(*_OF_LIST, *ITEM_FIELDS)
        file = folder / part.text("file", 1000, "prices.csv")
        name = part.text("name", 32, "books") if "name" in part else re.sub(r"[^A-Za-z0-9_-]", "-", file.stem)[:32]
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name) or any(one.source.name == name for one in found):
            raise part.wrong("name", f"{name!r} is not 1 to 32 of a-z, A-Z, 0-9, - and _, or stands twice")
        counted_at = 0
        try:
            if "books_deals" in part:
                counted_at = int(file.stat().st_mtime) - part.duration("books_deals", 0, MAX_LIFE, "15m")
            source = Source(
                name=name,
                defaults=Section({key: one for key, one in part.values.items() if key not in _OF_LIST}, part.path),
                columns=_named(part.table("columns"), COLUMNS),
                properties=_named(part.table("property_columns"), None),
                by_words=part.flag("by_words") if "by_words" in part else True,
                counted_at=counted_at,
            )
            found.append(read_list(open_table(file), source, shop, patterns, room))
        except Unreadable as wrong:
            raise part.wrong("file", f"{file.name}: {wrong.what}", wrong.hint) from None
        except OSError as failed:
            raise part.wrong("file", f"{file.name} cannot be read: {failed.strerror}") from None
        room -= len(found[-1])
    return tuple(found)


_OF_LIST: Final = ("file", "name", "columns", "property_columns", "by_words", "books_deals")


def _named(table: Section, known: Iterable[str] | None) -> dict[str, str]:
    """field = "what its column is called"."""
    if known is not None:
        table.knows(*known)
    return {name: table.text(name, 200, "Preis") for name in table.values}


def _patterns(top: Section) -> list[str]:
    found = []
    listed = top.listed("categories", '["mobility.car.**"]')
    if len(listed) > MAX_PATTERNS:
        raise top.wrong("categories", f"{len(listed)} patterns, at most {MAX_PATTERNS} are allowed")
    for path, text in listed:
        if not isinstance(text, str):
            raise Wrong(path, f"{shown(text)} is no category", 'Write it in quotes: "mobility.car.**"')
        try:
            found.append(check_pattern(text))
        except UnknownCategory as bad:
            raise Wrong(path, f"there is no category {bad.text!r}", suggest(bad)) from None
        except BadPattern as bad:
            raise Wrong(path, str(bad)) from None
    return found


def _currency(top: Section) -> str | None:
    if "currency" not in top:
        return None
    value = top.text("currency", 8, "EUR")
    try:
        return read_currency(value)
    except BadMoney as bad:
        raise top.wrong("currency", str(bad), bad.hint) from None


def _zone(top: Section) -> str | None:
    if "tz" not in top:
        return None
    value = top.text("tz", 64, "Europe/Paris")
    if not is_zone(value):
        raise top.wrong("tz", f"there is no time zone {value!r}", "Write a region and a city: Europe/Paris, or UTC.")
    return value


def _policies(table: Section) -> tuple[Policy, ...]:
    if len(table.values) > 15:  # an offer carries 16, and one may say how to cancel
        raise Wrong(table.path, f"{len(table.values)} policies, at most 15 are allowed")
    for name in table.values:
        if not 1 <= len(name) <= MAX_LABEL or not name.isprintable():
            raise table.wrong(name, f"the name of a policy is 1 to {MAX_LABEL} characters")
    return tuple(Policy(name, table.text(name, MAX_NOTE, "Full to full.", prose=True)) for name in table.values)


def _item(rows: Section, key: str, shop: Shop, patterns: tuple[str, ...]) -> Item:
    if not isinstance(rows.values[key], dict):
        raise rows.wrong(key, "an item is a table", f"Write [items.{key}] on a line of its own.")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key):
        raise rows.wrong(key, "the name of an item is 1 to 64 of a-z, A-Z, 0-9, - and _", "Its title may be any text.")
    item = read_item(rows.table(key), key, shop)
    if not any(matches_pattern(pattern, item.category) for pattern in patterns):
        raise Wrong(
            (*rows.path, key, "category"),
            f"{item.category} is in none of the categories at the top, so it would never be offered",
            f'Add "{item.category.partition(".")[0]}.**" or "{item.category}" to categories.',
        )
    return item


def _source(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise not_found(f"there is no catalogue at {path}", "Make one: intentcast vendor init --help") from None
    except OSError as failed:
        raise _trouble(path, None, f"cannot be read: {failed.strerror}", "Look at its permissions.") from None
    if len(raw) > MAX_FILE:
        raise _trouble(path, None, f"{len(raw)} bytes, at most {MAX_FILE} are allowed", "Split it over two nodes.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as bad:
        line = raw.count(b"\n", 0, bad.start) + 1
        raise _trouble(path, line, "a character that is not UTF-8", "Save the file as UTF-8.") from None


def _trouble(path: Path, line: int | None, what: str, hint: str) -> Trouble:
    return Trouble("catalogue", f"{path}{'' if line is None else f':{line}'}: {what}", hint, Exit.REFUSED)


__all__ = ["Catalogue", "Item", "files_of", "load_catalogue", "read_catalogue", "template"]
