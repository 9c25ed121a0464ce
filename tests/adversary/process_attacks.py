"""Attacks on a node in a process of its own, over loopback: whether it lives, and what it costs its processor."""

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from node import catchup, delivery, peering
from node.cli.client import Client
from node.network.libp2p import open_libp2p_network
from node.network.seam import NetworkError
from protocol.framing import frame_with_length
from protocol.gossip.rpc import encode_publish
from tests.driver import NET, seed_of
from tests.fuzz.changes import change_bytes
from tests.fuzz.readers import seeds

from . import proc
from .figures import Figure, at_least, at_most, told, within
from .frames import DIVISION, TOPIC, Forger, broken_rpcs
from .mallory import Mallory, drop_all

DIRECT = (delivery.PROTOCOL, catchup.PROTOCOL, peering.PROTOCOL)
"""What a stranger may open a stream for, beside gossip."""


@dataclass(frozen=True)
class Victim:
    process: trio.Process
    client: Client
    address: str

    async def refused(self) -> int:
        """What it refused of strangers, on gossip and on every direct protocol; asked of its service."""
        counters = (await trio.to_thread.run_sync(self.client.get, "status"))["counters"]
        by_router = counters["gossip"]["counters"]
        directly = (counters[name] for name in ("delivery", "catchup", "peering"))
        return sum(n for name, n in by_router.items() if "rejected" in name or "refused" in name) + sum(
            sum(each.values()) for each in directly
        )


@asynccontextmanager
async def open_victim() -> AsyncIterator[Victim]:
    """`intentcast up`, as anybody would run it."""
    with TemporaryDirectory() as directory:
        home = Path(directory) / "victim"
        command = [sys.executable, "-m", "node", "up", "--home", str(home), "--net", NET, "--json"]
        process = await trio.lowlevel.open_process(
            [*command, "--listen", "/ip4/127.0.0.1/tcp/0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "INTENTCAST_DIVISIONS": DIVISION},
        )
        try:
            assert process.stdout is not None
            said = b""
            while not said.endswith(b"\n"):
                more = await process.stdout.receive_some()
                assert more, "it ended before it was ready"
                said += more
            yield Victim(process, Client(home), json.loads(said)["addresses"][0])
        finally:
            process.terminate()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 20):
                await process.wait()


@asynccontextmanager
async def open_stranger(name: str) -> AsyncIterator[Mallory]:
    async with open_libp2p_network(seed=seed_of(name), listen=[]) as network, trio.open_nursery() as nursery:
        yield Mallory(network, nursery, drop_all, name)
        nursery.cancel_scope.cancel()


async def mutants(strangers: int, each: int = 20) -> list[Figure]:
    """T1: each stranger says some mutants on gossip and on every direct protocol, until nobody listens to it. Then the
    process is asked how it does."""
    async with open_victim() as victim:
        sent = 0
        for number in range(strangers):
            async with open_stranger(f"stranger {number}") as mallory:
                sent += await _say_mutants(mallory, victim.address, each)
        began = time.perf_counter()
        refused = await victim.refused()
        took = time.perf_counter() - began
        return [
            at_least("T1", f"{sent} mutants at a process, by {strangers} peers: refused", refused, sent / 2),
            at_least("T1", "it lives", victim.process.poll() is None, 1),
            within("T1", "its service answers after", took, 1),
        ]


async def _say_mutants(mallory: Mallory, address: str, count: int) -> int:
    rng = mallory.rng
    peer = await mallory.befriend(address)
    rpcs = [*broken_rpcs(rng), *(encode_publish(TOPIC, frame) for frame in seeds("frame")[:40])]
    items = seeds("letter")
    sent = 0
    while sent < count:
        try:
            await mallory.say(peer, change_bytes(rng.choice(rpcs), rng)[:60_000])
            sent += 1
            stream = await mallory.network.open_stream(peer, rng.choice(DIRECT))
            await stream.send_all(change_bytes(frame_with_length(rng.choice(items)[:50_000]), rng))
            await stream.close()
            sent += 1
        except NetworkError:
            peer = await mallory.befriend(address)  # it hung up: no wonder
    return sent


async def invalid_flood(seconds: float, per_second: int = 500) -> list[Figure]:
    """T2: what a flood of invalid frames, most of them wrong only at the last door, costs the processor."""
    if not proc.IS_LINUX:
        return [told("T2", "processor time of a victim", "SKIPPED: not Linux")]
    async with open_victim() as victim, open_stranger("mallory") as mallory:
        forger = Forger("mallory", int(time.time()))
        frames = [*forger.bad().values(), *(forger.unsigned() for _ in range(500))]
        peer = await mallory.befriend(victim.address)
        before, began = proc.cpu_seconds(victim.process.pid), time.perf_counter()
        sent = 0
        while (passed := time.perf_counter() - began) < seconds:
            due = min(int(passed * per_second) - sent, per_second // 5)
            try:
                await mallory.publish(peer, *(mallory.rng.choice(frames) for _ in range(due)))
                sent += due
            except NetworkError:
                peer = await mallory.befriend(victim.address)
            await trio.sleep(0.05)
        used = (proc.cpu_seconds(victim.process.pid) - before) / passed
        return [
            at_least("T2", f"{per_second} invalid frames/s at a process: sent", sent, 0.8 * per_second * seconds),
            at_least("T2", "of them judged and refused, before it was deaf", await victim.refused(), 1),
            at_most("T2", "what that costs it, of a core", 100 * used, 80, " %"),
        ]
