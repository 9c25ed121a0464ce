"""Whom this node dials and how much it hears, by its own taste."""

import pytest

from node.policy import TRIES_PER_TARGET, TRIES_PER_WISH, DialBook, Shares, lives_in_public, may_be_dialled, target_of

PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def at(host: str, port: int = 4001, kind: str = "ip4") -> str:
    return f"/{kind}/{host}/tcp/{port}/p2p/{PEER}"


@pytest.mark.parametrize(
    ("address", "main", "test"),
    [
        (at("8.8.8.8"), True, True),
        (at("2a00:1450:4007::1", kind="ip6"), True, True),
        (at("192.168.1.1"), False, True),
        (at("10.0.0.1"), False, True),
        (at("127.0.0.1"), False, True),
        (at("169.254.1.1"), False, True),
        (at("fe80::1", kind="ip6"), False, True),
        (at("::1", kind="ip6"), False, True),
        (at("8.8.8.8", 0), False, False),
        (at("8.8.8.8", 70_000), False, False),
        (at("example.org", kind="dns4"), False, False),
        ("/ip4/8.8.8.8/tcp/4001", False, False),
        ("/ip4/8.8.8.8/udp/4001/p2p/" + PEER, False, False),
        ("", False, False),
    ],
)
def test_on_main_only_public_addresses_are_dialled(address: str, main: bool, test: bool) -> None:
    """A wish names where to answer; it must not aim anybody at a home network."""
    assert may_be_dialled(address, public=True) is main
    assert may_be_dialled(address, public=False) is test


def test_who_lives_in_public_keeps_to_public_addresses() -> None:
    """On main, unless this very node is on loopback alone: then there is nothing beside it to be aimed at."""
    assert lives_in_public("main", [at("8.8.8.8")])
    assert lives_in_public("main", [at("192.168.1.7")])
    assert lives_in_public("main", [])
    assert lives_in_public("main", [at("127.0.0.1"), at("192.168.1.7")])
    assert not lives_in_public("main", [at("127.0.0.1"), at("::1", kind="ip6")])
    assert not lives_in_public("test", [at("8.8.8.8")])


def test_one_wish_makes_us_dial_in_vain_three_times_an_hour() -> None:
    """Then it has to wait, and other wishes do not."""
    book = DialBook(public=False)
    for number in range(TRIES_PER_WISH):
        assert book.may_dial(b"wish", at("10.0.0.1", 1 + number), 0)
        book.failed(b"wish", at("10.0.0.1", 1 + number))
    assert not book.may_dial(b"wish", at("10.0.0.2"), 0)
    assert book.may_dial(b"other", at("10.0.0.2"), 0)
    assert book.may_dial(b"wish", at("10.0.0.2"), 3601)


def test_many_wishes_cannot_aim_us_at_one_target() -> None:
    """However many wishes name one host and port: ten dials in vain an hour, whatever peer ids they claim."""
    book = DialBook(public=False)
    dials = 0
    for number in range(1_000):
        if book.may_dial(number.to_bytes(2, "big"), at("10.0.0.1"), 0):
            book.failed(number.to_bytes(2, "big"), at("10.0.0.1"))
            dials += 1
    assert dials == TRIES_PER_TARGET
    assert not book.may_dial(None, at("10.0.0.1"), 0)
    assert book.may_dial(b"wish", at("10.0.0.1", 4002), 0)


def test_who_fills_the_book_does_not_wipe_his_own_target() -> None:
    """Fifty thousand other targets later, the most dialled ones are still remembered."""
    book = DialBook(public=False)
    for number in range(TRIES_PER_TARGET):
        book.failed(bytes([number]), at("10.0.0.1"))
    for number in range(50_100):
        book.failed(b"x", f"/ip4/10.1.{number >> 8}.{number & 255}/tcp/1/p2p/{PEER}")
    assert not book.may_dial(b"new", at("10.0.0.1"), 0)
    assert len(book.by_target) < 50_002


def test_success_is_forgiven() -> None:
    """Who was reached has a clean slate."""
    book = DialBook(public=False)
    for _ in range(TRIES_PER_WISH):
        book.failed(b"wish", at("10.0.0.1"))
    book.reached(b"wish", at("10.0.0.1"))
    assert book.may_dial(b"wish", at("10.0.0.1"), 0)
    assert target_of(at("10.0.0.1")) == "/ip4/10.0.0.1/tcp/4001"


def test_shares_refill_and_are_bounded() -> None:
    """A burst, then the rate; thousands of peers do not fill the memory."""
    shares = Shares(rate=2, burst=4, most_peers=10)
    assert [shares.take("a", 0) for _ in range(5)] == [True] * 4 + [False]
    assert [shares.take("a", 1) for _ in range(3)] == [True, True, False]
    for number in range(100):
        assert shares.take(str(number), 1)
    assert len(shares._levels) == 10


def test_what_was_done_already_is_paid_by_waiting() -> None:
    shares = Shares(rate=2, burst=4)
    assert shares.charge("a", 0, 4) == 0
    assert shares.charge("a", 0, 6) == 3
    assert shares.charge("a", 1, 0) == 2, "who asks again has not paid"
    assert shares.charge("b", 1, 1) == 0
    assert shares.charge("a", 3, 0) == 0
