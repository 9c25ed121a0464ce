"""Recorded wishes, asked again of a catalogue or a program: no node, no network, nothing sent."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from protocol.offer import Offer

from ..money import format_money
from ..trouble import Trouble, usage
from ..views import plain
from .catalogue import load_catalogue
from .kit import Decline, load_program
from .quote import Quote, quote
from .shelf import all_left
from .tallies import why_line
from .wish import Wish

_HINT = "One wish a line, or all that `intentcast intents --json` prints."

Answerer = Callable[[Wish, int], Offer | str]
"""(wish, now) -> the offer, or in one line why there is none. Raises what a program raises."""


def read_wishes(text: str, name: str) -> list[Wish]:
    """What `intentcast intents --json` prints, or one wish a line. Raises Trouble with the line that is wrong."""
    try:
        whole = json.loads(text)
    except ValueError:
        views = [_line(line, f"{name}:{number}") for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    else:
        views = whole["intents"] if isinstance(whole, dict) and "intents" in whole else whole
        views = views if isinstance(views, list) else [views]
    return [_wish(view, name) for view in views]


def _line(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as wrong:
        raise usage("bad_wish", f"{where}: {wrong}", _HINT) from None


def _wish(view: Any, name: str) -> Wish:
    if isinstance(view, dict) and isinstance(view.get("intent"), dict):
        view = view["intent"]
    if not isinstance(view, dict):
        raise usage("bad_wish", f"{name}: {str(view)[:60]!r} is no wish", _HINT)
    return Wish.read(view)


def with_catalogue(path: Path) -> Answerer:
    """As if nothing had been sold yet. Raises Trouble."""
    catalogue = load_catalogue(path.absolute())

    def answer(wish: Wish, now: int) -> Offer | str:
        found = quote(catalogue, wish.intent, wish_at=wish.at, now=now, left=all_left)
        return found.offer if isinstance(found, Quote) else why_line(found.reason, wish.action)

    return answer


def with_program(text: str) -> Answerer:
    """`FILE.py:name`. Raises Trouble."""
    shop = load_program(text)

    def answer(wish: Wish, now: int) -> Offer | str:
        found = shop.test(wish, now)
        if isinstance(found, Decline):
            return f"no: {found.code}" + (f" ({found.note})" if found.note else "")
        return "nothing" if found is None else found

    return answer


def replayed(wishes: Iterable[Wish], answer: Answerer) -> Iterator[dict[str, Any]]:
    """Each wish with its answer, as of when it was said; one that goes wrong is shown so, and the others go on."""
    for wish in wishes:
        view: dict[str, Any] = {"intent": wish.id, "title": wish.title}
        began = time.perf_counter()
        try:
            found = answer(wish, wish.at or int(time.time()))
        except Trouble as trouble:
            view |= {"answer": "failed", "line": f"failed: {trouble.message} {trouble.hint}".strip()}
        except Exception as wrong:
            view |= {"answer": "failed", "line": f"raised {type(wrong).__name__}: {wrong}"}
        else:
            if isinstance(found, Offer):
                view |= {"answer": "offer", "line": _words(found), "offer": plain(found)}
            else:
                view |= {"answer": "none", "line": found}
        view["ms"] = round((time.perf_counter() - began) * 1000, 1)
        yield view


def _words(offer: Offer) -> str:
    lines = ", ".join(f"{line.count} x {line.title}" for line in offer.lines)
    deviates = "".join(f"; not as wished: {one.name}" for one in offer.deviates)
    return f"{format_money(offer.total)} for {lines}{deviates}"
