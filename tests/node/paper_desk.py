"""A desk of paper: it keeps wishes and offers in lists, and lets a test decide what others do.

It stands behind the real API, so that commands and routes are tested without a network.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import trio

from node.config import Config
from node.trouble import Exit, Trouble, not_found, usage

PEER_ID = "12D3KooWPaper"


class PaperDesk:
    """One node's desk. `answers` are the offers that arrive as soon as a wish is asked."""

    def __init__(self) -> None:
        self.own: dict[str, dict[str, Any]] = {}
        self.offers: dict[str, dict[str, Any]] = {}
        self.answers: list[dict[str, Any]] = []
        self.reached = 2
        self.confirms = "confirmed"
        self.accept_view: dict[str, Any] = {}
        """What the contract of an accept shows beside."""
        self.previewed: list[Mapping[str, Any]] = []
        self.asked: list[Mapping[str, Any]] = []
        self.accepted: list[Mapping[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.changed = trio.Event()
        self.watchers = 0
        self.watched = trio.Event()

    def tell(self, type: str, **facts: Any) -> None:
        self.told.append({"id": len(self.told) + 1, "type": type, "at": 1_800_000_000, **facts})
        self.changed.set()
        self.changed = trio.Event()

    async def preview(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        self.previewed.append(wish)
        if wish.get("category") == "mobility.cra":
            raise usage("unknown_category", "there is no category mobility.cra", "Did you mean mobility.car?")
        public = {key: value for key, value in wish.items() if key != "limit_private"}
        return {"public": public, "stays_here": {"limit": wish.get("limit_private")}, "intent": {}}

    async def ask(self, wish: Mapping[str, Any], reach_wait: float) -> dict[str, Any]:
        self.asked.append(wish)
        intent = {"id": f"{len(self.asked):064x}", "state": "open", "exp": 1_800_604_800}
        intent |= {key: wish.get(key) for key in ("action", "category", "title", "max_offers")}
        self.own[intent["id"]] = intent
        self.tell("wish.asked", intent=intent["id"])
        for answer in self.answers:
            self.arrive(intent["id"], **answer)
        return {"intent": intent, "reached": self.reached, "hidden": 0, "offers": []}

    def arrive(self, intent_id: str, minor: int = 24_000, name: str = "Alpine Cars", **more: Any) -> dict[str, Any]:
        offer = {
            "id": f"{len(self.offers) + 0xA0:064x}",
            "intent": intent_id,
            "vendor": {"key": "did:key:z6MkVendor", "name": name},
            "total": {"minor": minor, "currency": "EUR"},
            "meets": ["drive"],
            "deviates": [{"name": "gps", "offered": None}],
            "state": "offered",
            **more,
        }
        self.offers[offer["id"]] = offer
        self.tell("offer.received", intent=intent_id, offer=offer["id"])
        return offer

    async def wishes(self) -> list[dict[str, Any]]:
        return list(self.own.values())

    async def heard(self) -> list[dict[str, Any]]:
        return [{"id": "b" * 64, "state": "open", "action": "rent", "category": "mobility.car", "title": "4x4"}]

    async def offers_for(self, intent_id: str, include_hidden: bool = False) -> dict[str, Any]:
        intent = self._one(self.own, intent_id, "wish")
        mine = [offer for offer in self.offers.values() if offer["intent"] == intent["id"]]
        shown = [offer for offer in mine if include_hidden or offer["state"] != "over_limit"]
        return {"intent": intent, "hidden": len(mine) - len(shown), "offers": shown}

    async def offers_made(self) -> list[dict[str, Any]]:
        return [offer for offer in self.offers.values() if offer["intent"] not in self.own]

    async def show(self, id_text: str) -> dict[str, Any]:
        return {"kind": "offer", "offer": self._one(self.offers, id_text, "offer")}

    async def make_offer(self, intent_id: str, offer: Mapping[str, Any]) -> dict[str, Any]:
        made = self.arrive(intent_id, **{"said": dict(offer), "state": "offered"})
        return {"offer": {**made, "total": offer["total"]}}

    async def decide(
        self, contract_id: str, confirm: bool, reason: str | None, note: str | None, reference: str | None
    ) -> dict[str, Any]:
        return {"contract": {"id": contract_id, "state": "confirmed" if confirm else "rejected"}}

    async def accept(
        self,
        offer_id: str,
        contact: str,
        note: str | None,
        options: list[str],
        wait: float,
        tell_others: str | None = None,
        answer_within: int = 3600,
    ) -> dict[str, Any]:
        offer = self._one(self.offers, offer_id, "offer")
        self.accepted.append({"contact": contact, "note": note, "options": options, "wait": wait})
        contract = {"id": "c" * 64, "state": self.confirms, "intent": offer["intent"], "offer": offer["id"]}
        contract |= {"requester": "did:key:zA", "vendor": "did:key:zB", "vendor_contact": "+33"}
        return {"contract": {**contract, **self.accept_view}}

    async def decline(self, offer_id: str, reason: str | None) -> dict[str, Any]:
        offer = self._one(self.offers, offer_id, "offer")
        offer["state"] = "declined"
        return {"offer": offer}

    async def withdraw(self, id_text: str, reason: str | None = None) -> dict[str, Any]:
        intent = self._one(self.own, id_text, "wish")
        intent["state"] = "withdrawn"
        return {"intent": intent}

    async def trace(self, id_text: str) -> dict[str, Any]:
        return {"intent": id_text, "steps": []}

    async def status(self) -> dict[str, Any]:
        return {"peer_id": PEER_ID, "net": "test", "wishes": len(self.own), "threads": 1, "outbox": 0}

    async def peers(self) -> list[dict[str, Any]]:
        raise ZeroDivisionError("a bug in the desk")

    async def invite(self) -> dict[str, Any]:
        return {"address": f"/ip4/127.0.0.1/tcp/20123/p2p/{PEER_ID}", "text": "Join me"}

    async def events(self, since: int) -> AsyncIterator[dict[str, Any]]:
        self.watchers += 1
        self.watched.set()
        try:
            position = len(self.told) if since < 0 else since
            while True:
                changed = self.changed
                for event in self.told[position:]:
                    position = event["id"]
                    yield event
                await changed.wait()
        finally:
            self.watchers -= 1

    @staticmethod
    def _one(table: Mapping[str, dict[str, Any]], start: str, what: str) -> dict[str, Any]:
        found = [value for key, value in table.items() if key.startswith(start)]
        if len(found) != 1:
            raise not_found(f"there is no {what} {start}", "Look with: intentcast status")
        return found[0]


@asynccontextmanager
async def open_node(config: Config) -> AsyncIterator[Any]:
    """In place of node.app.open_node: a node without a network."""
    if config.listen == ("/ip4/127.0.0.1/tcp/1",):
        async with trio.open_nursery():  # as the real one does: what goes wrong comes wrapped
            raise Trouble("port_in_use", "/ip4/127.0.0.1/tcp/1 is in use", "Choose another --listen.", Exit.FAILURE)
    yield SimpleNamespace(desk=PaperDesk(), peer_id=PEER_ID, addresses=[f"/ip4/127.0.0.1/tcp/20123/p2p/{PEER_ID}"])


def main() -> None:
    """`python -m tests.node.paper_desk up ...`: the real command line around a paper node, in a process of its own."""
    import sys

    sys.modules["node.app"] = SimpleNamespace(open_node=open_node)  # type: ignore[assignment]
    from node.cli import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
