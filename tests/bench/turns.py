"""How many round trips a reply costs, with 50 ms one way between two nodes. `python -m tests.bench.turns`: JSON.

Counted by the clock: on such a wire a round trip is 100 ms and our own work a few, so the figure is hardly the
machine's. The first reply to a stranger holds everything: TCP, Noise, the muxer, the stream, the question, the answer.
"""

import hashlib
import json
from statistics import median

import trio

from node.network.libp2p import open_libp2p_network
from node.network.seam import Network, Stream

from .slow_wire import SlowWire

_ECHO = "/bench/echo/1"
_DELAY = 0.05
_LETTER = bytes(900)  # an offer, sealed and padded
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def ask(stream: Stream) -> None:
    await stream.send_all(_LETTER)
    missing = len(_LETTER)
    while missing:
        missing -= len(await stream.receive_some())


async def measure() -> dict[str, float]:
    """Round trips: of the first reply by a stranger, of one on a new stream, of one on an open stream."""
    first, fresh, kept = [], [], []
    async with open_libp2p_network(seed=_seed("bob"), listen=[LOOPBACK]) as bob, trio.open_nursery() as nursery:
        bob.serve(_ECHO, echo)
        port = await nursery.start(SlowWire(int(bob.addresses[0].split("/")[4]), _DELAY).run)
        far_bob = f"/ip4/127.0.0.1/tcp/{port}/p2p/{bob.peer_id}"
        for number in range(3):
            async with open_libp2p_network(seed=_seed(f"alice {number}"), listen=[]) as alice:
                begin = trio.current_time()
                stream = await _open(alice, far_bob)
                await ask(stream)
                first.append(trio.current_time() - begin)
                for _ in range(5):
                    begin = trio.current_time()
                    await ask(stream)
                    kept.append(trio.current_time() - begin)
                begin = trio.current_time()
                await ask(await _open(alice, far_bob))
                fresh.append(trio.current_time() - begin)
        nursery.cancel_scope.cancel()
    return {
        name: median(times) / (2 * _DELAY) for name, times in (("first", first), ("new_stream", fresh), ("kept", kept))
    }


async def _open(alice: Network, address: str) -> Stream:
    return await alice.open_stream(await alice.dial(address), _ECHO)


def _seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


if __name__ == "__main__":
    print(json.dumps(trio.run(measure)))
