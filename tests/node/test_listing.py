"""Listing a board: in the asker's order, sorted once, and never for more than a fifth of the time."""

import pytest
import trio
from trio.testing import MockClock

from node import listing
from node.listing import Listings
from protocol.board import Board
from protocol.intent import Intent
from protocol.keys import BoxKey, SigningKey
from protocol.message import Draft, speak
from tests.driver import seed_of
from tests.protocol.people import NET, NOW, derived

SALT = derived("asker", 16)


def full_board(count: int) -> Board:
    board = Board(NET)
    box = BoxKey(seed_of("box")).public
    for number in range(count):
        division = "mobility" if number % 3 else "home"
        key = SigningKey(seed_of(f"author {number}"))
        draft = Draft("intent", Intent("rent", division, "W", box), NET, NOW, NOW + 9000, 0, bytes(16))
        assert board.hear(speak(draft, key).frame, division, "peer", NOW).accepted
    return board


@pytest.mark.parametrize("most", [1, 7, 256])
@pytest.mark.parametrize("divisions", [{"mobility"}, {"home", "mobility", "elsewhere"}, set()], ids=len)
async def test_pages_are_those_of_the_board(most: int, divisions: set[str]) -> None:
    """The same ids and cursors as the plain definition gives, to the last page."""
    board, after = full_board(300), b""
    listings = Listings(board)
    order = await listings.order(SALT, divisions)
    while True:
        wanted = board.listing(divisions, SALT, after, most)
        ids, following = await listings.page(order, after, most)
        assert ids == [one for _, one in wanted]
        assert following == (wanted[-1][0] if len(wanted) == most else b"")
        if not following:
            return
        after = following


async def test_paging_does_not_sort_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of ten cost a few hashes for each id, however many pages there are."""
    board, hashes, digest = full_board(600), 0, listing.digest

    def counted(data: bytes) -> bytes:
        nonlocal hashes
        hashes += 1
        return digest(data)

    monkeypatch.setattr(listing, "digest", counted)
    listings, after, pages = Listings(board), b"", 0
    order = await listings.order(SALT, {"mobility"})
    while pages == 0 or after:
        _, after = await listings.page(order, after, 10)
        pages += 1
    assert pages == 41
    assert hashes < 4 * 400


async def test_listing_takes_a_fifth_of_the_time(clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten askers at once: whatever a piece of work costs, four times as long belongs to the rest of the node."""
    monkeypatch.setattr(listing, "CHUNK", 10)
    worked = 0.0

    def steady() -> float:
        nonlocal worked
        worked += 0.005  # each look at the clock: so every piece of work takes as long
        return trio.current_time() + worked

    listings = Listings(full_board(300), steady)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(listings.order, bytes([number]) * 16, {"mobility", "home"})
    pieces = 10 * 30
    assert trio.current_time() - began > 0.9 * pieces * 4 * 0.005 - worked / 3
