"""A price list of 100,000 lines: how long it takes to be read, what it weighs, and what one wish costs the node.
`python -m tests.bench.lists [lines]`: one line of JSON. Seconds are the processor's."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from node.vendor.catalogue import load_catalogue
from node.vendor.quote import quote
from node.vendor.shelf import all_left
from protocol.terms import Property
from tests.vendor.test_pricelist import TOML, isbn, long_list, wish

TIMES = 20
"""Each wish is asked so often; the middle one counts."""


def measure(lines: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long_list(folder / "books.csv", lines)
        (folder / "catalogue.toml").write_text(TOML.format(file="books.csv", more=""))
        before, began = resident(), time.process_time()
        shop = load_catalogue(folder / "catalogue.toml")
        read = time.process_time() - began
        weight = resident() - before
    (found,) = shop.lists
    wishes = {
        "a bar code": wish("It", Property("isbn", "eq", isbn(lines // 2), "must")),
        "the words of a line": wish(found.item("books:B7").title),  # type: ignore[union-attr]
        "words that stand everywhere": wish("word1 word2 word3"),
        "anything at all": wish("a book"),
    }
    costs = {}
    for what, intent in wishes.items():
        times = []
        for _ in range(TIMES):
            began = time.process_time()
            quote(shop, intent, wish_at=0, now=10, left=all_left)
            times.append(time.process_time() - began)
        costs[what] = sorted(times)[TIMES // 2]
    return {"lines": len(found), "read": read, "megabytes": weight / 2**20, "wishes": costs}


def resident() -> int:
    """Bytes of memory this process has now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)))
