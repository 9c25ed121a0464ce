"""Catch-up: thousands of wishes, fetched once; and liars cost themselves only."""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.catchup import ASKED_SECONDS, MAX_FRUITLESS, MAX_REJECTED, PROTOCOL
from node.conversation import Conversation
from node.network.seam import Network, Stream, StreamError
from protocol.codec import Value
from protocol.envelope import read_frame
from protocol.gossip import PROTOCOLS, Params
from protocol.intent import Intent
from protocol.keys import BoxKey, SigningKey
from protocol.limits import SYNC_GET
from protocol.message import Draft, speak
from protocol.reconcile import Compare, IdTree, read_question
from tests.driver import NET, Neighbour, open_town, seed_of, wait_until


def wish(number: int, at: int, note: str = "") -> bytes:
    key = SigningKey(seed_of(f"author {number}"))
    body = Intent("rent", "mobility.car", f"Wish {number}", BoxKey(seed_of("box")).public, note=note or None)
    return speak(Draft("intent", body, NET, at, at + 9000, 0, bytes(16)), key).frame


def hang(neighbour: Neighbour, frames: list[bytes]) -> None:
    for frame in frames:
        assert neighbour.node.gossip.hear("mobility", frame).accepted


@pytest.mark.parametrize(("count", "note"), [(700, ""), (200, "x" * 1000)])
async def test_pages(count: int, note: str, clock: MockClock) -> None:
    """More wishes than fit in a page of ids, and more bytes than fit in an answer: all of them come."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        hang(market, [wish(number, market.clock.now(), note) for number in range(count)])
        bob = await town.open("Bob", divisions=("mobility",))
        await wait_until(bob, lambda node: len(node.board) == count, 60)
        await trio.sleep(5)
        assert len(await bob.store.peek(lambda tx: tx.posting_lives())) == count


async def no_wait(_word: str) -> None:
    pass


class Server:
    """Answers catch-up as it should, with these frames; `lies` may answer some questions instead. Counts what it is
    asked."""

    def __init__(
        self, frames: list[bytes], lies: dict[str, Callable[[list[Value]], list[Value]]] | None = None
    ) -> None:
        self.frames = {read_frame(frame).id: frame for frame in frames}
        self.tree = IdTree(self.frames)
        self.lies = lies or {}
        self.asked: Counter[str] = Counter()
        self.served: Counter[bytes] = Counter()
        self.before: Callable[[str], Awaitable[None]] = no_wait
        """What to wait for before a question of this word is answered."""

    async def answer(self, stream: Stream) -> None:
        conversation = Conversation(stream)
        while (question := await conversation.listen()) is not None:
            self.asked[str(question[0])] += 1
            await self.before(str(question[0]))
            lie = self.lies.get(str(question[0]))
            await conversation.say(*(lie(question) if lie is not None else self.honest(question)))

    def honest(self, question: list[Value]) -> list[Value]:
        asked = read_question(question)
        if asked is not None:
            word = "marks" if isinstance(asked, Compare) else "parts"
            return [word, list(asked.answers(lambda division: self.tree if division == "mobility" else IdTree()))]
        wanted: Any = question[1]
        self.served.update(wanted)
        return ["frames", [self.frames[one] for one in wanted]]


def listing(*ids: Any) -> dict[str, Callable[[list[Value]], list[Value]]]:
    """Something differs, and it is this."""
    return {"compare": differs, "open": lambda _question: ["parts", [list(ids)]]}


def differs(question: list[Value]) -> list[Value]:
    ranges: Any = question[2]
    return ["marks", [b"mallory!"] * len(ranges)]


def splits(question: list[Value]) -> list[Value]:
    ranges: Any = question[2]
    return ["parts", [b"mallory!" * 16 if len(one.partition("/")[2]) < 16 else [] for one in ranges]]


def frames(*some: Any) -> Callable[[list[Value]], list[Value]]:
    return lambda _question: ["frames", list(some)]


UNSERVED = sorted(bytes([n]) * 32 for n in range(256))


@pytest.mark.parametrize(
    "lies",
    [
        {"compare": differs, "open": splits},
        {"compare": differs, "open": lambda _question: ["parts", []]},
        {"compare": differs, "open": lambda _question: ["parts", [b"cut"]]},
        {"compare": lambda _question: ["marks", []]},
        {"compare": lambda _question: ["ids", [], b""]},
        {**listing(*UNSERVED[:8]), "get": frames()},
        {**listing(b"i" * 32), "get": frames(b"garbage")},
        {**listing(b"i" * 32), "get": frames(b"x" * 9000)},
        {**listing(b"i" * 32), "get": frames("text")},
        listing("no id"),
        listing(b"short"),
        listing(b"z" * 32, b"a" * 32),
    ],
    ids=[
        "endless", "no parts", "cut marks", "no marks", "another word", "unserved", "garbage", "long", "no frame",
        "text", "short", "disorder",
    ],
)  # fmt: skip
async def test_liars(
    lies: dict[str, Callable[[list[Value]], list[Value]]], clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever Mallory answers: it is bounded and counted, and what honest peers have still comes."""
    monkeypatch.setattr("protocol.reconcile.MAX_TURNS", 50)  # or the endless one takes long, with the same end
    liar = Server([], lies)
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        assert town.world is not None
        hang(market, [wish(1, market.clock.now())])
        async with town.world.open_network(seed_of("Mallory")) as mallory:
            mallory.serve(PROTOCOL, liar.answer)
            bob = await town.open("Bob", divisions=("mobility",))
            await mallory.dial(bob.address)
            await wait_until(bob, lambda node: len(node.board) == 1, 60)
            await trio.sleep(300)
            assert liar.asked["compare"] > 0
            assert liar.asked.total() <= 52
            assert len(bob.node.board) == 1
            assert bob.is_up


async def test_old_news_without_end_ends(clock: MockClock) -> None:
    """Mallory lists thousands of ids that she never serves: Bob asks for some, and leaves her for this round."""
    listed = sorted(seed_of(f"no wish {number}") for number in range(20_000))
    liar = Server([], {"get": frames()})
    liar.tree = IdTree(listed)
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        assert town.world is not None
        async with town.world.open_network(seed_of("Mallory")) as mallory:
            mallory.serve(PROTOCOL, liar.answer)
            await mallory.dial(bob.address)
            await wait_until(bob, lambda node: liar.asked["get"] == MAX_FRUITLESS, 60)
            await trio.sleep(500)
            assert liar.asked["get"] == MAX_FRUITLESS
            assert (await bob.desk.status())["counters"]["catchup"]["fruitless"] == 1


async def test_a_crowd_of_streams_does_not_keep_others_out(clock: MockClock) -> None:
    """Mallory opens a hundred streams and says nothing: the others are served."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        assert town.world is not None
        hang(market, [wish(1, market.clock.now())])
        async with town.world.open_network(seed_of("Mallory")) as mallory:
            await mallory.dial(market.address)
            for _ in range(100):
                with contextlib.suppress(StreamError):
                    await mallory.open_stream(market.peer_id, PROTOCOL)
            bob = await town.open("Bob", divisions=("mobility",))
            await wait_until(bob, lambda node: len(node.board) == 1, 5)


async def test_only_what_was_asked_for_is_taken(clock: MockClock) -> None:
    """Mallory lists one id and serves other frames, good ones even: nothing of it hangs at Bob's."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        assert bob.clock is not None
        assert town.world is not None
        one, other = (wish(number, bob.clock.now()) for number in (1, 2))
        for number, (listed, served) in enumerate([(b"i" * 32, [one]), (None, [other, one]), (None, [one, one])]):
            liar = Server([], {**listing(listed or read_frame(one).id), "get": frames(*served)})
            async with town.world.open_network(seed_of(f"Mallory {number}")) as mallory:
                mallory.serve(PROTOCOL, liar.answer)
                await mallory.dial(bob.address)
                await wait_until(bob, lambda _node, liar=liar: liar.asked["get"] > 0, 60)
                await trio.sleep(1)
        assert len(bob.node.board) == 0
        assert (await bob.desk.status())["counters"]["catchup"]["not_asked_for"] == 3


async def test_who_serves_forgeries_is_hung_up_on(clock: MockClock) -> None:
    """A spoilt signature is nothing an honest node has: after a few Bob ends the link, and what is good came."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        assert bob.clock is not None
        assert town.world is not None
        now = bob.clock.now()
        spoilt = [frame[:40] + bytes([frame[40] ^ 1]) + frame[41:] for frame in (wish(n, now) for n in range(20))]
        server = Server([wish(99, now), *spoilt])
        async with town.world.open_network(seed_of("Mallory")) as mallory:
            mallory.serve(PROTOCOL, server.answer)
            await gossip_with(mallory, bob)
            await wait_until(bob, lambda node: not node.network.links(), 60)
        counters = (await bob.desk.status())["counters"]["catchup"]
        assert counters["hung_up"] == 1
        assert counters["rejected"] >= MAX_REJECTED
        assert len(bob.node.board) == 1


async def gossip_with(network: Network, neighbour: Neighbour) -> None:
    """Mallory answers gossip streams, so that she is a peer like others, and says nothing."""

    async def listen(stream: Stream) -> None:
        while await stream.receive_some():
            pass

    for protocol in PROTOCOLS:
        network.serve(protocol, listen)
    await network.dial(neighbour.address)


async def test_catch_up_counts_against_the_share_of_the_link(clock: MockClock) -> None:
    """Bob's node judges ten frames a second: so many come by catch-up, no more, and none is lost."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        hang(market, [wish(number, market.clock.now()) for number in range(200)])
        began = trio.current_time()
        slow = Params(max_judged_per_second=10, judged_burst=1)
        bob = await town.open("Bob", divisions=("mobility",), params=slow)
        await wait_until(bob, lambda node: len(node.board) == 200, 120)
        assert 15 < trio.current_time() - began < 60


async def test_a_division_joined_later_is_caught_up_at_once(clock: MockClock) -> None:
    """Carol's node was linked for long when she first asks for a car: what others ask there comes in seconds."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        carol = await town.open("Carol")
        await trio.sleep(30)
        hang(market, [wish(1, market.clock.now())])
        carol.node.gossip.join("mobility")
        await wait_until(carol, lambda node: len(node.board) == 1, 5)


async def test_a_frame_comes_from_one_of_many(clock: MockClock) -> None:
    """Five peers hold the same 300 wishes. Bob asks each for as many as go into one question: every frame comes once,
    and the work is shared evenly."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        assert bob.clock is not None
        assert town.world is not None
        held = [wish(number, bob.clock.now()) for number in range(300)]
        everybody_is_asked = trio.Event()
        servers = [Server(held) for _ in range(5)]

        async def wait_for_others(word: str) -> None:
            """Nobody serves before all are asked, or who was linked first would serve all."""
            if all(server.asked["get"] for server in servers):
                everybody_is_asked.set()
            if word == "get":
                await everybody_is_asked.wait()

        async with contextlib.AsyncExitStack() as stack:
            for number, server in enumerate(servers):
                network = await stack.enter_async_context(town.world.open_network(seed_of(f"Peer {number}")))
                server.before = wait_for_others
                network.serve(PROTOCOL, server.answer)
                await gossip_with(network, bob)
            await wait_until(bob, lambda node: len(node.board) == 300, 60)
        served = sum((server.served for server in servers), Counter[bytes]())
        assert served.total() == 300
        assert max(server.served.total() for server in servers) <= SYNC_GET


async def test_who_is_asked_and_silent_delays_little(clock: MockClock) -> None:
    """Mallory lists what others have too and never answers for it: after some seconds Bob asks the others."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        assert bob.clock is not None
        assert town.world is not None
        held = [wish(number, bob.clock.now()) for number in range(20)]
        honest, liar = Server(held), Server(held)
        stuck = trio.Event()

        async def answer(stream: Stream) -> None:
            with contextlib.suppress(KeyError):
                await liar.answer(stream)
            stuck.set()
            await trio.sleep_forever()

        liar.lies["get"] = lambda _question: {}["silent"]
        async with (
            town.world.open_network(seed_of("Mallory")) as mallory,
            town.world.open_network(seed_of("Carol")) as carol,
        ):
            mallory.serve(PROTOCOL, answer)
            await gossip_with(mallory, bob)
            await stuck.wait()
            began = trio.current_time()
            carol.serve(PROTOCOL, honest.answer)
            await gossip_with(carol, bob)
            await wait_until(bob, lambda node: len(node.board) == 20, 60)
            assert trio.current_time() - began < ASKED_SECONDS + 2


async def test_a_link_that_breaks_costs_what_was_on_its_way(clock: MockClock) -> None:
    """Carol's link breaks at every fourth request for frames, until 600 wishes have come. What has come is not asked
    for again."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        assert bob.clock is not None
        assert town.world is not None
        world = town.world
        server = Server([wish(number, bob.clock.now()) for number in range(600)])

        def serve_or_break(question: list[Value]) -> list[Value]:
            if server.asked["get"] % 4 == 0:
                world.cut(carol.peer_id, bob.peer_id)
            return server.honest(question)

        server.lies["get"] = serve_or_break
        breaks = 0
        async with world.open_network(seed_of("Carol")) as carol:
            carol.serve(PROTOCOL, server.answer)
            while len(bob.node.board) < 600:
                await gossip_with(carol, bob)
                await wait_until(bob, lambda node: len(node.board) == 600 or not node.network.links(), 60)
                breaks += 1
        assert breaks >= 3
        assert server.served.total() <= 600 + breaks * SYNC_GET


async def test_full_boards_do_not_swap_all_they_have(clock: MockClock) -> None:
    """Bob's division is full of what Mallory brought, and she has as much again: a round brings a few frames of it.
    What Carol has comes, and pushes out Mallory's."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        assert bob.clock is not None
        assert town.world is not None
        bob.node.board.division_bytes = 400_000
        now = bob.clock.now()
        mallorys, carols = Server([wish(number, now) for number in range(600)]), Server([wish(1000, now)])
        async with (
            town.world.open_network(seed_of("Mallory")) as mallory,
            town.world.open_network(seed_of("Carol")) as carol,
        ):
            mallory.serve(PROTOCOL, mallorys.answer)
            carol.serve(PROTOCOL, carols.answer)
            await gossip_with(mallory, bob)
            await trio.sleep(400)
            full = len(bob.node.board)
            assert 150 < full < 250
            served = mallorys.served.total()
            assert served <= full + 2 * SYNC_GET
            await trio.sleep(600)
            assert 0 < mallorys.served.total() - served <= SYNC_GET
            await gossip_with(carol, bob)
            await wait_until(bob, lambda node: any(posting.via == carol.peer_id for posting in node.board), 60)
            await trio.sleep(1300)
            assert any(posting.via == carol.peer_id for posting in bob.node.board)
            assert (await bob.desk.status())["counters"]["catchup"]["no_room"] > 0


async def test_who_has_all_asks_one_question(clock: MockClock) -> None:
    """Two nodes with the same 500 wishes: every ten minutes one question, and nothing is opened."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        assert bob.clock is not None
        assert town.world is not None
        held = [wish(number, bob.clock.now()) for number in range(500)]
        hang(bob, held)
        server = Server(held)
        async with town.world.open_network(seed_of("Carol")) as carol:
            carol.serve(PROTOCOL, server.answer)
            await gossip_with(carol, bob)
            await trio.sleep(2000)
            assert server.asked.keys() == {"compare"}
            assert 3 <= server.asked["compare"] <= 5


async def test_an_asker_waits_its_turn(clock: MockClock) -> None:
    """Mallory asks for 256 ranges at once, over and over, on four streams: she is served some two questions a second.
    Bob, who comes then, has his answer as soon as ever."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        assert town.world is not None
        hang(market, [wish(number, market.clock.now()) for number in range(100)])
        served = 0

        async def hammer() -> None:
            nonlocal served
            conversation = Conversation(await mallory.open_stream(market.peer_id, PROTOCOL))
            ranges: list[Value] = [f"mobility/{number:02x}" for number in range(256)]
            while True:
                answer = await conversation.ask("open", bytes(16), ranges, 8)
                assert answer[0] == "parts"
                served += 1

        async with town.world.open_network(seed_of("Mallory")) as mallory, trio.open_nursery() as nursery:
            await mallory.dial(market.address)
            for _ in range(4):
                nursery.start_soon(hammer)
            await trio.sleep(60)
            assert 60 < served < 60 * 3
            bob = await town.open("Bob", divisions=("mobility",))
            await wait_until(bob, lambda node: len(node.board) == 100, 5)
            nursery.cancel_scope.cancel()


async def test_a_strange_question_ends_the_stream(clock: MockClock) -> None:
    """Another version's words, too much at once, or no question: reset, and counted."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert town.world is not None
        async with town.world.open_network(seed_of("Mallory")) as mallory:
            await mallory.dial(market.address)
            questions: list[list[Value]] = [
                ["list", bytes(16), ["mobility"], b"", 256],
                ["compare", bytes(15), ["mobility/"]],
                ["open", bytes(16), ["mobility/"], 1000],
                ["get", [bytes(32)] * 65],
                ["get", [bytes(31)]],
                ["get"],
            ]
            for question in questions:
                conversation = Conversation(await mallory.open_stream(market.peer_id, PROTOCOL))
                with pytest.raises(StreamError):
                    await conversation.ask(*question)
        assert (await market.desk.status())["counters"]["catchup"]["request"] == len(questions)
