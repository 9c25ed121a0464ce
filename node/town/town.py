"""A town of nodes in one process: what most stories about several nodes are told with.

    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        alice = await town.open("Alice")

Every node is the real one (node.app.run_node) over the memory network and a store in memory. Under a mock clock that
jumps, days pass in milliseconds. Every node lives in a task of its own, so each can be stopped, crashed and restarted.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from node.app import Node, run_node
from node.clock import SeededChance, VirtualClock
from node.desk import Desk
from node.network.memory import Conditions, MemoryWorld
from node.network.seam import Network
from node.store import Store, Tx, open_store
from node.trouble import Trouble
from node.vendor.catalogue import Catalogue
from protocol.keys import SigningKey

if TYPE_CHECKING:
    from trio_typing import TaskStatus

NET = "test"

NEW_YEAR = 1_800_000_000
"""The hour at which every town begins, unless it lives in our time: 15 January 2027, 08:00 UTC."""

T = TypeVar("T")

OpenNetwork = Callable[[str, str | None], AbstractAsyncContextManager[Network]]
"""(name, address or None for any) -> the network of that node."""


def seed_of(name: str) -> bytes:
    """The secret of a neighbour's key: the same in every town, so that stories read alike."""
    return hashlib.sha256(name.encode()).digest()


class TownClock(VirtualClock):
    """The town's one hour, give or take a node's skew. Also shown in the threads of a store in a file, where trio's
    time cannot be read."""

    def __init__(self, origin: float, skew: int, start: int = NEW_YEAR) -> None:
        super().__init__(start, skew)
        self._origin = origin
        self._last = self.moment()
        self._last_elapsed = self.elapsed()

    def moment(self) -> float:
        try:
            self._last = super().moment()
        except RuntimeError:
            pass
        return self._last

    def elapsed(self) -> float:
        try:
            self._last_elapsed = super().elapsed()
        except RuntimeError:
            pass
        return self._last_elapsed


class Killed(BaseException):
    """The power went."""


class FragileStore(Store):
    """A store whose process can be killed at any of its transactions: just before it, or just after it is durable.
    From then on nothing reaches it, whatever dying tasks still try."""

    def __init__(self, store: Store) -> None:
        super().__init__(store._engine, store.path, store.upgraded_from)
        self.count = 0
        self.die_before = self.die_after = 0
        """Number of the transaction at which it happens; 0: never."""
        self.dead = False
        self.on_death: Callable[[], None] = lambda: None

    async def _attempt(self, work: Callable[[], T]) -> T:
        if self.dead:
            raise Killed
        self.count += 1
        number = self.count
        if number == self.die_before:
            self.die()
        found = await super()._attempt(work)
        if number == self.die_after:
            self.die()
        return found

    async def peek(self, work: Callable[[Tx], T]) -> T:
        """For tests that look into a home: not counted, whoever lives."""
        return await super()._attempt(lambda: self._run(work))

    def die(self) -> None:
        self.dead = True
        self.on_death()
        raise Killed

    def revive(self) -> None:
        self.dead = False
        self.die_before = self.die_after = 0


@dataclass(eq=False)
class Neighbour:
    """One node of the town, over all its lives."""

    name: str
    town: "Town"
    store: FragileStore
    settings: dict[str, Any]
    clock: VirtualClock | None
    lives: int = 0
    node: Node = field(init=False)
    _scope: trio.CancelScope = field(init=False)
    _gone: trio.Event = field(init=False)
    _back: trio.Event = field(default_factory=trio.Event)
    _ready_in: int = 0
    """The life in which it was ready last."""

    @property
    def desk(self) -> Desk:
        return self.node.desk

    @property
    def address(self) -> str:
        return self.node.addresses[0]

    @property
    def peer_id(self) -> str:
        return self.node.peer_id

    @property
    def is_up(self) -> bool:
        return not self._gone.is_set()

    async def stop(self) -> None:
        """The node ends; its store stays."""
        self._scope.cancel()
        await self._gone.wait()

    async def wait_gone(self) -> None:
        await self._gone.wait()

    async def wait_back(self) -> None:
        """Until it lives, and is ready."""
        while not self.is_up or self._ready_in != self.lives:
            await self._back.wait()

    async def crash(self) -> None:
        """As kill -9: links break at once, nothing is said."""
        self.store.dead = True
        self._fall()
        await self._gone.wait()

    def _fall(self) -> None:
        if self.town.world is not None:
            self.town.world.crash(MemoryWorld.peer_id(seed_of(self.name)))
        self._scope.cancel()

    async def start(self, **changed: Any) -> "Neighbour":
        self.settings.update(changed)
        self.store.revive()
        self.store.on_death = self._fall
        self.lives += 1
        await self.town.nursery.start(self._live)
        return self

    async def _live(self, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        self._gone = trio.Event()
        settings = dict(self.settings)
        address, net = settings.pop("address", None), settings.pop("net", self.town.net)
        try:
            with trio.CancelScope() as self._scope:
                async with self.town.open_network(self.name, address) as network:
                    async with run_node(
                        network,
                        self.store,
                        transport_key=SigningKey(seed_of(self.name)),
                        vendor_key=SigningKey(seed_of(f"{self.name} sells")),
                        net=net,
                        clock=self.clock,
                        chance=self.town.chance_of(self),
                        **settings,
                    ) as self.node:
                        async with self.town.beside(self):
                            task_status.started()
                            self._ready_in = self.lives
                            self._back.set()
                            self._back = trio.Event()
                            await trio.sleep_forever()
        except* Killed:
            pass
        finally:
            self._gone.set()


@dataclass(eq=False)
class Town:
    nursery: trio.Nursery
    stack: AsyncExitStack
    world: MemoryWorld | None
    """None: the town is on libp2p, in real time, and nothing in it is drawn from the seed."""
    open_network: OpenNetwork
    seed: int = 1
    net: str = NET
    start: int = NEW_YEAR
    beside: Callable[[Neighbour], AbstractAsyncContextManager[Any]] = field(default=lambda _new: nullcontext())
    """What lives beside each node, and ends with it: its API, in a town that people visit."""
    neighbours: dict[str, Neighbour] = field(default_factory=dict)
    origin: float = field(default_factory=trio.current_time)
    over: trio.Event = field(default_factory=trio.Event)
    """Set by a story when its troubles end."""

    async def open(
        self,
        name: str,
        *,
        join: tuple["Neighbour", ...] | None = None,
        meeting: bool = False,
        catalogue: Catalogue | None = None,
        skew: int = 0,
        path: Path | None = None,
        before_start: Callable[[Neighbour], None] = lambda _new: None,
        **settings: Any,
    ) -> Neighbour:
        """A new node, linked to the town's first one unless `join` says otherwise."""
        if join is None:
            join = tuple(self.neighbours.values())[:1]
        store = FragileStore(await self.stack.enter_async_context(open_store(path)))
        settings.update(join=tuple(other.address for other in join), meeting=meeting, catalogue=catalogue)
        clock = TownClock(self.origin, skew, self.start) if self.world is not None else None
        neighbour = Neighbour(name, self, store, settings, clock)
        self.neighbours[name] = neighbour
        before_start(neighbour)
        await neighbour.start()
        for other in join:
            await wait_until(neighbour, lambda node, peer=other.peer_id: _linked(node, peer))  # type: ignore[misc]
        return neighbour

    def chance_of(self, neighbour: Neighbour) -> SeededChance | None:
        """Its own in each of its lives: who draws when depends on nobody else. None: the system's."""
        return SeededChance(f"{self.seed} {neighbour.name} {neighbour.lives}") if self.world is not None else None


def let_pass(town: Town, seconds: int) -> None:
    """Everybody's machine sleeps so long: the hour on the wall moves on, and nothing else. Days in no time at all."""
    for neighbour in town.neighbours.values():
        assert neighbour.clock is not None
        neighbour.clock.asleep += seconds


def _linked(node: Node, peer: str) -> bool:
    return any(link.peer == peer for link in node.network.links())


@asynccontextmanager
async def open_town(seed: int = 1, conditions: Conditions | None = None, **more: Any) -> AsyncIterator[Town]:
    """A town on the memory network, in virtual time if the test's clock is one that jumps."""
    world = MemoryWorld(seed, conditions)

    def open_network(name: str, address: str | None) -> AbstractAsyncContextManager[Network]:
        return world.open_network(seed_of(name), address=address)

    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        yield Town(nursery, stack, world, open_network, seed, **more)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_real_town(**more: Any) -> AsyncIterator[Town]:
    """A town on libp2p over loopback, in real time."""
    from node.network.libp2p import open_libp2p_network

    @asynccontextmanager
    async def open_network(name: str, address: str | None) -> AsyncIterator[Network]:
        listen = [address or "/ip4/127.0.0.1/tcp/0"]
        async with open_libp2p_network(seed=seed_of(name), listen=listen) as network:
            yield network

    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        yield Town(nursery, stack, None, open_network, **more)
        nursery.cancel_scope.cancel()


async def wait_until(
    neighbour: Neighbour, condition: Callable[[Node], bool | Awaitable[bool]], seconds: float = 30.0
) -> None:
    """Until a condition over a node holds: looked at again and again, ever less often."""
    pause = 0.02
    with trio.fail_after(seconds):
        while True:
            try:
                found = condition(neighbour.node)
                if found if isinstance(found, bool) else await found:
                    return
            except Killed:
                pass  # whoever keeps it running starts it again
            await trio.sleep(pause)
            pause = min(1.3 * pause, seconds / 100)


async def wait_heard(neighbour: Neighbour, intent: str, seconds: float = 30.0) -> None:
    """Until a node has this wish on its board, open."""

    async def heard(_node: Node) -> bool:
        return any(view["id"] == intent and view["state"] == "open" for view in await neighbour.desk.heard())

    await wait_until(neighbour, heard, seconds)


async def wait_over(neighbour: Neighbour, intent: str, seconds: float = 30.0) -> None:
    """Until a node has heard the end of a wish."""
    root = bytes.fromhex(intent)
    await wait_until(
        neighbour,
        lambda node: any(posting.message.root == root and not posting.is_open for posting in node.board),
        seconds,
    )


async def wait_settled(neighbour: Neighbour, seconds: float = 30.0) -> None:
    """Until nothing of a node's waits for an acknowledgement."""
    await wait_until(neighbour, lambda node: node.delivery.unsettled == 0, seconds)


async def wait_state(neighbour: Neighbour, id_text: str, state: str, seconds: float = 30.0) -> dict[str, Any]:
    """Until a wish, offer or contract of this node has this state."""
    view: dict[str, Any] = {}

    async def reached(_node: Node) -> bool:
        nonlocal view
        try:
            found = await neighbour.desk.show(id_text)
        except Trouble:
            return False  # not here yet
        view = found[found["kind"]]
        return bool(view["state"] == state)

    try:
        await wait_until(neighbour, reached, seconds)
    except trio.TooSlowError:
        raise AssertionError(f"{neighbour.name} has {view.get('state')!r}, not {state!r}") from None
    return view


async def wait_offers(person: Neighbour, intent: str, count: int, seconds: float = 30.0) -> dict[str, Any]:
    """Until a wish has so many offers, hidden ones included."""
    found: dict[str, Any] = {}

    async def enough(_node: Node) -> bool:
        nonlocal found
        found = await person.desk.offers_for(intent, include_hidden=True)
        return len(found["offers"]) >= count

    await wait_until(person, enough, seconds)
    return found
