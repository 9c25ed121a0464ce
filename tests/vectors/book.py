"""The parts of protocol/README.md that are made from the code, between `<!-- made: NAME -->` and `<!-- end -->`."""

import ast
import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from protocol import limits
from protocol.codec import encode
from protocol.envelope import read_frame
from protocol.errors import REJECTED_ON_GOSSIP, Reason
from protocol.exchange import State
from protocol.kinds import KINDS
from protocol.message import Head
from protocol.reconcile import IdTree, mark_of
from protocol.schema import Bin, Choice, Int, Many, Text
from protocol.terms import CATEGORY, DIVISION, LOCAL_TIME

from .frame_vectors import good_frames
from .item_vectors import good_items, hints
from .sync_vectors import EXAMPLE, HERE, SALT, talk

BOOK = Path(__file__).parents[2] / "protocol" / "README.md"

_MADE = re.compile(r"(<!-- made: ([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewritten(text: str) -> str:
    """The book with every made part as the code has it now."""
    return _MADE.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", text)


def made_parts(text: str) -> list[str]:
    return [found[1] for found in _MADE.findall(text)]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


# ------------------------------------------------------------------------------------------------------- tables


def kinds_table() -> str:
    def words(names: Any) -> str:
        return ", ".join(f"`{name}`" for name in names) or "–"

    rows = [
        (
            f"`{kind.name}`",
            kind.realm.value,
            kind.sender,
            words(kind.answers),
            words(sorted(kind.head)),
            f"[`{kind.body.__name__}`](#{kind.body.__name__.lower()})",
            ", ".join(f"{before} → {after}" for before, after in kind.moves.items()) or "–",
            "yes" if kind.acked else "no",
        )
        for kind in KINDS.values()
    ]
    return _table(("kind", "realm", "sender", "`ref` names", "head fields besides", "body", "moves", "acked"), rows)


def states_table() -> str:
    moves = {name: kind.moves for name, kind in KINDS.items() if kind.moves}
    rows = [(state.value, *(moves[name].get(state.value, "–") for name in moves)) for state in State]
    return _table(("state", *(f"`{name}`" for name in moves)), rows)


def limits_table() -> str:
    notes = _notes(limits)
    rows = []
    for name, value in vars(limits).items():
        if not name.isupper():
            continue
        shown = ", ".join(f"{key}: {bits}" for key, bits in value.items()) if isinstance(value, dict) else str(value)
        rows.append((f"`{name}`", shown.strip("()"), notes.get(name, "")))
    return _table(("name", "value", "why"), rows)


def reject_list() -> str:
    rows = [(f"`{reason.value}`", "REJECT" if reason in REJECTED_ON_GOSSIP else "IGNORE") for reason in Reason]
    rejected = ", ".join(word for word, verdict in rows if verdict == "REJECT")
    return f"REJECT: {rejected}.\n"


def head_table() -> str:
    return _record_table(Head)


def bodies() -> str:
    done: dict[type, None] = {}
    for kind in KINDS.values():
        _collect(kind.body, done)
    tops = {kind.body for kind in KINDS.values()}
    ordered = [cls for cls in done if cls in tops] + [cls for cls in done if cls not in tops]
    parts = []
    for cls in ordered:
        used = [f"`{kind.name}`" for kind in KINDS.values() if kind.body is cls]
        title = f"#### {cls.__name__}" + (f"\n\nBody of {', '.join(used)}." if used else "")
        about = inspect.getdoc(cls) or ""
        made_up = about.startswith(f"{cls.__name__}(")  # what dataclass writes where nobody wrote anything
        parts.append("\n\n".join([title, *([] if made_up else [about]), _record_table(cls)]))
    return "\n".join(parts)


def _collect(cls: type, done: dict[type, None]) -> None:
    done.setdefault(cls)
    for hint in typing.get_type_hints(cls).values():
        for part in (hint, *get_args(hint)):
            if is_dataclass(part) and isinstance(part, type) and part not in done:
                _collect(part, done)


def _record_table(cls: type) -> str:
    hints = typing.get_type_hints(cls, include_extras=True)
    notes = _notes(cls)
    rows = []
    for field in fields(cls):
        if field.default is MISSING:
            must = "required"
        elif field.default is None or field.default == ():
            must = "optional"
        else:
            must = f"absent: {_shown(field.default)}"
        rows.append((f"`{field.name}`", _rule(hints[field.name]), must, notes.get(field.name, "")))
    return _table(("field", "what", "must", "meaning"), rows)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_NAMED = {CATEGORY: "a dotted path", DIVISION: "a division", LOCAL_TIME: "local time"}


def _rule(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        many = next((note for note in notes if isinstance(note, Many)), None)
        rule = next((note for note in notes if not isinstance(note, Many)), None)
        if many is None:
            return _rule_words(rule)
        item = _rule_words(rule) if rule is not None else _rule(get_args(inner)[0])
        return f"list of {many.least} to {many.most}: {item}"
    choices = [part for part in get_args(hint) if part is not type(None)]
    if choices:
        return _rule(choices[0])
    return "true or false" if hint is bool else f"[`{hint.__name__}`](#{hint.__name__.lower()})"


def _rule_words(rule: Any) -> str:
    if isinstance(rule, Text):
        size = str(rule.max_chars) if rule.min_chars == rule.max_chars else f"{rule.min_chars} to {rule.max_chars}"
        if rule.pattern is None:
            return f"text, {size} characters"
        return f"{_NAMED.get(rule.pattern, 'text')} `{rule.pattern}`, {size} characters"
    if isinstance(rule, Int):
        low = "" if rule.low == limits.INT_MIN else _power(rule.low)
        high = "" if rule.high == limits.INT_MAX else _power(rule.high)
        if low and high:
            return f"integer, {low} to {high}"
        return f"integer, {low} or more" if low else "integer"
    if isinstance(rule, Bin):
        return f"{rule.size} bytes"
    if isinstance(rule, Choice):
        return "one of " + ", ".join(f"`{word}`" for word in rule.words)
    return str(inspect.getdoc(type(rule))).rstrip(".")


def _power(number: int) -> str:
    return {2**40: "2^40", 10**15: "10^15", -(10**15): "-10^15"}.get(number, str(number))


def _notes(where: Any) -> dict[str, str]:
    """The text below each name, as written in the source. Names with one text below them all share it."""
    tree = ast.parse(inspect.getsource(where))
    nodes = tree.body[0].body if isinstance(where, type) else tree.body  # type: ignore[attr-defined]
    notes: dict[str, str] = {}
    waiting: list[str] = []
    for node in nodes:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if not isinstance(where, type):
                waiting.append(node.target.id)
            else:
                waiting = [node.target.id]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            text = " ".join(node.value.value.split())
            notes |= dict.fromkeys(waiting, text)
            waiting = []
    return notes


# ----------------------------------------------------------------------------------------------- worked examples


def _hex(data: bytes, width: int = 48) -> str:
    digits = data.hex()
    return "\n".join(digits[i : i + 2 * width] for i in range(0, len(digits), 2 * width))


def examples() -> str:
    parts = []
    for name, (key, realm, frame) in good_frames().items():
        if name not in KINDS:  # the odd ones are in the vectors only
            continue
        unverified = read_frame(frame)
        parts.append(
            f"#### `{name}`\n\nrealm `{realm.value}`, net `test`, key seed `{key.reveal().hex()}`, "
            f"{len(frame)} bytes, id `{unverified.id.hex()}`\n\n```\n{_hex(frame)}\n```\n"
        )
    return "\n".join(parts)


def sealed_examples() -> str:
    offered = good_items()["offer, Bob to Alice"].item
    acked = good_items()["ack of that offer, Alice to Bob"]
    hint = hints()["need_bits"]
    return (
        "An item: the offer above, from Bob's `tkey` to Alice's `box`. Secrets: Bob "
        f"`{good_items()['offer, Bob to Alice'].by.box.reveal().hex()}`, Alice `{acked.by.box.reveal().hex()}`. "
        f"`n` {offered.n}, `exp` {offered.exp}, digest D `{offered.digest.hex()}`\n\n"
        f"```\n{_hex(offered.encoded())}\n```\n\n"
        "Its associated data, the canonical array of the first six:\n\n"
        f"```\n{_hex(encode([1, offered.to_box, offered.tkey, offered.n, offered.exp, offered.nonce]))}\n```\n\n"
        f"Its ack as a frame (`digest` is D), then sealed as the first item from Alice to Bob:\n\n"
        f"```\n{_hex(acked.message.frame)}\n```\n\n```\n{_hex(acked.item.encoded())}\n```\n\n"
        f"A hint about it, `need_bits` 12:\n\n```\n{_hex(hint.encoded())}\n```\n"
    )


def catch_up_example() -> str:
    hers, his = EXAMPLE
    (missing,) = set(his) - set(hers)
    tree = IdTree(his)
    lines = [
        f"Bob has these {len(his)} ids in `{HERE}`; Alice has all but `{missing.hex()[:6]}…`. Her salt is "
        f"`{SALT.hex()}`.\n",
        f"```\n{chr(10).join(one.hex() for one in tree)}\n```\n",
        f"Fingerprint of Bob's range `9`, BLAKE2b-256 of `00` and three ids: `{tree.fingerprint('9').hex()}`\n",
        "Fingerprint of his division, BLAKE2b-256 of `01` and the fingerprints of sixteen parts: "
        f"`{tree.fingerprint().hex()}`. Its mark: `{mark_of(tree.fingerprint(), SALT).hex()}`\n",
    ]
    for question, answered, _ in talk(hers, his):
        value = question.value()
        lines.append(f"Alice: `{value[0]}` {', '.join(f'`{one}`' for one in question.ranges)}\n")
        lines.append(f"```\n{_hex(encode(value))}\n```\n")
        lines.append(f"Bob: `{answered[0]}`\n\n```\n{_hex(encode(answered))}\n```\n")
    return "\n".join(lines)


PARTS: dict[str, Callable[[], str]] = {
    "kinds": kinds_table,
    "states": states_table,
    "limits": limits_table,
    "rejected": reject_list,
    "head": head_table,
    "bodies": bodies,
    "frames": examples,
    "items": sealed_examples,
    "sync": catch_up_example,
}
