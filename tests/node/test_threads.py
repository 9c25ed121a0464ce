"""Where an answer goes: the ways back named in the newest message, whatever comes when."""

from dataclasses import replace

from node.threads import LiveThread, make_end, new_thread
from protocol.exchange import Side
from protocol.message import Message
from protocol.terms import Route
from tests.protocol.people import ALICE, BOB, OFFER, WISH, offer, update, wish


def at(number: int) -> str:
    return f"/ip4/10.0.0.{number}/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def routes(*numbers: int) -> tuple[Route, ...]:
    return tuple(Route("direct", at(number)) for number in numbers)


FIRST = wish(body=replace(WISH, reply=routes(1, 2)))
SECOND = update(FIRST, body=replace(WISH, reply=routes(3)))
SILENT = update(FIRST, seq=2, body=replace(WISH, reply=()))


def learn(*messages: Message) -> LiveThread:
    end = make_end(BOB.key, BOB.box, FIRST.id, Side.VENDOR)
    live = new_thread(FIRST.id, ALICE.key.public, BOB.key.public, end)
    for message in messages:
        live.count(message)
        live.learn_route(message, None)
    return live


def test_the_routes_of_the_newest_message_win() -> None:
    """Whoever moved names where it lives now, and nobody calls at the old address again."""
    assert learn(FIRST).routes == (at(1), at(2))
    assert learn(FIRST, SECOND).routes == (at(3),)


def test_an_older_message_that_comes_late_changes_nothing() -> None:
    assert learn(SECOND, FIRST).routes == (at(3),)


def test_a_message_that_names_no_way_back_leaves_those_known() -> None:
    assert learn(FIRST, SECOND, SILENT).routes == (at(3),)


def test_after_a_restart_the_order_is_still_known() -> None:
    """A thread is learnt again from the store, message by message: an older one does not win."""
    live = learn(FIRST, SECOND)
    live.learn_route(FIRST, None)
    assert live.routes == (at(3),)


def test_so_it_is_for_offers() -> None:
    end = make_end(ALICE.key, ALICE.box, FIRST.id, Side.REQUESTER)
    live = new_thread(FIRST.id, ALICE.key.public, BOB.key.public, end)
    for seq, number in ((0, 1), (5, 2), (3, 3)):
        message = offer(FIRST, body=replace(OFFER, reply=routes(number)), seq=seq)
        live.count(message)
        live.learn_route(message, "peer")
    assert live.routes == (at(2),)
