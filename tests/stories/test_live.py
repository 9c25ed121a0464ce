"""The same stories over libp2p on loopback, in real time."""

from typing import Any

import pytest
import trio

from tests.driver import (
    SKIING,
    car_hire,
    open_real_town,
    wait_heard,
    wait_offers,
    wait_over,
    wait_settled,
    wait_state,
    wait_until,
)

pytestmark = pytest.mark.live


async def test_a_car_over_real_sockets() -> None:
    """From a wish to a contract; Bob comes after the wish and crashes between offer and accept, and comes back at
    another port."""
    with trio.fail_after(40):
        async with open_real_town() as town:
            await town.open("Market", meeting=True)
            alice = await town.open("Alice")
            asked = await alice.desk.ask(SKIING, 10)
            assert asked["reached"] == 1
            intent = asked["intent"]["id"]
            bob = await town.open("Bob", catalogue=car_hire())
            (offer,) = (await wait_offers(alice, intent, 1))["offers"]
            await bob.crash()
            await alice.desk.accept(offer["id"], "alice@example.org", None, [], 0)
            before = bob.node.addresses
            await bob.start()
            assert bob.node.addresses != before
            contract = (await wait_state(alice, offer["id"], "confirmed"))["contract"]
            await wait_state(bob, contract, "confirmed")
            await wait_settled(bob)
            await wait_over(bob, intent)


async def test_eight_nodes_and_a_hundred_wishes() -> None:
    """Every node hears every wish of the divisions it carries, each exactly once."""
    with trio.fail_after(60):
        async with open_real_town() as town:
            await town.open("Market", meeting=True)
            for number in range(7):
                await town.open(f"Node {number}", divisions=("mobility",) if number % 2 else ("mobility", "home"))
            people = list(town.neighbours.values())
            asked: dict[str, set[str]] = {"mobility": set(), "home": set()}
            for number in range(100):
                category, action = ("home", "hire") if number % 5 == 0 else ("mobility.car", "rent")
                wish: dict[str, Any] = {"action": action, "category": category, "title": f"Wish {number}"}
                made = await people[number % 8].desk.ask(wish, 10)
                assert made["reached"] > 0
                asked[category.partition(".")[0]].add(made["intent"]["id"])
            for node in people:
                own = {wish.root.hex() for wish in node.node.requester.wishes()}
                due = set().union(*(asked[d] for d in node.node.gossip.divisions if d in asked)) | own
                await wait_until(node, lambda n, due=due: {p.message.root.hex() for p in n.board} == due, 30)

                async def told(_node: object, node: Any = node, due: Any = due - own) -> bool:
                    events = await node.store.peek(lambda tx: tx.events_after(0))
                    heard = [event["intent"] for event in events if event["type"] == "wish.heard"]
                    return sorted(heard) == sorted(due)

                await wait_until(node, told, 30)


async def test_alone_at_first() -> None:
    """A wish asked alone goes out with the first peer."""
    with trio.fail_after(30):
        async with open_real_town() as town:
            alice = await town.open("Alice")
            asked = await alice.desk.ask(SKIING, 0.1)
            assert asked["reached"] == 0
            bob = await town.open("Bob", join=(alice,), divisions=("mobility",))
            await wait_heard(bob, asked["intent"]["id"])
