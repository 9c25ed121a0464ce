"""Fifty vendors with a thousand lines each hear one wish and answer it: whole nodes on the memory network, in one
process and on one core. `python -m tests.bench.vendors [wishes]`: one line of JSON.

The clock runs from the person's `ask` to each offer stored in the person's node. Where the time goes is measured with
the processor's clock around what does the work, in all 52 nodes together; what is left is gossip, streams and trio.
"""

import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import structlog
import trio
import trio.testing

from node import garbage
from node.delivery import delivery
from node.store import Store
from node.vendor import role
from node.vendor.catalogue import Catalogue, load_catalogue
from protocol.offer import Vendor
from tests.driver import Neighbour, open_town, wait_until

VENDORS, LINES = 50, 1_000

SHOP = """
name = "Bench"
contact = "x"
categories = ["media.**"]
currency = "EUR"
[[lists]]
file = "books.csv"
category = "media.book"
action = "buy"
per = "piece"
places = "anywhere"
"""


def price_list() -> Catalogue:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [f"B{n};Handbook of subject {n} for class {n % 10};{5 + n % 40}.50;9" for n in range(LINES)]
        (folder / "books.csv").write_text("SKU;Title;Price;Stock\n" + "\n".join(rows) + "\n")
        (folder / "catalogue.toml").write_text(SHOP)
        return load_catalogue(folder / "catalogue.toml")


class Meter:
    """Seconds of the processor's spent inside functions."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def around(self, owner: Any, name: str, called: str) -> None:
        plain: Callable[..., Any] = getattr(owner, name)

        @wraps(plain)
        def timed(*arguments: Any, **more: Any) -> Any:
            began = time.process_time()
            try:
                return plain(*arguments, **more)
            finally:
                self.seconds[called] += time.process_time() - began

        setattr(owner, name, timed)


async def measure(wishes: int) -> dict[str, Any]:
    """Per wish: seconds until each offer; and where the time went, in all."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    meter = Meter()
    meter.around(role, "quote", "choosing from the lists")
    meter.around(delivery, "write_letter", "signing and sealing")
    meter.around(delivery, "open_letter", "opening and checking")
    meter.around(Store, "_run", "stores (in memory)")
    catalogue = price_list()
    rounds = []
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        for number in range(VENDORS):
            shop = replace(catalogue, vendor=Vendor(f"Shop {number}"))
            await town.open(f"Shop {number}", catalogue=shop)
        await wait_until(market, lambda node: len(node.gossip.subscribers("media")) >= VENDORS)
        garbage.settle()
        await _one(alice, 0)  # the first wish makes everybody dial
        meter.seconds.clear()
        began = time.process_time()
        for number in range(1, wishes + 1):
            rounds.append(await _one(alice, number))
        whole = time.process_time() - began
    return {"rounds": rounds, "whole": whole, "where": dict(meter.seconds)}


async def _one(alice: Neighbour, number: int) -> list[float]:
    """Ask, and when each of the offers was stored."""
    times: list[float] = []

    async def watch(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        async for event in alice.desk.events(-1):
            if event["type"] == "offer.received":
                times.append(time.perf_counter() - begin)
                if len(times) == VENDORS:
                    return

    wish = {
        "action": "buy",
        "category": "media.book",
        "title": f"Handbook of subject {number * 7 % LINES}",
        "max_offers": VENDORS,
    }
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            begin = time.perf_counter()
            await nursery.start(watch)
            await trio.testing.wait_all_tasks_blocked(0.01)
            begin = time.perf_counter()
            asked = await alice.desk.ask(wish, 10)
    await alice.desk.withdraw(asked["intent"]["id"])
    return times


if __name__ == "__main__":
    print(json.dumps(trio.run(measure, int(sys.argv[1]) if len(sys.argv) > 1 else 20)))
