"""A mailbox and those it must not believe: who may fetch, what may be left, and what goes first when it is full."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.clock import SeededChance, VirtualClock
from node.conversation import Conversation
from node.mailbox import PROTOCOL, Inboxes, MailboxHost
from node.mailbox import host as host_module
from node.network.memory import MemoryWorld
from node.network.seam import Network, StreamError
from node.store import Store, open_store
from protocol.codec import Value
from protocol.envelope import Item, seal
from protocol.keys import BoxKey, SigningKey
from protocol.kinds import Body
from protocol.limits import MAX_LIFE
from protocol.mailbox import MailboxClaim, MailboxGrant, channel, stamp_base, stamp_bits
from protocol.message import Draft, speak

NET = "test"
ALICE = SigningKey(b"alice's wish key".ljust(32))
ALICE_BOX = BoxKey(b"alice's box".ljust(32))
MALLORY = SigningKey(b"mallory".ljust(32))
ROOM = 40_000


@dataclass
class Office:
    """A mailbox in memory, and somebody linked with it."""

    host: MailboxHost
    store: Store
    network: Network
    clock: VirtualClock
    visitor: Network

    @property
    def peer(self) -> str:
        return self.network.peer_id

    async def visit(self) -> Conversation:
        return Conversation(await self.visitor.open_stream(self.peer, PROTOCOL))

    def say(self, key: SigningKey, kind: str, body: Body, *, seq: int = 0, net: str = NET, life: int = 3600) -> bytes:
        now = self.clock.now()
        draft = Draft(kind, body, net, at=now, exp=now + life, seq=seq, salt=bytes(16), stamp=None)
        if kind == "mailbox.grant":
            draft = Draft(kind, body, net, at=now, exp=now + life, seq=seq, salt=bytes(16), stamp=bytes(8))
        return speak(draft, key).frame

    async def grant(self, key: SigningKey = ALICE, room: int = ROOM, **more: Any) -> None:
        visit = await self.visit()
        frame = self.say(key, "mailbox.grant", MailboxGrant(self.peer, room), **more)
        assert await visit.ask("grant", frame) == ["granted"]

    async def claim(self, key: SigningKey = ALICE) -> Conversation:
        visit = await self.visit()
        [_, challenge] = await visit.ask("challenge")
        assert isinstance(challenge, bytes)
        answer = await visit.ask("claim", self.say(key, "mailbox.claim", MailboxClaim(self.peer, challenge)))
        assert answer[0] == "claimed"
        return visit

    def item(self, number: int, size: int = 200, life: int = 3600, own: BoxKey | None = None) -> Item:
        own = own or BoxKey(number.to_bytes(4, "big").rjust(32, b"v"))
        nonce = number.to_bytes(24, "big")
        exp = self.clock.now() + life
        return seal(bytes(size), own, ALICE_BOX.public, own_is_box=False, n=0, exp=exp, nonce=nonce)

    async def put(self, visit: Conversation, item: Item, bits: int = 0, receiver: bytes = ALICE.public) -> list[Value]:
        """Leave an item with a stamp of exactly so many bits."""
        base = stamp_base(self.peer, receiver, item.digest)
        number = 0
        while stamp_bits(base, number.to_bytes(8, "big")) != bits:
            number += 1
        return await visit.ask("put", receiver, item.encoded(), number.to_bytes(8, "big"))


class DoubtfulClock(VirtualClock):
    """`ahead`: seconds of its hour that are not certain."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead

    def certain(self) -> int:
        return super().now()


@asynccontextmanager
async def open_office(clock: VirtualClock | None = None) -> AsyncIterator[Office]:
    world = MemoryWorld(1)
    clock = clock or VirtualClock()
    async with (
        open_store(None) as store,
        world.open_network(b"mailbox".ljust(32)) as network,
        world.open_network(b"visitor".ljust(32)) as visitor,
        trio.open_nursery() as nursery,
    ):
        host = MailboxHost(network, store, clock, SeededChance("mailbox"), NET)
        await nursery.start(host.run)
        await visitor.dial(network.addresses[0])
        yield Office(host, store, network, clock, visitor)
        nursery.cancel_scope.cancel()


async def test_what_was_left_is_handed_out_once_released_and_remembered(clock: MockClock) -> None:
    async with open_office() as office:
        await office.grant()
        bob, alice = await office.visit(), await office.claim()
        item = office.item(1)
        assert await office.put(bob, item) == ["stored"]
        assert await office.put(bob, item) == ["stored"]
        assert await alice.ask("next", 0) == ["items", [item.encoded()]]
        assert await alice.ask("next", 0) == ["items", []]
        again = await office.claim()
        assert await again.ask("next", 0) == ["items", [item.encoded()]]
        assert await again.ask("release", [item.digest]) == ["released"]
        assert await office.put(bob, item) == ["fetched"]
        assert await (await office.claim()).ask("next", 0) == ["items", []]


async def test_who_waits_gets_the_next_item_at_once(clock: MockClock) -> None:
    async with open_office() as office:
        await office.grant()
        alice, bob = await office.claim(), await office.visit()
        item = office.item(1)
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await trio.sleep(30)
                assert await office.put(bob, item) == ["stored"]

            nursery.start_soon(leave)
            began = trio.current_time()
            assert await alice.ask("next", 240) == ["items", [item.encoded()]]
            assert trio.current_time() - began < 31


async def test_only_the_key_itself_can_fetch(clock: MockClock) -> None:
    """Mallory signs with her own key, repeats Alice's claim, uses one made for another mailbox, or asks without any."""
    async with open_office() as office:
        await office.grant()
        assert await office.put(await office.visit(), office.item(1)) == ["stored"]
        visit = await office.visit()
        for question in (["know", []], ["next", 0], ["release", [bytes(32)]]):
            assert await visit.ask(*question) == ["no", "claim", 0]  # type: ignore[arg-type]
        [_, challenge] = await visit.ask("challenge")
        assert isinstance(challenge, bytes)
        alices = office.say(ALICE, "mailbox.claim", MailboxClaim(office.peer, challenge))
        assert (await visit.ask("claim", alices))[0] == "claimed"
        assert await visit.ask("claim", alices) == ["no", "claim", 0], "a challenge is for one claim"
        other = await office.visit()
        assert await other.ask("claim", alices) == ["no", "claim", 0], "made for another stream"
        [_, challenge] = await other.ask("challenge")
        elsewhere = office.say(ALICE, "mailbox.claim", MailboxClaim(office.visitor.peer_id, bytes(challenge)))  # type: ignore[arg-type]
        assert await other.ask("claim", elsewhere) == ["no", "claim", 0], "made for another mailbox"
        [_, challenge] = await other.ask("challenge")
        mallorys = office.say(MALLORY, "mailbox.claim", MailboxClaim(office.peer, bytes(challenge)))  # type: ignore[arg-type]
        assert await other.ask("claim", mallorys) == ["no", "receiver", 0]


async def test_nobody_grants_for_somebody_else(clock: MockClock) -> None:
    """A grant for another mailbox or network costs the stream; an old one changes nothing; the newest can end all."""
    async with open_office() as office:
        for frame in (
            office.say(ALICE, "mailbox.grant", MailboxGrant(office.visitor.peer_id, ROOM)),
            office.say(ALICE, "mailbox.grant", MailboxGrant(office.peer, ROOM), net="other"),
            office.say(ALICE, "mailbox.claim", MailboxClaim(office.peer, bytes(32))),
        ):
            visit = await office.visit()
            with pytest.raises(StreamError):
                await visit.ask("grant", frame)
        bob = await office.visit()
        assert await office.put(bob, office.item(1)) == ["no", "receiver", 0]
        await office.grant(seq=2)
        assert await office.put(bob, office.item(1)) == ["stored"]
        older = office.say(ALICE, "mailbox.grant", MailboxGrant(office.peer, 0), seq=1)
        assert await (await office.visit()).ask("grant", older) == ["no", "seq", 2]
        assert await office.put(bob, office.item(2)) == ["stored"]
        await office.grant(seq=3, room=0)
        assert await office.put(bob, office.item(3)) == ["no", "receiver", 0]
        assert (await office.host.statistics())["items"] == 0


async def test_a_thousand_letters_of_junk_and_one_honest_offer(clock: MockClock) -> None:
    """Mallory fills Alice's share. Bob is told the price, pays it and four bits more, and his offer stays, whatever
    comes at Mallory's price."""
    async with open_office() as office:
        await office.grant()
        mallory = await office.visit()
        for number in range(500):
            await office.put(mallory, office.item(number))
        bob, offer = await office.visit(), office.item(99_999)
        answer = await office.put(bob, offer)
        assert answer[:2] == ["no", "bits"]
        assert await office.put(bob, offer, int(answer[2]) + 4) == ["stored"]  # type: ignore[call-overload]
        for number in range(500, 1000):
            await office.put(mallory, office.item(number), number % 4)
        found = await _all_of(await office.claim())
        assert offer.encoded() in found
        held = await office.host.statistics()
        assert held["bytes"] <= ROOM
        assert office.host.counters["no_bits"] > 100


async def test_what_friends_left_is_never_pushed_out(clock: MockClock) -> None:
    """Carol's channel is known: she pays nothing, and no stamp of a stranger's moves what she left. But a friend has a
    share, too."""
    async with open_office() as office:
        await office.grant()
        carol = BoxKey(b"carol".ljust(32))
        alice = await office.claim()
        assert await alice.ask("know", [channel(ALICE_BOX.public, carol.public)]) == ["known"]
        visit = await office.visit()
        hers = [office.item(number, own=carol) for number in range(40)]
        for item in hers:
            assert await office.put(visit, item) == ["stored"]
        for number in range(200):
            await office.put(visit, office.item(1000 + number), 5)
        found = await _all_of(await office.claim())
        kept = [item for item in hers if item.encoded() in found]
        assert kept == hers[: host_module.CHANNEL_ITEMS]


async def test_who_becomes_a_friend_is_one_for_what_lies_there_already(clock: MockClock) -> None:
    """Carol's letters lie there when Alice says that she knows her. Now they stay as well, as many as a friend may have
    there; those of Dave, whom nobody knows, go."""
    async with open_office() as office:
        await office.grant()
        carol, dave = BoxKey(b"carol".ljust(32)), BoxKey(b"dave".ljust(32))
        visit = await office.visit()
        hers = [office.item(number, own=carol) for number in range(40)]
        his = office.item(900, own=dave)
        for item in [his, *hers]:
            assert await office.put(visit, item) == ["stored"]
        alice = await office.claim()
        assert await alice.ask("know", [channel(ALICE_BOX.public, carol.public)]) == ["known"]
        for number in range(200):
            await office.put(visit, office.item(1000 + number), 5)
        found = await _all_of(await office.claim())
        assert [item for item in hers if item.encoded() in found] == hers[: host_module.CHANNEL_ITEMS]
        assert his.encoded() not in found


async def test_a_friend_is_one_for_so_many_bytes(clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "CHANNEL_BYTES", 5000)
    async with open_office() as office:
        await office.grant()
        carol = BoxKey(b"carol".ljust(32))
        visit = await office.visit()
        hers = [office.item(number, size=1500, own=carol) for number in range(6)]
        for item in hers:
            assert await office.put(visit, item) == ["stored"]
        assert await (await office.claim()).ask("know", [channel(ALICE_BOX.public, carol.public)]) == ["known"]
        for number in range(200):
            await office.put(visit, office.item(1000 + number), 5)
        found = await _all_of(await office.claim())
        assert [item for item in hers if item.encoded() in found] == hers[:2]


async def test_a_mailbox_whose_clock_runs_ahead_hides_and_refuses_nothing(clock: MockClock) -> None:
    """For an hour it is tomorrow there, and nobody speaks for it. Alice, who is on a visit, is not refused; nor is what
    Bob leaves; nothing is read past that she would have to come again for; and what is over when it is certain is."""
    machine = DoubtfulClock()
    async with open_office(machine) as office:
        await office.grant(life=7200)
        alice, bob = await office.claim(), await office.visit()
        soon, later = office.item(1, life=3600), office.item(2, life=5 * 24 * 3600)
        assert await office.put(bob, soon) == ["stored"]
        assert await office.put(bob, later) == ["stored"]
        machine.ahead = 24 * 3600
        assert await alice.ask("next", 0) == ["items", [soon.encoded(), later.encoded()]]
        assert await office.put(bob, office.item(3, life=3600 - machine.ahead)) == ["stored"]
        await office.host.sweep()
        assert (await office.host.statistics())["items"] == 3
        again = await office.claim()
        assert await again.ask("release", [soon.digest]) == ["released"]
        machine.ahead = 0
        await trio.sleep(3600)
        assert await office.put(await office.visit(), office.item(4, life=0)) == ["no", "expired", 0]
        assert await (await office.claim()).ask("next", 0) == ["items", [later.encoded()]]


async def test_what_is_over_is_neither_taken_nor_kept(clock: MockClock) -> None:
    async with open_office() as office:
        await office.grant(life=7200)
        bob = await office.visit()
        assert await office.put(bob, office.item(1, life=600)) == ["stored"]
        assert await office.put(bob, office.item(2, life=0)) == ["no", "expired", 0]
        await trio.sleep(700)
        assert await (await office.claim()).ask("next", 0) == ["items", []]
        await office.host.sweep()
        assert (await office.host.statistics())["items"] == 0
        await trio.sleep(7200)
        await office.host.sweep()
        assert (await office.host.statistics())["receivers"] == 0


async def test_one_source_has_a_part_of_everything(clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory makes keys and grants for each of them: beyond her part nobody is held for."""
    monkeypatch.setattr(host_module, "MAX_RECEIVERS", 80)
    async with open_office() as office:
        granted = 0
        for number in range(20):
            visit = await office.visit()
            key = SigningKey(number.to_bytes(32, "big"))
            answer = await visit.ask("grant", office.say(key, "mailbox.grant", MailboxGrant(office.peer, ROOM)))
            granted += answer == ["granted"]
            await visit.stream.close()
        assert granted == 10


async def test_no_grant_outlives_a_month(clock: MockClock) -> None:
    async with open_office() as office:
        frame = speak(
            Draft(
                "mailbox.grant",
                MailboxGrant(office.peer, ROOM),
                NET,
                at=office.clock.now() + 100 * MAX_LIFE,
                exp=office.clock.now() + 101 * MAX_LIFE,
                seq=0,
                salt=bytes(16),
                stamp=bytes(8),
            ),
            ALICE,
        ).frame
        assert await (await office.visit()).ask("grant", frame) == ["granted"]
        inbox = await office.store.transact(lambda tx: tx.mail.inbox(ALICE.public))
        assert inbox is not None
        assert inbox.exp <= office.clock.now() + MAX_LIFE


async def test_nonsense_costs_its_stream_and_nothing_else(clock: MockClock) -> None:
    async with open_office() as office:
        await office.grant()
        nonsense: list[list[Value]] = [
            ["put"],
            ["put", bytes(31), b"", bytes(8)],
            ["put", ALICE.public, b"\xc1", bytes(8)],
            ["claim", b"\x93"],
            ["fly"],
        ]
        for question in nonsense:
            visit = await office.visit()
            answer: list[Value] | None = None
            with trio.move_on_after(5):
                try:
                    answer = await visit.ask(*question)
                except Exception:
                    pass
            assert answer is None or answer[0] == "no"
        assert await office.put(await office.visit(), office.item(1)) == ["stored"]


async def _all_of(visit: Conversation) -> list[bytes]:
    found: list[bytes] = []
    while True:
        [_, items] = await visit.ask("next", 0)
        assert isinstance(items, list)
        if not items:
            return found
        found += [item for item in items if isinstance(item, bytes)]


async def test_a_node_that_ends_begins_no_visit(clock: MockClock) -> None:
    """A vendor's role has just agreed with a mailbox when the node ends around it: that is no error."""
    async with MemoryWorld(1).open_network("bob") as network, trio.open_nursery() as nursery:
        opener: Any = None  # nothing is ever fetched
        inboxes = Inboxes(network, opener, VirtualClock(), SeededChance("bob"), NET, ())
        await nursery.start(inboxes.run)
        nursery.cancel_scope.cancel()
    inboxes.keep(ALICE, "/ip4/10.0.0.7/tcp/4001", lambda: 2**40, lambda: ())
    inboxes.leave(ALICE.public)
