"""Reading a table as spreadsheets and shop systems write it: which bytes, which mark between cells, which column is
which. One pass, line by line, however long the file is; a line that cannot be read is told and left out.
"""

import codecs
import csv
import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

MAX_COLUMNS: Final = 512
"""WooCommerce writes about 50, and one for each attribute."""

MAX_CELL_LINES: Final = 200
"""Of a description with paragraphs; a quotation mark that is open for longer was forgotten."""

DELIMITERS: Final = ",;\t|"

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "key": (
        "sku", "variant sku", "article number", "item number", "artikelnummer", "artikelnr", "reference", "ref",
        "product id", "item id", "key", "id", "handle",
    ),
    "title": ("title", "name", "product name", "item name", "product", "titel", "bezeichnung", "nom", "designation"),
    "price": (
        "price", "variant price", "sale price now", "regular price", "selling price", "unit price", "gross price",
        "price incl tax", "preis", "bruttopreis", "verkaufspreis", "vk", "prix", "prix ttc",
    ),
    "currency": ("currency", "currency code", "waehrung", "wahrung", "devise"),
    "stock": (
        "stock", "quantity", "qty", "inventory", "variant inventory qty", "stock quantity", "on hand", "available",
        "bestand", "lagerbestand", "menge", "quantite",
    ),
    "gtin": (
        "gtin", "ean", "isbn", "upc", "barcode", "variant barcode", "gtin upc ean or isbn", "ean13", "isbn13",
        "isbn 13", "isbn 10", "isbn10", "code barres",
    ),
    "category": ("category", "intentcast category"),
    "action": ("action",),
    "per": ("per", "unit"),
    "places": ("places", "place"),
    "note": ("note", "notes", "remark", "remarks", "bemerkung", "remarque"),
    "parent": ("handle", "parent"),
    "variant": ("option1 value",),
}  # fmt: skip
"""Field -> what its column is called, folded; the first that is there counts. Shopify, WooCommerce, Excel by hand."""


class Unreadable(Exception):
    """The file as a whole is no table."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was left out."""

    line: int
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """How a file is to be read: found out from its beginning."""

    path: Path
    encoding: str
    delimiter: str
    header: tuple[str, ...]


def open_table(path: Path) -> Table:
    """Find out encoding, delimiter and header. Raises Unreadable."""
    try:
        encoding = _encoding(path)
        with path.open(encoding=encoding, newline="") as file:
            first = file.readline(64 * 1024)
            while first and not first.strip():
                first = file.readline(64 * 1024)
    except FileNotFoundError:
        raise Unreadable("there is no such file", "Name it as it stands beside the catalogue.") from None
    except OSError as failed:
        raise Unreadable(f"cannot be read: {failed.strerror}", "Look at its permissions.") from None
    if not first:
        raise Unreadable("the file is empty", "Its first line names the columns: title, price, stock.")
    delimiter = max(DELIMITERS, key=lambda mark: _outside_quotes(first, mark))
    header = tuple(cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), []))
    if len(header) > MAX_COLUMNS:
        raise Unreadable(f"{len(header)} columns, at most {MAX_COLUMNS} are read", "Export fewer columns.")
    return Table(path, encoding, delimiter, header)


def rows_of(table: Table, bad: list[BadLine]) -> Iterator[tuple[int, list[str]]]:
    """(line from 1, cells) of every line below the header; what cannot be read at all goes to `bad`."""
    with table.path.open(encoding=table.encoding, errors="replace", newline="") as file:
        lines = _Lines(file)
        is_header = True
        while True:
            line = lines.taken + 1
            try:
                cells = _record(lines, table.delimiter)
            except StopIteration:
                return
            except csv.Error as wrong:
                bad.append(BadLine(line, str(wrong), f"A cell has at most {MAX_CELL_LINES} lines and 128 KiB."))
                is_header = False
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if is_header:
                is_header = False
                continue
            yield line, cells


def find_columns(header: tuple[str, ...], named: Mapping[str, str]) -> dict[str, int]:
    """Field -> place of its column: as `named` says, else by what columns are usually called. Raises Unreadable."""
    places: dict[str, int] = {}
    for place, name in enumerate(header):
        places.setdefault(fold(name), place)
    found = {}
    for field, names in COLUMNS.items():
        known = next((places[name] for name in names if name in places), None)
        if field in named:
            known = places.get(fold(named[field]))
            if known is None:
                raise Unreadable(
                    f"there is no column {named[field]!r} for {field}", f"Its columns are {', '.join(header[:40])}."
                )
        if known is not None:
            found[field] = known
    for field in ("title", "price"):
        if field not in found:
            raise Unreadable(
                f"no column is called {field}",
                f'Its columns are {", ".join(header[:40])}. Say which: columns = {{ {field} = "..." }}.',
            )
    return found


def fold(name: str) -> str:
    """A column's name without case, accents and marks."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    return " ".join(re.findall(r"[a-z0-9]+", plain.casefold()))


def _encoding(path: Path) -> str:
    """UTF-8 if all of it is, UTF-16 if it says so, else what Windows writes in western Europe."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        head = file.read(4)
        if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        try:
            decoder.decode(head)
            while chunk := file.read(1 << 20):
                decoder.decode(chunk)
            decoder.decode(b"", True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8-sig"


def _outside_quotes(line: str, mark: str) -> int:
    return re.sub(r'"[^"]*"', "", line).count(mark)


class _Lines(Iterator[str]):
    """A file's lines, of which the last ones taken can be put back."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._put_back: deque[str] = deque()
        self.taken = 0

    def __next__(self) -> str:
        line = self._put_back.popleft() if self._put_back else next(self._file).replace("\0", "\ufffd")
        self.taken += 1
        return line

    def put_back(self, lines: list[str]) -> None:
        self._put_back.extendleft(reversed(lines))
        self.taken -= len(lines)


def _record(lines: _Lines, delimiter: str) -> list[str]:
    """The cells of the next record, which may go over several lines. One that cannot be read costs its first line
    only: a mark left open there would else take the lines below into its cell. Raises csv.Error, StopIteration.
    """
    took: list[str] = []

    def taking() -> Iterator[str]:
        for line in islice(lines, MAX_CELL_LINES):
            took.append(line)
            yield line

    try:
        return next(csv.reader(taking(), delimiter=delimiter, strict=True))
    except csv.Error:
        lines.put_back(took[1:])
    # A mark in the middle of a cell is no harm, as long as the line is whole by itself.
    alone = csv.reader([took[0], ""], delimiter=delimiter)
    cells = next(alone)
    if alone.line_num > 1:
        raise csv.Error("a quotation mark is not closed")
    return cells
