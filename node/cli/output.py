"""What people and scripts see: the result on stdout, everything else on stderr.

Text that came from the network is hostile: it is printed as text, never as markup, and without what could move a
terminal's cursor or change its direction.
"""

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from node.trouble import Trouble

from .money import show_money
from .spans import show_duration, show_instant

if TYPE_CHECKING:
    from rich.console import Console

INSTANTS = frozenset(
    "at made_at exp until valid_until old_until opens_at answer_by expires_at offers_by since now".split()
)
"""Keys whose numbers are instants."""
AMOUNTS = frozenset({"price", "amount", "fee"})
"""Keys whose numbers are minor units of the offer's currency."""
ID_SHOWN = 12
"""Characters of an id in tables: enough to paste into the next command."""


def print_json(document: Any) -> None:
    """One JSON document on one line."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    print(json.dumps(document, ensure_ascii=not encoding.startswith("utf"), default=str), flush=True)


def say(text: str) -> None:
    """A line of progress or a hint, to stderr."""
    print(clean(text), file=sys.stderr, flush=True)


def print_trouble(trouble: Trouble, as_json: bool) -> None:
    """What went wrong: as JSON on stdout for scripts, in words on stderr for people."""
    if as_json:
        print_json(trouble.as_dict())
        return
    say(f"Error: {trouble.message}")
    if trouble.hint:
        say(f"  {trouble.hint}")


def clean(text: object) -> str:
    """Text as it may appear on a terminal: line feeds stay, other controls and direction marks become visible."""
    return "".join(
        c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co") else "�" for c in str(text)
    )


def console(stderr: bool = False) -> "Console":
    """A console without markup, highlighting and emoji: text is text. Rich itself respects NO_COLOR and pipes."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table on a terminal, tab-separated lines in a pipe, or the `empty` sentence on stderr."""
    cells = [[clean(_shown(cell)).replace("\n", " ") for cell in row] for row in rows]
    if not cells:
        say(empty)
        return
    if not sys.stdout.isatty():
        for row in cells:
            print("\t".join(row))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in ("id", "price"))
    for row in cells:
        table.add_row(*map(Text, row))
    console().print(table)


def print_fields(view: Mapping[str, Any], indent: str = "") -> None:
    """A view as `name: value` lines, nested ones indented."""
    for line in field_lines(view, indent):
        print(line)


def field_lines(view: Mapping[str, Any], indent: str = "") -> list[str]:
    """The same as lines. Absent and empty values are left out."""
    lines: list[str] = []
    for name, value in view.items():
        if value is None or value == [] or value == {}:
            continue
        label = name.replace("_", " ")
        if isinstance(value, Mapping) and not _is_money(value):
            lines += [f"{indent}{clean(label)}:", *field_lines(value, indent + "  ")]
        elif name == "uptime" and isinstance(value, int | float):
            lines.append(f"{indent}{label}: {show_duration(value)}")
        elif name in INSTANTS:
            lines.append(f"{indent}{label}: {show_instant(value)}")
        elif isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
            lines.append(f"{indent}{clean(label)}:")
            lines += [f"{indent}  {clean(_shown(item))}" for item in value]
        else:
            shown = clean(_shown(value)).replace("\n", f"\n{indent}  ")
            lines.append(f"{indent}{clean(label)}: {shown}")
    return lines


def two_columns(left: tuple[str, Mapping[str, Any]], right: tuple[str, Mapping[str, Any]]) -> None:
    """Two titled blocks beside each other, on stderr."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.ROUNDED, show_lines=False)
    table.add_column(left[0], ratio=3, overflow="fold")
    table.add_column(right[0], ratio=2, overflow="fold")
    table.add_row(*(Text("\n".join(field_lines(fields)) or "nothing") for _, fields in (left, right)))
    console(stderr=True).print(table)


def short(id_text: object) -> str:
    return str(id_text or "")[:ID_SHOWN]


def _is_money(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"minor", "currency"}


def _property(prop: Mapping[str, Any]) -> str:
    """As people type it: `seats>=5 (must)`."""
    value, sign = prop["value"], {"min": ">=", "max": "<="}.get(str(prop["op"]), "=")
    if isinstance(value, list | tuple):
        value = (".." if prop["op"] == "range" else "|").join(map(_shown, value))
    unit = f" {prop['unit']}" if prop.get("unit") else ""
    return f"{prop['name']}{sign}{_shown(value)}{unit} ({prop['need']})"


def priced(view: Mapping[str, Any]) -> dict[str, Any]:
    """An offer's or contract's view for people: every bare amount in it becomes money of the total's currency."""
    total = view.get("total")
    if not _is_money(total):
        return {name: _priced_inside(item) for name, item in view.items()}
    currency = total["currency"]  # type: ignore[index]

    def with_money(name: str, value: Any) -> Any:
        if name in AMOUNTS and isinstance(value, int):
            return {"minor": value, "currency": currency}
        if isinstance(value, Mapping) and not _is_money(value):
            return {inner: with_money(inner, item) for inner, item in value.items()}
        if isinstance(value, list | tuple):
            return [with_money("", item) for item in value]
        return value

    return {name: with_money(name, value) for name, value in view.items()}


def _priced_inside(item: Any) -> Any:
    if isinstance(item, Mapping):
        return priced(item)
    return [_priced_inside(one) for one in item] if isinstance(item, list) else item


def _shown_as(name: str, value: object) -> str:
    return show_instant(value) if name in INSTANTS and isinstance(value, int) else _shown(value)


def _shown(value: object) -> str:
    if _is_money(value):
        return show_money(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    if isinstance(value, Mapping) and {"name", "op", "value", "need"} <= set(value):
        return _property(value)
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_shown_as(name, item)}" for name, item in value.items() if item is not None)
    return "" if value is None else str(value)
