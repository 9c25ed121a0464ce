"""A long price list: 100,000 lines kept small, and the few that may answer a wish found without looking at the rest.

A line is kept as what is its own (key, title, price, stock, properties); what it shares with thousands of others is
kept once, as the item they are all made from. An index leads from a bar code, from words and from properties to lines.
What it finds is only a choice of what to look at: whether a line answers is judged as for any other item.
"""

import math
import re
import unicodedata
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from pathlib import Path
from typing import Any, Final

from node.money import BadMoney, parse_money
from protocol.categories import canonical, is_below, label_of, matches_pattern
from protocol.codec import text_is_clean
from protocol.intent import Intent
from protocol.limits import MAX_NOTE
from protocol.properties import PropertyError, canonical_value, fulfils, property_def, read_gtin
from protocol.terms import Fact, Money, Property, PropertyValue

from .items import MAX_ITEM_TITLE, Shop, read_fact, read_item
from .section import Section, Wrong
from .shelf import Item
from .spreadsheet import BadLine, Table, find_columns, fold, rows_of

MAX_LINES: Final = 100_000
"""Lines of all lists of a catalogue: some 60 MB, and two seconds to read (`scripts/bench lists`)."""

MAX_BAD_SHOWN: Final = 100
"""Bad lines that are told one by one; of more, how many."""

JUDGED: Final = 60
"""Lines looked at closely for one wish, at most: those most called as it says, then the cheapest. Each costs about
0.1 ms."""

MOST_VISITS: Final = 60_000
"""Entries of the index read for one wish, some 30 ms: words that stand in half of all lines find nothing anyway."""

LIKE_ENOUGH: Final = 0.4
"""How much of its words, the rare ones weighing more, a wish must share with a line, or a line with a wish."""

ALIKE: Final = 1_000
"""The likeness of what is called just as a wish says."""

_NEEDED: Final = {"category": '"media.book"', "action": '"buy"', "per": '"piece"', "places": '"anywhere"'}
"""What a list says for all of its lines, if no column does; and an example."""

_NONE: Final = array("I")
_WORD: Final = re.compile(r"[^\W_]+")
_STOP: Final = frozenset(
    "a an and any are as at by for from i in is it like looking me my need of on one or please some the to want with "
    "das der die ein eine fuer mit und von de des du et la le les pour un une avec".split()
)
_STOCK: Final = re.compile(r"(-?)([0-9]{1,9})(?:[.,]0+)?")


def words_of(text: str) -> frozenset[str]:
    """The words of a text that can tell one thing from another: without case, accents, plural and small words."""
    plain = text
    if not text.isascii():
        plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    found = (word for word in _WORD.findall(plain.casefold()) if word not in _STOP)
    return frozenset(word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
                     for word in found)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """What the catalogue says about a list."""

    name: str
    """Leads the keys of its lines in the book of what is sold: keep it."""
    defaults: Section
    """What a line does not say: fields of an item."""
    columns: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    """Property -> column."""
    by_words: bool = True
    """A wish must name a bar code the list has, or share words with a line."""
    counted_at: int = 0
    """See Item.counted_at."""


@dataclass(slots=True)
class Report:
    """How reading a list went."""

    file: Path
    lines: int = 0
    kept: int = 0
    bad: list[BadLine] = field(default_factory=list)
    """The first hundred."""
    bad_lines: int = 0
    unused: tuple[str, ...] = ()
    """Columns nothing was made of."""

    def tell(self, bad: BadLine) -> None:
        self.bad_lines += 1
        if len(self.bad) < MAX_BAD_SHOWN:
            self.bad.append(bad)


class PriceList:
    """The lines of one file, and the index over them. Never changed once it is read."""

    def __init__(self, source: Source, report: Report) -> None:
        self.source = source
        self.report = report
        self._kinds: list[Item] = []
        """What lines are made from."""
        self._kind_of = array("I")
        self._keys: list[str] = []
        self._titles: list[str] = []
        self._minors = array("q")
        self._stocks = array("q")
        self._gtins: list[str | None] = []
        self._facts: list[tuple[Fact, ...]] = []
        self._notes: dict[int, str] = {}
        self._by_key: dict[str, int] = {}
        self._by_gtin: dict[str, list[int]] = {}
        self._by_word: dict[str, array[int]] = {}
        self._line_weights = array("d")
        """What all words of a line weigh."""
        self._by_fact: dict[str, dict[tuple[type, PropertyValue], array[int]]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def item(self, key: str) -> Item | None:
        row = self._by_key.get(key.removeprefix(f"{self.source.name}:")) if key.startswith(self.source.name) else None
        return None if row is None else self._item(row)

    def _item(self, row: int) -> Item:
        kind, gtin, stock = self._kinds[self._kind_of[row]], self._gtins[row], self._stocks[row]
        own = self._facts[row] if gtin is None else (*self._facts[row], Fact("gtin", gtin))
        return replace(
            kind,
            key=f"{self.source.name}:{self._keys[row]}",
            title=self._titles[row],
            minor=self._minors[row],
            props=kind.props + own,
            stock=kind.stock if stock < 0 else stock,
            note=self._notes.get(row, kind.note),
            counted_at=self.source.counted_at,
        )

    # -------------------------------------------------------------------------------------------------- filling

    def add(
        self, kind: int, key: str, title: str, minor: int, stock: int | None, gtin: str | None,
        facts: tuple[Fact, ...], note: str | None,
    ) -> None:  # fmt: skip
        row = len(self._keys)
        self._by_key[key] = row
        self._keys.append(key)
        self._titles.append(title)
        self._kind_of.append(kind)
        self._minors.append(minor)
        self._stocks.append(-1 if stock is None else stock)
        self._gtins.append(gtin)
        self._facts.append(facts)
        if note is not None:
            self._notes[row] = note
        if gtin is not None:
            self._by_gtin.setdefault(gtin, []).append(row)
        for word in words_of(title):
            self._by_word.setdefault(word, array("I")).append(row)
        item = self._kinds[kind]
        for fact in facts:
            try:
                value = canonical_value(item.category, item.actions[0], fact.name, fact.value, fact.unit)
            except PropertyError:
                continue  # it can be shown, and compared with nothing
            self._by_fact.setdefault(fact.name, {}).setdefault((type(value), value), array("I")).append(row)

    def finish(self) -> None:
        """All lines are there: how rare each one's words are can be counted."""
        self._line_weights = array("d", bytes(8 * len(self)))
        for word, rows in self._by_word.items():
            weight = self._weight(word)
            for row in rows:
                self._line_weights[row] += weight

    def has(self, key: str) -> int | None:
        return self._by_key.get(key)

    def add_kind(self, item: Item) -> int:
        self._kinds.append(item)
        return len(self._kinds) - 1

    # -------------------------------------------------------------------------------------------------- finding

    def candidates(self, intent: Intent, listens: bool) -> tuple[list[tuple[Item, float]], str]:
        """The lines worth a closer look, each with how much it is called as the wish says (0 to 1); and, in case none
        of them answers, the reason so far."""
        wanted = canonical(intent.category)
        near = [
            (number, kind)
            for number, kind in enumerate(self._kinds)
            if is_below(kind.category, wanted) or (listens and is_below(wanted, kind.category))
        ]
        if not near:
            return [], "category"
        kinds = {number for number, kind in near if intent.action in kind.actions}
        if not kinds:
            return [], "action"
        found, reason = self._by_name(intent, kinds)
        for prop in intent.props:
            if found and prop.need == "must" and prop.op in ("eq", "in"):
                name, allowed = self._rows_with(prop, intent, kinds)
                if allowed is None:
                    continue
                found = {row: likeness for row, likeness in found.items() if row in allowed}
                if not found:
                    described = property_def(wanted, intent.action, prop.name) is not None
                    return [], f"must:{name}" if described else "must:other"
        minors = self._minors
        best = nsmallest(JUDGED, [(-likeness, minors[row], row) for row, likeness in found.items()])
        return [(self._item(row), -likeness / ALIKE) for likeness, _, row in best], reason

    def _by_name(self, intent: Intent, kinds: set[int]) -> tuple[dict[int, int], str]:
        """Row -> likeness, in parts of ALIKE."""
        gtins, must = self._gtins_of(intent)
        if gtins:
            rows = [row for gtin in gtins for row in self._by_gtin.get(gtin, ()) if self._kind_of[row] in kinds]
            if rows or must:
                return dict.fromkeys(rows, ALIKE), "must:gtin"
        words = words_of(intent.title) - words_of(label_of(intent.category) + " " + intent.category)
        if not words or not self.source.by_words:
            return {row: ALIKE for row, kind in enumerate(self._kind_of) if kind in kinds}, "category"
        return self._by_words(words, kinds), "words"

    def _gtins_of(self, intent: Intent) -> tuple[list[str], bool]:
        """Bar codes the wish names, and whether it must be one of them."""
        found: list[str] = []
        must = False
        for prop in intent.props:
            known = property_def(intent.category, intent.action, prop.name)
            if known is not None and known.type == "gtin" and prop.op in ("eq", "in") and prop.need != "avoid":
                values = prop.value if isinstance(prop.value, tuple) else (prop.value,)
                found += [gtin for value in values if (gtin := read_gtin(str(value))) is not None]
                must = must or prop.need == "must"
        return found, must

    def _by_words(self, words: frozenset[str], kinds: set[int]) -> dict[int, int]:
        """Rows that share enough words, the rarest looked at first."""
        weights = {word: self._weight(word) for word in words}
        whole = sum(weights.values())
        scores: dict[int, float] = {}
        hits: dict[int, int] = {}
        visits = MOST_VISITS
        for word in sorted(words, key=lambda word: (-weights[word], word)):
            rows = self._by_word.get(word, _NONE)[:visits]
            visits -= len(rows)
            for row in rows:
                scores[row] = scores.get(row, 0.0) + weights[word]
                hits[row] = hits.get(row, 0) + 1
        found = {}
        line_weights, kind_of, least = self._line_weights, self._kind_of, LIKE_ENOUGH * whole
        for row, together in scores.items():
            line = line_weights[row]
            # All that a line says may stand in a wish that says much more; but one word alone is chance.
            enough = together >= least or (together >= LIKE_ENOUGH * line and hits[row] > 1)
            if enough and kind_of[row] in kinds:
                found[row] = int(2 * ALIKE * together / (whole + line))
        return found

    def _weight(self, word: str) -> float:
        """The rarer, the more (inverse document frequency); a word no line has weighs most."""
        return math.log(1 + len(self) / (1 + len(self._by_word.get(word, ()))))

    def _rows_with(self, prop: Property, intent: Intent, kinds: set[int]) -> tuple[str, set[int] | None]:
        """Rows whose own properties fulfil this one; None if that is not theirs alone to say."""
        described = property_def(intent.category, intent.action, prop.name)
        name = prop.name if described is None else described.name
        if name == "gtin" or any(fact.name == name for kind in kinds for fact in self._kinds[kind].props):
            return name, None
        if any(fact.name == name for kind in kinds for choice in self._kinds[kind].choices for fact in choice):
            return name, None
        known = self._by_fact.get(name, {})
        allowed: set[int] = set()
        for wanted in prop.value if isinstance(prop.value, tuple) else (prop.value,):
            try:
                value = canonical_value(intent.category, intent.action, name, wanted, prop.unit)
            except PropertyError:
                return name, None
            if described is not None and described.type == "choice":
                for (_, offered), rows in known.items():
                    if fulfils(described, offered, value):
                        allowed.update(rows)
            else:
                allowed.update(known.get((type(value), value), ()))
        return name, allowed


# ------------------------------------------------------------------------------------------------------- reading


def read_list(table: Table, source: Source, shop: Shop, patterns: Iterable[str], room: int = MAX_LINES) -> PriceList:
    """Every line that can be offered. Raises Wrong for a default, and Unreadable for columns, that cannot be so."""
    return _Reader(table, source, shop, tuple(patterns), room).read()


class _Reader:
    def __init__(self, table: Table, source: Source, shop: Shop, patterns: tuple[str, ...], room: int) -> None:
        self._table = table
        self._source = source
        self._shop = shop
        self._patterns = patterns
        self._room = room
        self._columns = find_columns(table.header, source.columns)
        for name, example in _NEEDED.items():
            if name not in self._columns:
                source.defaults.need(name, example)  # or every line would say it
        self._report = Report(table.path)
        self._list = PriceList(source, self._report)
        self._kinds: dict[tuple[str, ...], int] = {}
        self._facts: dict[tuple[int, str, str], Fact] = {}
        self._money: dict[tuple[str, str], Money] = {}
        self._parent: tuple[str, str] = ("", "")
        self._own = self._property_columns()

    def _property_columns(self) -> list[tuple[str, int]]:
        """(property, column): those named in the catalogue, and those called like a property."""
        named = {fold(column): name for name, column in self._source.properties.items()}
        used = set(self._columns.values())
        category, actions = self._source.defaults.values.get("category"), self._source.defaults.values.get("action")
        action = actions[0] if isinstance(actions, list) and actions else actions
        found, unused = [], []
        for place, title in enumerate(self._table.header):
            name = named.pop(fold(title), None)
            if name is None and place not in used and isinstance(category, str) and isinstance(action, str):
                known = property_def(canonical(category), action, fold(title).replace(" ", "_"))
                name = known.name if known is not None else None
            if name is not None:
                found.append((name, place))
            elif place not in used:
                unused.append(title)
        if named:
            column = next(iter(named))
            raise self._source.defaults.wrong(
                "properties", f"there is no column {column!r}", f"Its columns are {', '.join(self._table.header[:40])}."
            )
        self._report.unused = tuple(unused)
        return found

    def read(self) -> PriceList:
        report = self._report
        broken: list[BadLine] = []
        for line, cells in rows_of(self._table, broken):
            self._tell_all(broken)
            report.lines += 1
            if report.kept >= self._room:
                report.tell(BadLine(line, f"a catalogue has at most {MAX_LINES} lines", "Split it over two nodes."))
                continue
            try:
                self._take(cells)
            except Wrong as wrong:
                report.tell(BadLine(line, wrong.what, wrong.hint))
        self._tell_all(broken)
        self._list.finish()
        return self._list

    def _tell_all(self, broken: list[BadLine]) -> None:
        """Lines that could not even be split into cells."""
        for one in broken:
            self._report.lines += 1
            self._report.tell(one)
        broken.clear()

    def _take(self, cells: list[str]) -> None:
        if "\ufffd" in "".join(cells):
            raise Wrong((), "a character that cannot be read", "Save the file as UTF-8.")
        price, title = self._cell(cells, "price"), self._title(cells)
        if title is None:
            return  # a further picture of the product above, in Shopify's exports
        if not title:
            raise Wrong((), "it has no title")
        if not price:
            raise Wrong((), "it has no price")
        kind = self._kind(cells)
        item = self._list._kinds[kind]
        money = self._price(price, item.currency)
        gtin = None
        if text := self._cell(cells, "gtin").strip("'"):
            gtin = read_gtin(text)
            if gtin is None:
                raise Wrong((), f"{text[:40]!r} is no bar code: its last digit does not fit", "Was it cut or rounded?")
        key = " ".join((self._cell(cells, "key") or gtin or title).split())
        if len(key) > 64:
            raise Wrong((), f"the key {key[:40]!r}... is longer than 64 characters")
        if self._list.has(key) is not None:
            raise Wrong((), f"{key!r} is there already, further up", "Give every line a key (SKU) of its own.")
        facts: dict[str, Fact] = {}
        for name, place in self._own:
            text = cells[place].strip() if place < len(cells) else ""
            if text:
                fact = self._fact(kind, name, text)
                facts.setdefault(fact.name, fact)
        note = self._cell(cells, "note") or None
        if note is not None and (len(note) > MAX_NOTE or not text_is_clean(note, prose=True)):
            raise Wrong((), f"the note has over {MAX_NOTE} characters, or one that cannot be sent")
        self._list.add(kind, key, title, money.minor, self._stock(cells), gtin, tuple(facts.values()), note)
        self._report.kept += 1

    def _cell(self, cells: list[str], field: str) -> str:
        place = self._columns.get(field)
        return cells[place].strip() if place is not None and place < len(cells) else ""

    def _title(self, cells: list[str]) -> str | None:
        title, parent = self._cell(cells, "title"), self._cell(cells, "parent")
        if title:
            self._parent = (parent, title)
        elif parent and parent == self._parent[0]:
            if not self._cell(cells, "price"):
                return None
            title = self._parent[1]
        variant = self._cell(cells, "variant")
        if title and variant and variant != "Default Title":
            title = f"{title}, {variant}"
        title = unicodedata.normalize("NFC", " ".join(title.split()))
        if len(title) > MAX_ITEM_TITLE:
            title = title[: MAX_ITEM_TITLE - 3].rstrip() + "..."
        if not text_is_clean(title):
            raise Wrong((), "the title has a character that cannot be sent", "Type it anew.")
        return title

    def _kind(self, cells: list[str]) -> int:
        said = tuple(self._cell(cells, name) for name in ("category", "action", "per", "currency", "places"))
        if said not in self._kinds:
            category, action, per, currency, places = said
            own: dict[str, Any] = {"title": "a line", "price": f"1 {currency}" if currency else "1"}
            own |= {name: value for name, value in (("category", category), ("action", action), ("per", per)) if value}
            if places:
                own["places"] = "anywhere" if places == "anywhere" else [one.strip() for one in places.split(",")]
            item = read_item(Section({**self._source.defaults.values, **own}, self._source.defaults.path), "line",
                             self._shop)  # fmt: skip
            if not any(matches_pattern(pattern, item.category) for pattern in self._patterns):
                raise Wrong((), f"{item.category} is in none of the categories at the top of the catalogue")
            if len(self._kinds) >= 5_000:
                raise Wrong((), "over 5000 combinations of category, action, unit, currency and place")
            self._kinds[said] = self._list.add_kind(item)
        return self._kinds[said]

    def _price(self, text: str, currency: str) -> Money:
        money = self._money.get((text, currency))
        if money is None:
            try:
                money = parse_money(text, currency)
            except BadMoney as bad:
                raise Wrong((), str(bad), bad.hint) from None
            if len(self._money) < 50_000:
                self._money[text, currency] = money
        if money.currency != currency:
            raise Wrong((), f"the price is in {money.currency}, and fees are in {currency}", "Add a column currency.")
        return money

    def _stock(self, cells: list[str]) -> int | None:
        text = self._cell(cells, "stock")
        if not text:
            return None
        found = _STOCK.fullmatch(text)
        if found is None:
            raise Wrong((), f"{text[:40]!r} is no number of pieces")
        return 0 if found[1] else min(int(found[2]), 1_000_000)

    def _fact(self, kind: int, name: str, text: str) -> Fact:
        found = self._facts.get((kind, name, text))
        if found is None:
            item = self._list._kinds[kind]
            found = read_fact((name,), item.category, item.actions, name, text)
            if len(self._facts) < 50_000:
                self._facts[kind, name, text] = found
        return found
