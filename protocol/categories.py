"""What people choose, and the topic it is heard on.

The tree is data (categories.toml); this file reads it once, when it is first asked for. Only the division, the part
before the first dot, means anything to the network: `division_of`, `topic` and `division_of_topic` are plain text and
never look at the tree. The rest is for people and for matching: what somebody types becomes a slug, an old slug
becomes its newer one, and a slug this node has never heard of is kept under the longest part it knows.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from .intent import division_of
from .limits import VERSION
from .terms import CATEGORY, DIVISION

DIVISIONS: Final[tuple[str, ...]] = tuple(
    "mobility travel lodging events food home building garden furniture household apparel health beauty baby pets "
    "electronics software media sport hobby business professional learning finance public community".split()
)
"""The first segments, in the order of the tree. Written out so that joining topics does not load the tree."""

MAX_PATTERN_SEGMENTS: Final = 9
"""Five segments of a category with a `**` in each gap between them."""

_SLUG = re.compile(CATEGORY)
_DIVISION = re.compile(DIVISION)
_PATTERN_SEGMENT = re.compile(r"\*\*|\*|" + DIVISION)
_TOKEN = re.compile(r"[a-z0-9&+]+")


class UnknownCategory(ValueError):
    """Nothing in the tree is called this. `suggestions` are slugs, best first, perhaps none."""

    def __init__(self, text: str, suggestions: tuple[str, ...]) -> None:
        hint = f"; did you mean {' or '.join(suggestions)}?" if suggestions else ""
        super().__init__(f"no category {text!r}{hint}")
        self.text = text
        self.suggestions = suggestions


class BadPattern(ValueError):
    """Not segments of `[a-z0-9-]`, `*` or `**` joined by dots."""


@dataclass(frozen=True, slots=True)
class Category:
    """One node of the tree. Codes stand beside it for other vocabularies: names of schema.org types, CPV divisions."""

    slug: str
    label: str
    words: tuple[str, ...]
    schema: tuple[str, ...]
    cpv: tuple[str, ...]
    aliases: tuple[str, ...]


# ------------------------------------------------------------------------------------------------------- topics


def topic(net: str, division: str) -> str:
    """The gossip topic on which wishes of a division are told."""
    return f"intentcast/{VERSION}/{net}/intent/{division}"


def division_of_topic(net: str, text: str) -> str | None:
    """The division a topic of this network carries, in the tree or not; None for any other topic."""
    prefix = topic(net, "")
    division = text.removeprefix(prefix)
    return division if text.startswith(prefix) and _DIVISION.fullmatch(division) else None


# ----------------------------------------------------------------------------------------------------- the tree


@cache
def data() -> dict[str, Any]:
    """categories.toml as it stands; `protocol.properties` reads its packs."""
    return tomllib.loads(resources.files(__package__).joinpath("categories.toml").read_text("utf-8"))


@cache
def tree() -> Mapping[str, Category]:
    """Every category by its slug, in the order of the file."""
    return MappingProxyType(
        {
            slug: Category(
                slug,
                row["label"],
                *(tuple(row.get(column, ())) for column in ("words", "schema", "cpv", "aliases")),
            )
            for slug, row in data()["category"].items()
        }
    )


@cache
def _aliases() -> dict[str, str]:
    return {alias: category.slug for category in tree().values() for alias in category.aliases}


@cache
def _phrases() -> dict[str, tuple[str, ...]]:
    """Every label and search word, folded, with the slugs it stands at."""
    found: dict[str, tuple[str, ...]] = {}
    for category in tree().values():
        for phrase in dict.fromkeys(_fold(text) for text in (category.label, *category.words)):
            found[phrase] = (*found.get(phrase, ()), category.slug)
    return found


def is_slug(text: str) -> bool:
    """Has it the form of a category? Whether it is in the tree is another question."""
    return _SLUG.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def canonical(slug: str) -> str:
    """The slug with its longest alias resolved. A slug the tree does not know comes back as it is."""
    known, aliases = tree(), _aliases()
    for parent in parents(slug):
        if parent in known:
            return slug
        if parent in aliases:
            return aliases[parent] + slug[len(parent) :]
    return slug


def parents(slug: str) -> Iterator[str]:
    """The slug itself, then each category above it, up to its division."""
    while slug:
        yield slug
        slug = slug.rpartition(".")[0]


def label_of(slug: str) -> str:
    """The label of the category, or of the closest one above it that is known; the slug itself if none is."""
    known = tree()
    return next((known[parent].label for parent in parents(canonical(slug)) if parent in known), slug)


def is_below(slug: str, top: str) -> bool:
    """Is `slug` the category `top`, or one within it?"""
    return slug == top or slug.startswith(top + ".")


# -------------------------------------------------------------------------------------- what people type


def resolve(text: str) -> str:
    """The canonical slug of what a person typed: a slug, an alias, or a label or search word of one category only.

    Raises UnknownCategory with the nearest slugs; for a word that stands at several categories, with those.
    """
    slug = canonical(".".join(part.strip() for part in text.strip().lower().split(".")))
    if slug in tree():
        return slug
    slugs = _phrases().get(_fold(text), ())
    if len(slugs) == 1:
        return slugs[0]
    raise UnknownCategory(text, slugs or _nearest(text))


def search(words: str, limit: int = 20) -> list[tuple[str, str]]:
    """Categories for everyday words, best first, as (slug, label): `plumber` finds home.plumbing.

    A whole label or search word counts most, then one that is contained in the words or contains them, then
    beginnings of words.
    """
    wanted = _tokens(words)
    if not wanted:
        return []
    scores: dict[str, int] = {}
    for phrase, slugs in _phrases().items():
        score = _score(wanted, _tokens(phrase))
        for slug in slugs if score else ():
            scores[slug] = max(score, scores.get(slug, 0))
    for slug in tree():
        score = _score(wanted, _tokens(slug.rpartition(".")[2]))
        if score:
            scores[slug] = max(score, scores.get(slug, 0))
    best = sorted(scores, key=lambda slug: (-scores[slug], slug.count("."), slug))
    return [(slug, tree()[slug].label) for slug in best[:limit]]


def _score(wanted: tuple[str, ...], phrase: tuple[str, ...]) -> int:
    if not phrase:
        return 0
    if wanted == phrase:
        return 1000
    if set(phrase) <= set(wanted):
        return 500 + 10 * len(phrase)  # "need a burst pipe fixed": the longer phrase says more
    if set(wanted) <= set(phrase):
        return 400 - len(phrase)
    if all(any(token.startswith(word) for token in phrase) for word in wanted if len(word) > 2):
        return 100 - len(phrase) if any(len(word) > 2 for word in wanted) else 0
    return 0


def _nearest(text: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    folded = _fold(text)
    for slug in difflib.get_close_matches(folded, tree(), n=3, cutoff=0.7):
        found[slug] = None
    for phrase in difflib.get_close_matches(folded, _phrases(), n=3, cutoff=0.7):
        found.update(dict.fromkeys(_phrases()[phrase]))
    if not found:
        found.update((slug, None) for slug, _ in search(text, 3))
    return tuple(found)[:3]


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


@lru_cache(maxsize=4096)
def _tokens(text: str) -> tuple[str, ...]:
    """Words without the s of the plural, so that `plumbers` finds what `plumber` finds."""
    return tuple(
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
        for word in _TOKEN.findall(text.casefold())
    )


# ----------------------------------------------------------------------------------------------------- patterns


@lru_cache(maxsize=4096)
def pattern_segments(pattern: str) -> tuple[str, ...]:
    """The segments of a pattern, aliases before its first wildcard resolved. Raises BadPattern."""
    segments = pattern.split(".")
    if len(segments) > MAX_PATTERN_SEGMENTS:
        raise BadPattern(f"pattern {pattern!r}: more than {MAX_PATTERN_SEGMENTS} segments")
    for segment in segments:
        if not _PATTERN_SEGMENT.fullmatch(segment):
            raise BadPattern(f"pattern {pattern!r}: a segment is a-z, 0-9 and -, or * for one, or ** for any number")
    wild = next((index for index, segment in enumerate(segments) if "*" in segment), len(segments))
    head = canonical(".".join(segments[:wild]))
    return (*(head.split(".") if head else ()), *segments[wild:])


def matches_pattern(pattern: str, category: str) -> bool:
    """`*` is one segment, `**` none or more: `mobility.car.**` takes mobility.car and all below. Raises BadPattern."""
    wanted, path = pattern_segments(pattern), canonical(category).split(".")
    at = here = 0
    resume: tuple[int, int] | None = None  # the last ** seen, and how far into the path it has swallowed
    while here < len(path):
        if at < len(wanted) and wanted[at] == "**":
            resume = (at, here)
            at += 1
        elif at < len(wanted) and wanted[at] in ("*", path[here]):
            at, here = at + 1, here + 1
        elif resume is not None:
            resume = (resume[0], resume[1] + 1)
            at, here = resume[0] + 1, resume[1]
        else:
            return False
    return all(segment == "**" for segment in wanted[at:])


def divisions_of_pattern(pattern: str) -> tuple[str, ...]:
    """The divisions whose topics must be heard for this pattern. Raises BadPattern, or UnknownCategory."""
    first = pattern_segments(pattern)[0]
    if "*" in first:
        return DIVISIONS
    if first not in DIVISIONS:
        raise UnknownCategory(first, tuple(difflib.get_close_matches(first, DIVISIONS, n=3)))
    return (first,)


__all__ = [
    "DIVISIONS",
    "BadPattern",
    "Category",
    "UnknownCategory",
    "canonical",
    "division_of",
    "division_of_topic",
    "divisions_of_pattern",
    "is_below",
    "is_slug",
    "label_of",
    "matches_pattern",
    "parents",
    "pattern_segments",
    "resolve",
    "search",
    "topic",
    "tree",
]
