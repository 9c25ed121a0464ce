"""The attacks of scripts/adversary in small, each with the goals of the long form."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from trio.testing import MockClock

from . import mesh_attacks, node_attacks, points, transport_attacks, wire_attacks
from .figures import Figure


def expect(figures: list[Figure]) -> None:
    missed = [figure.line() for figure in figures if not figure.reached]
    assert not missed, "\n".join(missed)
    assert any(figure.goal for figure in figures)


@pytest.mark.parametrize(
    ("attack", "size"),
    [
        (mesh_attacks.invalid_flood, (3, 200, 5)),
        (mesh_attacks.valid_flood, (400, 200, 20, 4)),
        (mesh_attacks.eclipse, (50, 1)),
        (mesh_attacks.bad_forwarders, (10,)),
        (mesh_attacks.honest_soak, (5, 3)),
        (node_attacks.memory, (1, 4, 300)),
        (node_attacks.replay, (100,)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_in_virtual_time(
    attack: Callable[..., Awaitable[list[Figure]]], size: tuple[Any, ...], clock: MockClock
) -> None:
    """Bad neighbours, floods, a crowd of sybils, replays; and a time in which nobody is bad, and nobody punished."""
    expect(await attack(*size))


async def test_vendor_bots_do_not_crowd_out_vendors(clock: MockClock) -> None:
    """Sixty bots of five subnets, with the best offers there can be, and a pool for thirty: ten honest vendors who come
    when it is full are in it."""
    expect(await node_attacks.offer_flood(60, 5, 20, max_offers=3))


@pytest.mark.parametrize("attack", [wire_attacks.spellings, wire_attacks.realms, wire_attacks.weak_keys])
def test_of_bytes(attack: Callable[[], list[Figure]]) -> None:
    """Other spellings of a wish, signatures in a wrong place, keys that are weak."""
    expect(attack())


def test_rpc_mutants() -> None:
    """Nothing is raised, and the next honest wish is believed."""
    expect(wire_attacks.rpc_mutants(1000, seed=5))


@pytest.mark.live
@pytest.mark.parametrize("addresses", [1, 12])
async def test_connections_that_want_nothing(addresses: int) -> None:
    """More handshakes than there is room for, from one address and from a dozen: Carol is let in."""
    expect(await transport_attacks.idle_and_slow(100, 20, addresses))


def test_borderline_signatures_are_what_they_seem() -> None:
    """The points they are made of: eight of small order, in all their spellings; a verifier that multiplies by the
    cofactor would take each; ours takes those alone whose key and R a careful library makes, or that could be."""
    small = points.torsion()
    assert len(set(small)) == 8
    assert all(points.times(8, point) == points.NEUTRAL for point in small)
    assert sum(len(points.spellings(point)) for point in small) == 14
    made = list(points.cases())
    assert all(case.is_cofactored for case in made[:: len(made) // 30])
    taken = [case.what for case in made if case.expected()]
    assert {what for what in taken if "small" in what} == set()
    assert "A mixed 0, R mixed 0" in taken
