"""Which ids has another that we lack: range-based set reconciliation, for catch-up ("Catch-up" in README.md).

The ids of a division lie in ascending order and are cut into ranges: a range holds the ids that begin with the same hex
digits, and has sixteen parts, one for each next digit. Each range has a fingerprint: a hash over its ids if they are
few, else over the fingerprints of its parts. Two sets with one fingerprint are a collision of BLAKE2b-256, whoever
chose the ids. It does not depend on who asks, so a node keeps one index for everybody, and mends the handful of ranges
that a new id lies in. What travels is a **mark**, eight bytes of a hash over the asker's fresh salt and the
fingerprint: who mints ids cannot know it, so short is enough.

The asker compares the marks of whole divisions, and opens ranges that differ: large ones show the marks of their parts,
small ones list their ids. Who answers keeps nothing between two questions. Work, bytes and turns follow what differs.

Pure: salts and the order in which ranges are looked at come from outside.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Final, NamedTuple

from .codec import Value
from .envelope import ID_BYTES, digest
from .errors import Reason, Refused
from .limits import MAX_ITEMS, SYNC_ANSWER, SYNC_DIGITS, SYNC_FEW, SYNC_MARK, SYNC_SALT
from .terms import DIVISION

DIGITS: Final = "0123456789abcdef"

EMPTY: Final = digest(b"\0")
"""The fingerprint of a range without ids."""

MAX_TURNS: Final = 500
"""Questions of one walk. Half of a full meeting node's wishes take some 300; what is left comes with the next walk."""

MAX_WAITING: Final = 16_384
"""Ranges a walk remembers to open. An honest tree of a million ids asks for 8,000; beyond it the oldest go."""

_TEXT: Final = re.compile(f"({DIVISION})/([0-9a-f]{{0,{SYNC_DIGITS}}})")


class Range(NamedTuple):
    """The ids of a division that begin with these hex digits. As text `mobility/3f`; all of it is `mobility/`."""

    division: str
    digits: str = ""

    def __str__(self) -> str:
        return f"{self.division}/{self.digits}"

    @property
    def parts(self) -> list["Range"]:
        return [Range(self.division, self.digits + digit) for digit in DIGITS]


def mark_of(fingerprint: bytes, salt: bytes) -> bytes:
    return digest(salt + fingerprint)[:SYNC_MARK]


class IdTree:
    """The ids of one division in ascending order, and the fingerprint of every range.

    Fingerprints of ranges that are split are kept once they were asked for; an id that comes or goes costs those it
    lies in, four for 100,000 ids. Ranges that are not split are hashed again: a microsecond."""

    __slots__ = ("_deepest", "_ids", "_kept")

    def __init__(self, ids: Iterable[bytes] = ()) -> None:
        self._ids = sorted(set(ids))
        self._kept: dict[str, bytes] = {}
        self._deepest = 0

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._ids)

    def __contains__(self, one: bytes) -> bool:
        place = bisect_left(self._ids, one)
        return place < len(self._ids) and self._ids[place] == one

    def add(self, one: bytes) -> None:
        place = bisect_left(self._ids, one)
        if place == len(self._ids) or self._ids[place] != one:
            self._ids.insert(place, one)
            self._forget(one)

    def remove(self, one: bytes) -> None:
        place = bisect_left(self._ids, one)
        if place == len(self._ids) or self._ids[place] != one:
            raise KeyError(one)
        del self._ids[place]
        self._forget(one)

    def count(self, digits: str) -> int:
        low, high = self._bounds(digits)
        return high - low

    def fingerprint(self, digits: str = "") -> bytes:
        return self._fingerprint(digits, *self._bounds(digits))

    def part(self, digits: str, salt: bytes, most: int) -> bytes | list[bytes]:
        """What is shown of an open range: its ids if there are at most so many, else the marks of its parts."""
        low, high = self._bounds(digits)
        if high - low <= most or len(digits) == SYNC_DIGITS:
            return self._ids[low : min(high, low + MAX_ITEMS)]
        return b"".join(mark_of(one, salt) for one in self._of_parts(digits, low, high))

    def parts(self, digits: str) -> list[bytes]:
        """The fingerprints of a range's sixteen parts."""
        return list(self._of_parts(digits, *self._bounds(digits)))

    def prepare(self, most: int) -> bool:
        """Compute at most so many fingerprints that are not kept. True when none is missing: then every question is
        answered at once."""
        return self._prepare("", 0, len(self._ids), most) >= 0

    def _prepare(self, digits: str, low: int, high: int, left: int) -> int:
        """How many more may be computed; below 0 if that was not enough."""
        if _is_few(high - low, digits) or digits in self._kept:
            return left
        for part, start, end in self._split(digits, low, high):
            left = self._prepare(part, start, end, left)
            if left < 0:
                return left
        if left:
            self._fingerprint(digits, low, high)
        return left - 1

    def _fingerprint(self, digits: str, low: int, high: int) -> bytes:
        if low == high:
            return EMPTY
        if _is_few(high - low, digits):
            return digest(b"\0" + b"".join(self._ids[low:high]))
        found = self._kept.get(digits)
        if found is None:
            found = self._kept[digits] = digest(b"\1" + b"".join(self._of_parts(digits, low, high)))
            self._deepest = max(self._deepest, len(digits))
        return found

    def _of_parts(self, digits: str, low: int, high: int) -> Iterator[bytes]:
        return (self._fingerprint(*part) for part in self._split(digits, low, high))

    def _split(self, digits: str, low: int, high: int) -> Iterator[tuple[str, int, int]]:
        for digit in DIGITS:
            part = digits + digit
            end = low if low == high else bisect_right(self._ids, _last(part), low, high)
            yield part, low, end
            low = end

    def _bounds(self, digits: str) -> tuple[int, int]:
        if not digits:
            return 0, len(self._ids)
        low = bisect_left(self._ids, bytes.fromhex(digits.ljust(SYNC_DIGITS, "0")))
        return low, bisect_right(self._ids, _last(digits), low)

    def _forget(self, one: bytes) -> None:
        digits = one.hex()
        for length in range(self._deepest + 1):
            self._kept.pop(digits[:length], None)


_REST: Final = b"\xff" * (ID_BYTES - SYNC_DIGITS // 2)


def _last(digits: str) -> bytes:
    """The greatest id that begins with these digits."""
    return bytes.fromhex(digits.ljust(SYNC_DIGITS, "f")) + _REST


def _is_few(count: int, digits: str) -> bool:
    return count <= SYNC_FEW or len(digits) == SYNC_DIGITS


# ---------------------------------------------------------------------------------------------------- questions

TreeOf = Callable[[str], IdTree]
"""The ids of a division, empty for one that is not carried."""


@dataclass(frozen=True, slots=True)
class Compare:
    """What are the marks of these ranges?"""

    salt: bytes
    ranges: Sequence[Range]

    def value(self) -> list[Value]:
        return ["compare", self.salt, [str(one) for one in self.ranges]]

    def answers(self, tree_of: TreeOf) -> Iterator[bytes]:
        for division, digits in self.ranges:
            yield mark_of(tree_of(division).fingerprint(digits), self.salt)

    def read(self, answer: list[Value]) -> list[bytes]:
        """The other's marks. Raises Refused."""
        marks = _said(answer, "marks", len(self.ranges))
        if len(marks) < len(self.ranges):
            raise Refused(Reason.REQUEST, "a mark is missing")
        return [_binary(one, SYNC_MARK) for one in marks]


@dataclass(frozen=True, slots=True)
class Open:
    """What is in these ranges? Up to `most` ids are listed, of larger ranges the marks of their parts are shown."""

    salt: bytes
    ranges: Sequence[Range]
    most: int

    def value(self) -> list[Value]:
        return ["open", self.salt, [str(one) for one in self.ranges], self.most]

    def answers(self, tree_of: TreeOf) -> Iterator[bytes | list[bytes]]:
        """As many parts, in order, as an answer may hold; at least one."""
        size = 0
        for number, (division, digits) in enumerate(self.ranges):
            part = tree_of(division).part(digits, self.salt, self.most)
            size += len(part) + 3 if isinstance(part, bytes) else 3 + len(part) * (ID_BYTES + 2)
            if number and size > SYNC_ANSWER:
                return
            yield part

    def read(self, answer: list[Value]) -> list[bytes | list[bytes]]:
        """The first parts; what did not fit is to be asked for again. Raises Refused."""
        parts = _said(answer, "parts", len(self.ranges))
        if not parts:
            raise Refused(Reason.REQUEST, "an answer without a part")
        return [self._read_part(one, part) for one, part in zip(self.ranges, parts, strict=False)]

    def _read_part(self, one: Range, part: Value) -> bytes | list[bytes]:
        is_last = len(one.digits) == SYNC_DIGITS
        if isinstance(part, bytes):
            if is_last:
                raise Refused(Reason.REQUEST, "a range that cannot be split was")
            return _binary(part, len(DIGITS) * SYNC_MARK)
        ids = [_binary(each, ID_BYTES) for each in _list(part)]
        if len(ids) > self.most and not is_last:
            raise Refused(Reason.REQUEST, "more ids than were asked for")
        if any(not each.hex().startswith(one.digits) for each in ids) or any(a >= b for a, b in pairwise(ids)):
            raise Refused(Reason.REQUEST, "ids of another range, or out of order")
        return ids


def read_question(question: list[Value]) -> Compare | Open | None:
    """A question as it came; None if it is none of these two. Raises Refused."""
    match question:
        case ["compare", salt, ranges]:
            return Compare(_binary(salt, SYNC_SALT), _ranges(ranges))
        case ["open", salt, ranges, int(most)] if type(most) is int and SYNC_FEW <= most <= MAX_ITEMS:
            return Open(_binary(salt, SYNC_SALT), _ranges(ranges), most)
        case ["compare" | "open", *_]:
            raise Refused(Reason.REQUEST, "a question of another form")
    return None


def _ranges(value: Value) -> list[Range]:
    found = []
    for text in _list(value):
        match = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise Refused(Reason.REQUEST, "not a range")
        found.append(Range(match[1], match[2]))
    if not found:
        raise Refused(Reason.REQUEST, "a question about nothing")
    return found


def _said(answer: list[Value], word: str, most: int) -> Sequence[Value]:
    if len(answer) != 2 or answer[0] != word:
        raise Refused(Reason.REQUEST, f"not an answer of {word}")
    found = _list(answer[1])
    if len(found) > most:
        raise Refused(Reason.REQUEST, "more was answered than asked")
    return found


def _list(value: Value) -> Sequence[Value]:
    if not isinstance(value, list):
        raise Refused(Reason.REQUEST, "a list was expected")
    return value


def _binary(value: Value, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise Refused(Reason.REQUEST, "bytes of another length were expected")
    return value


# --------------------------------------------------------------------------------------------------------- walk


class Walk:
    """An asker's way through another's ranges: what to ask next, and what of the answer is missing here.

    Ends after MAX_TURNS questions, whatever is answered. Our own ids may change meanwhile, and so may the other's.
    Ranges are opened in an order that chance makes, or who mints ids could choose which come last."""

    def __init__(self, tree_of: TreeOf, salt: bytes, chance: Random) -> None:
        self._tree_of = tree_of
        self._salt = salt
        self._nothing = mark_of(EMPTY, salt)
        self._chance = chance
        # Of ranges where we have nothing there is nothing to compare: they are listed, not split, as far as may be.
        self._waiting: dict[int, list[Range]] = {SYNC_FEW: [], MAX_ITEMS: []}
        self._turns = 0
        self._dropped = 0

    def begin(self, divisions: Collection[str]) -> Compare:
        return Compare(self._salt, [Range(division) for division in divisions])

    def compared(self, question: Compare, marks: list[bytes]) -> None:
        """The answer to `begin`."""
        for one, mark in zip(question.ranges, marks, strict=True):
            tree = self._tree_of(one.division)
            if self._differs(mark, tree.fingerprint(one.digits)):
                self._put([one], bare=not len(tree))

    def ask(self) -> Open | None:
        """The next question; None when there is none."""
        if self._turns == MAX_TURNS:
            return None
        for most, waiting in self._waiting.items():
            if waiting:
                self._turns += 1
                taken = waiting[-MAX_ITEMS:]
                del waiting[-MAX_ITEMS:]
                return Open(self._salt, taken, most)
        return None

    def opened(self, question: Open, parts: Sequence[bytes | list[bytes]]) -> Iterator[list[tuple[str, bytes]]]:
        """The answer to `ask`. For each part, the ids listed in it that we lack, with their division."""
        self._waiting[question.most] += question.ranges[len(parts) :]
        for one, part in zip(question.ranges, parts, strict=False):
            tree = self._tree_of(one.division)
            if isinstance(part, bytes):
                bare = not tree.count(one.digits)
                ours = [EMPTY] * len(DIGITS) if bare else tree.parts(one.digits)
                marks = (part[at : at + SYNC_MARK] for at in range(0, len(part), SYNC_MARK))
                looks = zip(one.parts, marks, ours, strict=True)
                self._put([each for each, mark, own in looks if self._differs(mark, own)], bare=bare)
                yield []
            else:
                yield [(one.division, each) for each in part if each not in tree]

    @property
    def left(self) -> int:
        """Ranges that differ and were not opened, when `ask` has nothing more to ask: something for another walk."""
        return self._dropped + sum(len(waiting) for waiting in self._waiting.values())

    def _differs(self, mark: bytes, fingerprint: bytes) -> bool:
        """Has the other something there, and something else than we?"""
        if mark == self._nothing:
            return False
        return fingerprint == EMPTY or mark != mark_of(fingerprint, self._salt)

    def _put(self, ranges: list[Range], *, bare: bool) -> None:
        self._chance.shuffle(ranges)
        waiting = self._waiting[MAX_ITEMS if bare else SYNC_FEW]
        waiting += ranges
        too_many = len(waiting) - MAX_WAITING
        if too_many > 0:
            del waiting[:too_many]
            self._dropped += too_many
