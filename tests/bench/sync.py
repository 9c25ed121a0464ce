"""What catch-up costs before the first frame is asked for: by comparing ranges, and by listing all ids.
`python -m tests.bench.sync [ids]`: one line of JSON.

Both sides' real code and real bytes, lengths included, without a network between. Ids are random: they are hashes. Of
those that differ the asker lacks half and the server the other half; who asks the other way round pays the same again.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from random import Random

from node import garbage
from node.catchup import PREPARED_IN_A_PIECE
from protocol import categories
from protocol.codec import Value, decode, encode
from protocol.envelope import digest
from protocol.framing import frame_with_length
from protocol.limits import MAX_ITEM
from protocol.reconcile import Compare, IdTree, Open, Walk, read_question

PAGE = 256
"""Ids in an answer that lists all: the codec's limit."""


@dataclass
class Cost:
    differing: int
    found: int = 0
    bytes: int = 0
    messages: int = 0
    asker_seconds: float = 0.0
    server_seconds: float = 0.0

    @contextmanager
    def asking(self) -> Iterator[None]:
        began = time.process_time()
        yield
        self.asker_seconds += time.process_time() - began

    @contextmanager
    def serving(self) -> Iterator[None]:
        began = time.process_time()
        yield
        self.server_seconds += time.process_time() - began

    def travels(self, value: list[Value]) -> bytes:
        data = encode(value)
        self.bytes += len(frame_with_length(data))
        self.messages += 1
        return data


class Sets:
    """Two nodes' ids, spread over divisions."""

    def __init__(self, count: int, differing: int, divisions: tuple[str, ...], seed: int = 1) -> None:
        chance = Random(seed)
        self.divisions = divisions
        ids = [(chance.choice(divisions), chance.randbytes(32)) for _ in range(count)]
        lacking = (differing + 1) // 2
        self.theirs, self.ours = ids[: count - differing + lacking], ids[lacking:]

    @staticmethod
    def trees(ids: list[tuple[str, bytes]], divisions: tuple[str, ...]) -> dict[str, IdTree]:
        by_division: dict[str, list[bytes]] = {division: [] for division in divisions}
        for division, one in ids:
            by_division[division].append(one)
        trees = {division: IdTree(some) for division, some in by_division.items()}
        for tree in trees.values():
            tree.fingerprint()  # a node's index is there before anybody asks: measured apart
        return trees


def by_ranges(sets: Sets, differing: int) -> Cost:
    cost = Cost(differing)
    ours, theirs = Sets.trees(sets.ours, sets.divisions), Sets.trees(sets.theirs, sets.divisions)
    walk = Walk(ours.__getitem__, Random(2).randbytes(16), Random(3))

    def ask(question: Compare | Open) -> list[Value]:
        with cost.asking():
            asked = cost.travels(question.value())
        with cost.serving():
            heard = decode(asked)
            assert isinstance(heard, list)
            understood = read_question(heard)
            assert understood is not None
            word = "marks" if isinstance(understood, Compare) else "parts"
            answered = cost.travels([word, list[Value](understood.answers(theirs.__getitem__))])
        with cost.asking():
            answer = decode(answered, MAX_ITEM)
        assert isinstance(answer, list)
        return answer

    comparison = walk.begin(sets.divisions)
    answer = ask(comparison)
    with cost.asking():
        walk.compared(comparison, comparison.read(answer))
    while (question := walk.ask()) is not None:
        answer = ask(question)
        with cost.asking():
            cost.found += sum(len(some) for some in walk.opened(question, question.read(answer)))
    return cost


def by_listing(sets: Sets, differing: int) -> Cost:
    """All ids in the order of BLAKE2b-256(salt || id), in pages: sorted once by the server."""
    cost, salt, after = Cost(differing), Random(2).randbytes(16), b""
    held = {one for _, one in sets.ours}
    with cost.serving():
        order = sorted((digest(salt + one), one) for _, one in sets.theirs)
    for start in range(0, max(1, len(order)), PAGE):
        page = order[start : start + PAGE]
        with cost.asking():
            cost.travels(["list", salt, list(sets.divisions), after, PAGE])
        with cost.serving():
            after = page[-1][0] if start + PAGE < len(order) else b""
            answered = cost.travels(["ids", [one for _, one in page], after])
        with cost.asking():
            answer = decode(answered, MAX_ITEM)
            assert isinstance(answer, list)
            cost.found += sum(one not in held for one in answer[1])  # type: ignore[union-attr]
    return cost


def index(count: int) -> dict[str, float]:
    """Making an index of a whole node in one tree, in the pieces a node makes it in; and one more id."""
    chance = Random(4)
    tree = IdTree(chance.randbytes(32) for _ in range(count))
    pieces, done = [], False
    while not done:
        began = time.process_time()
        done = tree.prepare(PREPARED_IN_A_PIECE)
        pieces.append(time.process_time() - began)
    more = [chance.randbytes(32) for _ in range(500)]
    began = time.process_time()
    for one in more:
        tree.add(one)
        tree.fingerprint()
    pieces.sort()
    return {
        "seconds": sum(pieces),
        "pieces": len(pieces),
        "piece_p99": pieces[len(pieces) * 99 // 100],
        "piece_longest": pieces[-1],
        "one_more": (time.process_time() - began) / len(more),
    }


def measure(count: int) -> dict[str, object]:
    garbage.settle()
    found: dict[str, object] = {"index": index(count)}
    for name, divisions in (("one", ("mobility",)), ("all", categories.DIVISIONS)):
        rows = []
        for differing in (0, 1, 10, 100, 1_000, 10_000):
            if differing > count:
                continue
            sets = Sets(count, differing, divisions)
            ranges, listing = by_ranges(sets, differing), by_listing(sets, differing)
            assert ranges.found == listing.found == (differing + 1) // 2
            rows.append({"ranges": asdict(ranges), "listing": asdict(listing)})
        found[name] = rows
    sets = Sets(count, 0, ("mobility",))
    sets.ours = []
    found["nothing held"] = {"ranges": asdict(by_ranges(sets, count)), "listing": asdict(by_listing(sets, count))}
    return found


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)))
