"""sync.json: fingerprints of ranges, and what is answered to every question of catch-up."""

from random import Random
from typing import Any

from protocol.codec import Value, encode
from protocol.reconcile import Compare, IdTree, Open, Range, Walk, mark_of
from tests.protocol.people import derived

HERE = "mobility"
SALT = derived("asker", 16)


def _ids(count: int) -> list[bytes]:
    return [derived(f"id {number}") for number in range(count)]


def _alike(count: int, digits: str) -> list[bytes]:
    """As somebody mines them, who wants them to lie together."""
    start = bytes.fromhex(digits)
    return [start + derived(f"id {number}", 32 - len(start)) for number in range(count)]


SETS: dict[str, list[bytes]] = {
    "nothing": [],
    "one": _ids(1),
    "eight, which are few": _ids(8),
    "nine, which are split": _ids(9),
    "a hundred": _ids(100),
    "twelve that share five digits and more": [*_ids(20), *_alike(12, "3fa0b0")],
    "twelve that share sixteen digits": [*_ids(5), *_alike(12, "3fa0b1c2d3e4f506")],
}
EXAMPLE = _ids(11), _ids(12)
"""What Alice has, and Bob: the worked example of the book."""

ASKED = ("", "3", "3f", "3fa0b", "3fa0b1c2d3e4f506")

MALFORMED: dict[str, list[Value]] = {
    "no ranges": ["compare", SALT, []],
    "a salt of 15 bytes": ["compare", SALT[:15], ["mobility/"]],
    "no stroke": ["compare", SALT, ["mobility"]],
    "a capital digit": ["compare", SALT, ["mobility/3F"]],
    "seventeen digits": ["compare", SALT, ["mobility/" + 17 * "0"]],
    "a category": ["compare", SALT, ["mobility.car/"]],
    "one thing more": ["compare", SALT, ["mobility/"], 8],
    "no most": ["open", SALT, ["mobility/"]],
    "a most of 7": ["open", SALT, ["mobility/"], 7],
    "a most of 257": ["open", SALT, ["mobility/"], 257],
    "a most that is no number": ["open", SALT, ["mobility/"], True],
    "another word": ["list", SALT, ["mobility/"]],
}


def _fingerprints() -> list[dict[str, Any]]:
    rows = []
    for name, ids in SETS.items():
        tree = IdTree(ids)
        found = [
            {
                "digits": digits,
                "count": tree.count(digits),
                "fingerprint": tree.fingerprint(digits).hex(),
                "mark": mark_of(tree.fingerprint(digits), SALT).hex(),
            }
            for digits in ASKED
        ]
        rows.append({"name": name, "salt": SALT.hex(), "ids": [one.hex() for one in ids], "ranges": found})
    return rows


def answer(question: Compare | Open, tree: IdTree) -> list[Value]:
    parts = list[Value](question.answers(lambda division: tree if division == HERE else IdTree()))
    return ["marks" if isinstance(question, Compare) else "parts", parts]


def talk(hers: list[bytes], his: list[bytes]) -> list[tuple[Compare | Open, list[Value], list[bytes]]]:
    """Alice asks Bob until she knows what she lacks: question, answer, what she learns from it."""
    mine, other = IdTree(hers), IdTree(his)
    walk = Walk(lambda division: mine if division == HERE else IdTree(), SALT, Random(1))
    comparison = walk.begin([HERE])
    answered = answer(comparison, other)
    turns: list[tuple[Compare | Open, list[Value], list[bytes]]] = [(comparison, answered, [])]
    walk.compared(comparison, comparison.read(answered))
    while (question := walk.ask()) is not None:
        answered = answer(question, other)
        learned = [id for some in walk.opened(question, question.read(answered)) for _, id in some]
        turns.append((question, answered, learned))
    return turns


def _answers() -> list[dict[str, Any]]:
    questions = {
        "marks of a division and of one that nobody carries": Compare(SALT, [Range(HERE), Range("home")]),
        "marks of ranges": Compare(SALT, [Range(HERE, digits) for digits in ASKED]),
        "a division opened": Open(SALT, [Range(HERE)], 8),
        "a division opened, all of it listed": Open(SALT, [Range(HERE)], 256),
        "ranges opened": Open(SALT, [Range(HERE, digits) for digits in (*ASKED, "3fa0b0", "0")], 8),
        "a division that nobody carries opened": Open(SALT, [Range("home")], 8),
    }
    held = ("nothing", "a hundred", "twelve that share five digits and more", "twelve that share sixteen digits")
    return [
        {
            "name": which,
            "held": [one.hex() for one in SETS[which]],
            "turns": [
                {
                    "name": name,
                    "question": encode(question.value()).hex(),
                    "answer": encode(answer(question, IdTree(SETS[which]))).hex(),
                }
                for name, question in questions.items()
            ],
        }
        for which in held
    ]


def _talks() -> list[dict[str, Any]]:
    pool = _ids(100)
    cases = {
        "equal": (pool, pool),
        "the other has nothing": (pool, []),
        "everything is missing": ([], pool),
        "three are missing": (pool[3:], pool),
        "each has what the other lacks": (pool[:60], pool[40:]),
    }
    return [
        {
            "name": name,
            "division": HERE,
            "salt": SALT.hex(),
            "held": [one.hex() for one in hers],
            "held_by_other": [one.hex() for one in his],
            "missing": sorted(id.hex() for _, _, learned in talk(hers, his) for id in learned),
        }
        for name, (hers, his) in cases.items()
    ]


def build() -> dict[str, Any]:
    return {
        "about": "Catch-up. All values are hex; questions and answers are canonical values, without their length.",
        "fingerprints": _fingerprints(),
        "answers": _answers(),
        "talks": _talks(),
        "refused_questions": [
            {"name": name, "question": encode(question).hex()} for name, question in MALFORMED.items()
        ],
    }
