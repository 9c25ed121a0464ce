"""Attacks on a mesh of honest nodes: each measures what came of it."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat
from statistics import median

import trio

from node.mesh.figures import quantile
from node.network.memory import Conditions
from protocol.gossip import Params
from protocol.gossip.rpc import encode_control, encode_graft
from tests.driver import wait_until

from .figures import Figure, at_least, at_most, told, within
from .frames import DIVISION, TOPIC, Forger
from .mallory import Behaviour, Mallory, behave, delay, drop_all, drop_victim, duplicate, open_mallory, open_sybils
from .town import HonestTown, open_honest_town

CUT_OFF = 5
"""Seconds of invalid frames, and then nobody listens."""
JUDGED = 60
"""Frames of an attacker that are looked at, at most: eleven REJECTs graylist, and a burst of them comes at once."""


async def invalid_flood(seconds: float, rounds: int, per_second: int = 500, nodes: int = 10) -> list[Figure]:
    """T2: a neighbour sends invalid frames of all sorts, most of them wrong only at the last door.

    Each round is as long in peace as under attack, and by a fresh attacker. What counts is the median of the rounds'
    ratios: what else the machine does for a while slows both halves of a round, or one round of many. Whether she was
    cut off is told by how many of her frames were judged; how soon, by floods that are longer than the goal.
    """
    async with open_honest_town(nodes) as honest:
        floods, said, ratios = [], [], []
        for number in range(rounds):
            peace = await honest.talk(4, seconds)
            flood = InvalidFlood(honest, f"mallory {number}", per_second)
            async with trio.open_nursery() as nursery:
                await nursery.start(flood.run)
                attacked = await honest.talk(4, seconds)
                nursery.cancel_scope.cancel()
            p99 = [quantile(honest.delays(wishes), 0.99) for wishes in (attacked, peace)]
            ratios.append(p99[0] / p99[1])
            floods.append(flood)
            said += peace + attacked
        sent = min(flood.sent for flood in floods)
        slowest = max(flood.judged_until - flood.began for flood in floods)
        what = f"{per_second} invalid frames/s for {seconds:g} s, {rounds} times: cut off after, at most"
        cut_off = within("T2", what, slowest, CUT_OFF) if seconds > CUT_OFF else told("T2", what, f"{slowest:.2g} s")
        return [
            cut_off,
            at_least("T2", "frames that were sent in a round", sent, 0.8 * per_second * seconds),
            at_most("T2", "of them judged in a round", max(flood.judged for flood in floods), JUDGED),
            at_least("T2", "and in each", min(flood.judged for flood in floods), 1),
            at_most("T2", "honest loss", 1 - honest.part(said), 0),
            at_most("T2", "honest p99, times the one in peace, median", median(ratios), 2),
            told("T2", "in each round", " ".join(f"{ratio:.2f}" for ratio in ratios)),
        ]


class InvalidFlood:
    """One attacker, and for how long the victim listened to her."""

    def __init__(self, honest: HonestTown, name: str, per_second: int) -> None:
        self.honest = honest
        self.name = name
        self.per_second = per_second
        self.began = self.judged_until = 0.0
        self.judged = self.sent = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        victim = self.honest.nodes[0]
        forger = Forger(self.name, victim.node.clock.now())
        frames = [*forger.bad().values(), *(forger.unsigned() for _ in range(500))]
        async with open_mallory(self.honest.world, self.name) as mallory:
            peer = await mallory.befriend(victim.address)
            await wait_until(victim, lambda node: mallory.network.peer_id in node.gossip.subscribers(DIVISION))
            self.began = self.judged_until = trio.current_time()
            before = self._judged(mallory)
            task_status.started()
            while True:
                due = int((trio.current_time() - self.began) * self.per_second) - self.sent
                await mallory.publish(peer, *(mallory.rng.choice(frames) for _ in range(due)))
                self.sent += due
                await trio.sleep(0.05)
                judged = self._judged(mallory) - before
                if judged > self.judged:
                    self.judged, self.judged_until = judged, trio.current_time()

    def _judged(self, mallory: Mallory) -> int:
        """Her frames that were refused after they had been looked at."""
        ledger = self.honest.nodes[0].node.gossip._router.ledger(mallory.network.peer_id)
        return ledger.rejected if ledger is not None else 0


async def valid_flood(count: int, per_second: int = 1000, judged_per_second: int = 100, nodes: int = 6) -> list[Figure]:
    """T3: one link brings valid stamped wishes, ten times what a node judges; the others together bring a quarter of
    it, which is theirs: hers is what they leave."""
    params = Params(max_judged_per_second=judged_per_second)
    async with open_honest_town(nodes, params=params) as honest, open_mallory(honest.world) as mallory:
        for neighbour in honest.nodes:
            neighbour.node.board.bits = 6
        victim = honest.nodes[0]
        peer = await mallory.befriend(victim.address)
        forger = Forger("mallory", victim.node.clock.now())
        seconds = count / per_second
        accepted = victim.node.gossip._router.statistics().counters.get("message.accepted", 0)
        said: list[bytes] = []
        began = trio.current_time()

        async def attack() -> None:
            for _ in range(int(seconds * 100)):  # evenly: between two handfuls there would be room for others by chance
                await mallory.publish(peer, *[forger.good(6).frame for _ in range(per_second // 100)])
                await trio.sleep(0.01)

        async with watch_scores(honest) as lowest, trio.open_nursery() as nursery:
            nursery.start_soon(attack)
            said = await honest.talk(judged_per_second / 4, seconds + 2)
            others = sum(
                honest.said[wish][1] < began + seconds and victim.name != honest.said[wish][0] for wish in said
            )
        counters = victim.node.gossip._router.statistics().counters
        ledger = victim.node.gossip._router.ledger(mallory.network.peer_id)
        assert ledger is not None
        share = judged_per_second * (params.judged_burst + seconds + 1) - others
        return [
            at_least(
                "T3", f"{count} valid frames through one link: honest delivery", 100 * honest.part(said), 100, " %"
            ),
            at_most("T3", "of them accepted (what others leave over)", ledger.first, share),
            told("T3", "ignored, over the share", f"{counters.get('message.ignored.over_share', 0)}"),
            at_most("T3", "honest p99 meanwhile, s", quantile(honest.delays(said), 0.99), 1),
            told("T3", "accepted by the victim in all", f"{counters['message.accepted'] - accepted}"),
            at_least("T3", "nobody was blamed: lowest score at any time", min(lowest), 0),
            at_most("T3", "put out, grafts too early, promises broken, too much hearsay", punished(honest), 0),
        ]


async def eclipse(sybils: int = 100, minutes: int = 5) -> list[Figure]:
    """T5: they all dial Victor as soon as he is up, ask into his mesh and are silent. He knows six honest addresses."""
    async with open_honest_town(6) as honest:
        town = honest.town
        victor = await town.open("Victor", join=(), divisions=(DIVISION,))
        await victor.stop()
        for one in honest.nodes:
            row = one.peer_id, one.address, victor.store
            await victor.store.peek(lambda tx, row=row: tx.put_peer(row[0], row[1], 0, 50))  # type: ignore[misc]
        async with open_sybils(honest.world, sybils) as crowd:
            await victor.start()
            async with trio.open_nursery() as nursery:
                for mallory in crowd:
                    nursery.start_soon(_cling, mallory, victor.address)
                await trio.sleep(60 * minutes)
                nursery.cancel_scope.cancel()
            honest_peers = {one.peer_id for one in honest.nodes}
            mesh = victor.node.gossip._router.mesh(TOPIC)
            friends = sum(peer in honest_peers for peer in mesh)
            alarms = victor.node.gossip.alarms
            honest.listen(victor)
            honest.nodes.append(victor)
            said = await honest.talk(1, 10)
            either = max(friends, 2 * len(alarms))
            return [
                at_least("T5", f"{sybils} sybils dial a node: honest in mesh, or alarm", either, 2),
                told("T5", "its mesh", f"{friends} honest of {len(mesh)}"),
                told("T5", "alarms", f"{len(alarms)}"),
                at_least("T5", "wishes that reach and leave it within 10 s", 100 * honest.part(said), 100, " %"),
            ]  # fmt: skip


async def _cling(mallory: Mallory, address: str) -> None:
    """Befriend, and ask to be in the mesh every few seconds, whatever the answer."""
    await trio.sleep(mallory.rng.uniform(0, 10))
    peer = await mallory.befriend(address)
    await mallory.flood(peer, repeat(encode_control([encode_graft(TOPIC)])), 0.1, math.inf)


async def bad_forwarders(wishes: int = 20) -> list[Figure]:
    """Among eight honest nodes sit five who forward as they please: nothing, not Alice's, late, tenfold, or well. Own
    messages go to the mesh and a few, so that those who sit in meshes are in the way."""
    found = []
    async with open_honest_town(8, params=Params(flood_publish=False)) as honest:
        alice = honest.forger.good()
        behaviours: dict[str, Behaviour] = {
            "drop-all": drop_all,
            "drop-victim": drop_victim(alice.author),
            "delay": delay(5),
            "duplicate": duplicate,
            "well": behave,
        }
        async with trio.open_nursery() as nursery:
            crowd: list[Mallory] = []
            for name, behaviour in behaviours.items():
                crowd.append(await nursery.start(_sit_among, honest, name, behaviour))
            theirs = {mallory.network.peer_id for mallory in crowd}
            before = _duplicates(honest)
            said = await honest.talk(2, wishes / 2)
            held = sum(len(theirs & set(one.node.gossip._router.mesh(TOPIC))) for one in honest.nodes)
            author = honest.nodes[3]
            honest.said[alice.id] = (author.name, trio.current_time())
            author.node.gossip.hear(DIVISION, alice.frame)
            author.node.gossip.publish(DIVISION, alice.frame)
            await trio.sleep(5)
            found.append(at_least("kit", "bad forwarders: honest delivery", 100 * honest.part(said), 100, " %"))
            found.append(at_least("kit", "of the one they drop", 100 * honest.part([alice.id]), 100, " %"))
            found.append(at_least("kit", "places they hold in honest meshes", held, len(honest.nodes)))
            heard = min(alice.frame in mallory.heard.values() for mallory in crowd)
            found.append(at_least("kit", "all of them heard it", heard, 1))
            spare = (_duplicates(honest) - before) / wishes / len(honest.nodes)
            found.append(at_least("kit", "copies too many of a wish, at each node", spare, 10))
            nursery.cancel_scope.cancel()
    return found


def _duplicates(honest: HonestTown) -> int:
    return sum(one.node.gossip._router.statistics().counters.get("message.duplicate", 0) for one in honest.nodes)


async def _sit_among(
    honest: HonestTown,
    name: str,
    behaviour: Behaviour,
    task_status: trio.TaskStatus[Mallory] = trio.TASK_STATUS_IGNORED,
) -> None:
    async with open_mallory(honest.world, name, behaviour) as mallory:
        for neighbour in honest.nodes:
            await mallory.befriend(neighbour.address)
        task_status.started(mallory)
        await trio.sleep_forever()


async def honest_soak(nodes: int = 20, minutes: float = 30) -> list[Figure]:
    """T34: nobody is bad; lines are, and clocks are wrong by up to two minutes."""
    conditions = Conditions(delay=0.05, jitter=0.1, loss=0.1)
    async with open_honest_town(nodes, conditions=conditions, skews=(0, 60, -60, 30, -30)) as honest:
        async with watch_scores(honest) as lowest:
            said = await honest.talk(0.2, minutes * 60)
            await trio.sleep(30)
        statistics = [one.node.gossip._router.statistics().counters for one in honest.nodes]
        rejected = sum(
            count for each in statistics for name, count in each.items() if name.startswith("message.rejected")
        )
        graylisted = sum(each.get("rpc.graylisted", 0) for each in statistics)
        misbehaved = sum(
            n
            for one in honest.nodes
            for name, n in one.node.gossip.counters.items()
            if "misbehaved" in name or name == "rests"
        )
        return [
            at_least("T34", f"honest soak, {nodes} nodes, {minutes:g} min: lowest score at any time", min(lowest), 0),
            at_most("T34", "put out, grafts too early, promises broken, too much hearsay", punished(honest), 0),
            at_most("T34", "rejected, refused, graylisted or made to wait", rejected + graylisted + misbehaved, 0),
            at_least("T34", "delivered", 100 * honest.part(said), 100, " %"),
        ]


@asynccontextmanager
async def watch_scores(honest: HonestTown) -> AsyncIterator[list[float]]:
    """The lowest score, looked at every ten seconds and at the end: what was bad for a while fades."""
    seen: list[float] = []

    async def look() -> None:
        while True:
            seen.append(lowest_score(honest))
            await trio.sleep(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        yield seen
        nursery.cancel_scope.cancel()
    seen.append(lowest_score(honest))


def punished(honest: HonestTown) -> int:
    """By any honest node, whatever it was for."""
    counters = [one.node.gossip._router.statistics().counters for one in honest.nodes]
    blamed = ("prune.low_score", "graft.early", "promise.broken", "ihave.over_cap")
    return sum(each.get(name, 0) for each in counters for name in blamed)


def lowest_score(honest: HonestTown) -> float:
    """Of any honest node, in the eyes of any other."""
    ours = {one.peer_id for one in honest.nodes}
    return min(
        score.total
        for one in honest.nodes
        for peer, score in one.node.gossip._router.scores(trio.current_time()).items()
        if peer in ours
    )
