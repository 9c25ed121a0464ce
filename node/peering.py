"""Being connected: the addresses a person named, peers of our own choosing from meeting nodes, good ones on disk.

    asker -> ["peers", record, most]          answer: ["records", [record...], hour]

A meeting node is a convenience, not an authority: records are signed by the nodes they are about, several meeting
nodes can be used, and who knows peers needs none.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import structlog
import trio

from protocol.address import NodeAddress
from protocol.codec import Value
from protocol.errors import Reason, Refused
from protocol.gossip import Alarm
from protocol.keys import SigningKey
from protocol.message import MAX_INSTANT, Draft, speak
from protocol.record import RECORD_LIFE, AddressRecord, read_record

from .clock import Chance, Clock
from .conversation import Conversation, Visitors, expect_binaries, expect_bytes, expect_int
from .network.seam import (
    Address,
    Appraise,
    LinkChosen,
    LinkDown,
    LinkUp,
    Network,
    NetworkError,
    PeerId,
    Stream,
    Worth,
)
from .policy import lives_in_public, may_be_dialled, source_of, subnet_of
from .store import Store

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("peering")

PROTOCOL = "/intentcast/peers/1"

WANTED = 4
"""Links of our own choosing: those who dial us are chosen by others, perhaps all by the same."""

MOST_CHOSEN = 16
"""Links of our own choosing, however often the router is alarmed."""

MOST_USELESS = 4
"""Links of our own choosing over which no gossip comes, kept while there are no better ones: slow is not dead."""

RECORDS_AT_ONCE = 16
RECORDS_KEPT = 5_000
"""Address records a node remembers, oldest out first: some 5 MB."""

PEERS_ON_DISK = 50
FIRST_RETRY, LAST_RETRY = 1.0, 30.0
"""Seconds between two dials of an address a person named: where that is the only way over, a network that was parted is
whole again within a minute of its healing."""
LOOK_EVERY, LOOK_SELDOM = 15.0, 600.0
"""Seconds between two looks for peers while there are too few, doubling while they find nobody: a small market has no
more. A lost link, a useless one or a new address begins anew, and who has no link at all does not slow down."""

TURN_SECONDS = 10.0

SERVED_AT_ONCE = 4
"""Streams of one peer; it needs one."""

ASK_HOUR_EVERY = 600.0
"""Seconds between two looks at what hour those have whom we chose."""


class Peering:
    def __init__(
        self,
        network: Network,
        store: Store,
        clock: Clock,
        chance: Chance,
        key: SigningKey,
        net: str,
        join: Sequence[Address],
        *,
        meeting: bool,
    ) -> None:
        self._network = network
        self._store = store
        self._clock = clock
        self._chance = chance
        self._key = key
        self._net = net
        self._public = lives_in_public(net, network.addresses)
        self._join = tuple(join)
        self._meeting = meeting
        self._records: OrderedDict[PeerId, AddressRecord] = OrderedDict()
        self._good: dict[PeerId, Address] = {}
        self._silent: set[PeerId] = set()
        """Linked peers that had no answer: not asked again on this link."""
        self._dialled: set[PeerId] = set()
        """Linked peers that we dialled because there were too few; not those whom somebody named or writes to."""
        self._parted: dict[PeerId, float] = {}
        """Peers that were useless, and when we hung up on them (steady time): not dialled again for a while."""
        self._look_now = trio.Event()
        self._elsewhere = False
        self.useless: Callable[[], Container[PeerId]] = frozenset
        """Linked peers over which no gossip comes; set by whoever hears it."""
        self.appraise: Appraise = dict
        """What linked peers are worth besides gossip; set by whoever knows."""
        self.on_hour: Callable[[PeerId, str, int, float, float], None] = lambda *_heard: None
        """Told what hour a peer has (see Skew.heard); set by whoever compares clocks."""
        self.counters: Counter[str] = Counter()
        self._visitors = Visitors(self.counters, SERVED_AT_ONCE)

    def addresses_of(self, peer: PeerId) -> tuple[Address, ...]:
        """Where a peer was last known to be."""
        record = self._records.get(peer)
        fresh = record is not None and self._clock.certain() < record.message.head.exp
        found = record.addresses if record is not None and fresh else ()
        return (*found, self._good[peer]) if peer in self._good else found

    def look_elsewhere(self, alarm: Alarm) -> None:
        """The router fears that all our peers are one: dial others, in other subnets."""
        self.counters[f"alarm_{alarm.kind.value}"] += 1
        self._elsewhere = True
        self._look_now.set()

    def look_again(self) -> None:
        """A peer that we may have chosen is useless."""
        self._look_now.set()

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        self._good = dict(await self._store.transact(lambda tx: tx.peers()))
        async with trio.open_nursery() as nursery, self._network.watch_links() as links:
            self._network.serve(PROTOCOL, self._answer)
            for address in self._join:
                nursery.start_soon(self._keep, address)
            nursery.start_soon(self._look)
            nursery.start_soon(self._ask_hours)
            task_status.started()
            async for event in links:
                match event:
                    case LinkUp(link) | LinkChosen(link) if link.outbound:
                        nursery.start_soon(self._meet, link.peer)
                    case LinkDown(peer):
                        self._silent.discard(peer)
                        self._dialled.discard(peer)
                        self._look_now.set()

    # --------------------------------------------------------------------------------------------------- dialling

    async def _keep(self, address: Address) -> None:
        """Stay linked with an address a person named, for ever."""
        retry = FIRST_RETRY
        while True:
            try:
                peer = await self._network.dial(address)
            except NetworkError as error:
                self.counters["join_failed"] += 1
                log.info("a peer to join is not there, trying again", seconds=round(retry, 1))
                log.debug("join failed", address=address, error=str(error))
                await trio.sleep(retry * self._chance.choices.uniform(0.8, 1.2))
                retry = min(LAST_RETRY, retry * 2)
                continue
            retry = FIRST_RETRY
            await self._remember(peer, address)
            async with self._network.watch_links() as links:
                if not any(link.peer == peer for link in self._network.links()):
                    continue
                async for event in links:
                    if isinstance(event, LinkDown) and event.peer == peer:
                        break
            await trio.sleep(self._chance.choices.uniform(0.1, 0.5))  # not all of its peers in the same instant

    async def _look(self) -> None:
        """While we have too few links of our own choosing, or all may lead to one, try peers we know of."""
        pause = LOOK_EVERY
        while True:
            self._look_now = trio.Event()
            elsewhere, self._elsewhere = self._elsewhere, False
            wanted = min(self._chosen() + WANTED, MOST_CHOSEN) if elsewhere else WANTED
            if self._chosen() < wanted:
                await self._dial_some(wanted, elsewhere=elsewhere)
                await self._ask_again(wanted)
            await self._part_with_useless()
            with trio.move_on_after(pause * self._chance.choices.uniform(0.8, 1.2)) as waiting:
                await self._look_now.wait()
                await trio.sleep(FIRST_RETRY)
            is_quiet = waiting.cancelled_caught and self._network.links()
            pause = min(LOOK_SELDOM, 2 * pause) if is_quiet else LOOK_EVERY

    async def _dial_some(self, wanted: int, *, elsewhere: bool) -> None:
        for address in self._candidates(elsewhere=elsewhere):
            if self._chosen() >= wanted:
                return
            try:
                peer = await self._network.dial(address)
            except NetworkError:
                self.counters["dial_failed"] += 1
                continue
            self.counters["dialled_elsewhere"] += elsewhere
            if any(link.outbound and link.peer == peer for link in self._network.links()):
                self._dialled.add(peer)
            await self._remember(peer, address)

    async def _ask_again(self, wanted: int) -> None:
        """Those we chose may know more by now: who came first to a new market knows nobody else yet."""
        for link in self._network.links():
            if link.outbound and self._chosen() < wanted and link.peer not in self._silent:
                await self._meet(link.peer)

    def _chosen(self) -> int:
        """Links of our own choosing that are of use: who answers nothing but pings must not fill their places."""
        useless = self.useless()
        return sum(1 for link in self._network.links() if link.outbound and link.peer not in useless)

    async def _part_with_useless(self) -> None:
        """Once there are enough others, or too many of these. Who has letters for us, or is named, stays."""
        useless, worth = self.useless(), self.appraise()
        found = [p for p in self._dialled if p in useless and worth.get(p, Worth.NOTHING) < Worth.THREAD]
        if self._chosen() < WANTED and len(found) <= MOST_USELESS:
            return
        now = self._clock.steady()
        self._parted = {peer: at for peer, at in self._parted.items() if now - at < LOOK_SELDOM}
        for peer in found:
            self.counters["useless"] += 1
            self._parted[peer] = now
            self._good.pop(peer, None)
            await self._network.hang_up(peer)

    def _candidates(self, *, elsewhere: bool) -> list[Address]:
        """Whom to try, in this order: one in each subnet we have not chosen yet, then others. `elsewhere`: none in a
        subnet where we have any link."""
        links = self._network.links()
        taken = {subnet_of(link.remote) for link in links if link.outbound or elsewhere} - {""}
        fresh: list[Address] = []
        crowded: list[Address] = []
        besides = {link.peer for link in links} | {self._network.peer_id}
        besides.update(peer for peer, at in self._parted.items() if self._clock.steady() - at < LOOK_SELDOM)
        for address in self._known(besides, meeting_first=elsewhere):
            subnet = subnet_of(address)
            if subnet in taken:
                crowded.append(address)
            else:
                fresh.append(address)
                taken |= {subnet} - {""}
            if len(fresh) == 2 * WANTED:
                break
        return fresh if elsewhere else [*fresh, *crowded][: 2 * WANTED]

    def _known(self, besides: set[PeerId], *, meeting_first: bool) -> Iterator[Address]:
        """Peers we met and peers we heard of, in turns: whoever hands out thousands of records is half at most."""
        now = self._clock.certain()  # with a fast clock all records look old, and nobody would be found who says so
        met = [address for peer, address in self._good.items() if peer not in besides]
        records = [
            record
            for peer, record in self._records.items()
            if peer not in besides and peer not in self._good and now < record.message.head.exp
        ]
        self._chance.choices.shuffle(met)
        self._chance.choices.shuffle(records)
        if meeting_first:
            records.sort(key=lambda record: not record.meeting)
        heard = (self._chance.choices.choice(record.addresses) for record in records)
        for address in chain.from_iterable(zip_longest(met, heard)):
            if address is not None and may_be_dialled(address, self._public):
                yield address

    async def _remember(self, peer: PeerId, address: Address) -> None:
        self._good[peer] = address
        now = self._clock.now()
        await self._store.transact_foreign(lambda tx: tx.put_peer(peer, address, now, PEERS_ON_DISK))

    # ------------------------------------------------------------------------------------------------------ asking

    async def _ask_hours(self) -> None:
        """Clocks drift, and are set: ask those we chose again and again."""
        while True:
            await trio.sleep(ASK_HOUR_EVERY * self._chance.choices.uniform(0.8, 1.2))
            for link in self._network.links():
                if link.outbound and link.peer not in self._silent:
                    await self._meet(link.peer, 0)

    async def _meet(self, peer: PeerId, most: int = RECORDS_AT_ONCE) -> None:
        """Ask a peer we chose whom it knows, and what hour it has. Not everybody speaks this, and that is fine."""
        try:
            stream = await self._network.open_stream(peer, PROTOCOL)
        except NetworkError:
            self._silent.add(peer)
            return
        try:
            with trio.fail_after(TURN_SECONDS):
                asked = self._clock.elapsed()
                answer = await Conversation(stream).ask("peers", self._own_record(), most)
                answered = self._clock.elapsed()
                await stream.finish()
            if len(answer) < 2 or answer[0] != "records":
                raise Refused(Reason.REQUEST, "not a list of records")
            frames, hour = expect_binaries(answer[1])[:most], 0
            if len(answer) > 2:
                hour = expect_int(answer[2], 0, MAX_INSTANT)
                self.on_hour(peer, self._source(peer), hour, asked, answered)
            before = len(self._records)
            for frame in frames:
                self._try_record(frame, max(hour, self._clock.certain()))
            if len(self._records) > before:
                self._look_now.set()
        except (NetworkError, trio.TooSlowError):
            self.counters["ask_failed"] += 1
            self._silent.add(peer)
        except Refused as refused:
            self.counters[refused.reason.value] += 1
            self._silent.add(peer)
        finally:
            with trio.CancelScope(shield=True):
                await stream.close()

    def _source(self, peer: PeerId) -> str:
        return source_of(next((link.remote for link in self._network.links() if link.peer == peer), ""), peer)

    def _own_record(self) -> bytes:
        """Our signed record; nothing if nobody could dial us."""
        addrs = tuple(address.partition("/p2p/")[0] for address in self._network.addresses)[:4]
        if not addrs:
            return b""
        now = self._clock.now()
        draft = Draft(
            kind="address",
            body=NodeAddress(addrs, self._meeting),
            net=self._net,
            at=now,
            exp=now + RECORD_LIFE,
            seq=now,
            salt=self._chance.bytes(16),
        )
        return speak(draft, self._key).frame

    def _try_record(self, frame: bytes, now: int, by: PeerId | None = None) -> None:
        """One that is not believed is dropped, and nothing else is. `now`: the later of our certain hour and that of
        whoever hands it over: with a slow clock all records look early, with a fast one old, and a node that knows
        nobody learns no hour."""
        try:
            self._take_record(frame, now, by)
        except Refused as refused:
            self.counters[refused.reason.value] += 1

    def _take_record(self, frame: bytes, now: int, by: PeerId | None) -> None:
        """`by`: whose it must be. Who asks tells of itself only, or one peer could fill the book with thousands."""
        record = read_record(frame, self._net, now)
        if by not in (None, record.peer):
            raise Refused(Reason.AUTHOR, "a record of somebody else")
        if record.peer == self._network.peer_id:
            return
        held = self._records.get(record.peer)
        if held is not None and held.message.head.seq > record.message.head.seq:
            return
        self._records.pop(record.peer, None)
        self._records[record.peer] = record
        while len(self._records) > RECORDS_KEPT:
            self._records.popitem(last=False)

    # --------------------------------------------------------------------------------------------------- answering

    async def _answer(self, stream: Stream) -> None:
        await self._visitors.receive(stream, self._converse)

    async def _converse(self, conversation: Conversation) -> None:
        with trio.fail_after(TURN_SECONDS):
            asker = conversation.stream.peer
            match await conversation.listen():
                case ["peers", record, most]:
                    limit = expect_int(most, 0, RECORDS_AT_ONCE)
                    frame = expect_bytes(record)
                case _:
                    raise Refused(Reason.REQUEST, "not a question for peers")
            if frame:
                self._try_record(frame, self._clock.now(), asker)
            records: list[Value] = list(self._some_records(limit, asker))
            await conversation.say("records", records, self._clock.now())

    def _some_records(self, most: int, asker: PeerId) -> list[bytes]:
        """A random few, so that nobody can place himself first. Only a meeting node introduces others."""
        if not self._meeting:
            return []
        now = self._clock.now()
        fresh = [r for r in self._records.values() if r.peer != asker and now < r.message.head.exp]
        chosen = self._chance.choices.sample(fresh, min(most, len(fresh)))
        return [record.message.frame for record in chosen]
