"""What a node takes: to import, to start, and of memory. `python -m tests.bench.footprint [nodes]`: one line of JSON.

A process of its own, so that nothing is there already. Further nodes are whole ones, stores included, each linked to
four others.
"""

import json
import sys
import time

from .rss import resident_bytes

_LINKS = 4


def main() -> None:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    bare, begin = resident_bytes(), time.perf_counter()
    import node.app
    import node.network.libp2p  # noqa: F401

    imported, took = resident_bytes(), time.perf_counter() - begin
    import trio

    from node import garbage
    from tests.driver import open_real_town

    async def start() -> dict[str, float]:
        async with open_real_town() as town:
            begin = time.perf_counter()
            people = [await town.open("0")]
            started = time.perf_counter() - begin
            for number in range(1, _LINKS + 2):  # what the first links cost once is no node's own
                people.append(await town.open(str(number), join=tuple(people[-_LINKS:])))
            garbage.settle()
            first = resident_bytes()
            for number in range(len(people), len(people) + nodes):
                people.append(await town.open(str(number), join=tuple(people[-_LINKS:])))
            garbage.settle()
            return {"start_seconds": started, "bytes_per_node": (resident_bytes() - first) / nodes}

    figures = {"import_seconds": took, "import_bytes": imported - bare} | trio.run(start)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
