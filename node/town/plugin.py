"""Fixtures for pytest, with the distribution: somebody's bot meets real nodes, in ten lines.

    async def test_my_shop_answers(alice, vendor, virtual_time):
        await vendor(shop)                          # a node.vendor.Vendor, or the text of a catalogue
        wish = await alice.ask(title="A 4x4")
        (offer,) = await alice.wait_offers(wish, 1)
        contract = await alice.accept(offer)
        assert contract["state"] == "confirmed"

`mesh` more nodes, and faults; `alice`, `bob` two people; `vendor` a node that sells; `virtual_time` time that jumps:
days take as long as their work. Needs pytest-trio: `pip install '/path/to/intentcast[test]'` (a checkout: nothing is
published yet), and `trio_mode = true` or the mark `trio` on each test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

if TYPE_CHECKING:
    from trio.testing import MockClock

    from node.vendor import Vendor

    from .visitors import Mesh, Visitor

F = TypeVar("F", bound=Callable[..., Any])


def trio_fixture(function: F) -> F:
    """A fixture that may wait. Without pytest-trio nobody can, and who asks for it is told."""
    try:
        from pytest_trio import trio_fixture as made
    except ImportError:

        def missing() -> None:
            pytest.fail("intentcast's fixtures need pytest-trio: pip install '/path/to/intentcast[test]'")

        return cast(F, pytest.fixture(name=function.__name__)(missing))
    return cast(F, made(function))


@pytest.fixture
def virtual_time() -> MockClock:
    """Time that jumps to the next moment for which somebody waits. Without it a test lives in ours."""
    from trio.testing import MockClock

    return MockClock(autojump_threshold=0)


@trio_fixture
async def mesh() -> AsyncIterator[Mesh]:
    """A meeting point that holds mail. `await mesh(5)` adds five nodes that listen to everything; see Mesh."""
    from .visitors import open_mesh

    async with open_mesh() as opened:
        yield opened


@trio_fixture
async def alice(mesh: Mesh) -> Visitor:
    return await mesh.person("alice")


@trio_fixture
async def bob(mesh: Mesh) -> Visitor:
    return await mesh.person("bob")


@trio_fixture
async def vendor(mesh: Mesh) -> Callable[..., Awaitable[Visitor]]:
    """`await vendor(shop)`: a node that sells. `shop` is a `node.vendor.Vendor`, the text of a catalogue.toml, or
    nothing: the sample shop, a 4x4 at Lyon Airport for the wish that `alice.ask()` makes."""

    async def open_vendor(shop: Vendor | str | None = None, name: str | None = None, **settings: Any) -> Visitor:
        return await mesh.vendor(shop, name, **settings)

    return open_vendor
