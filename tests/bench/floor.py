"""The floor: what gossip costs in Python when there is nothing but the work. `python -m tests.bench.floor <plan>`.

TCP over loopback, ChaCha20-Poly1305, the pubsub RPC in protobuf, a set of ids, one Ed25519 verification per message,
and an eager mesh of degree D that never changes. No handshake, no streams, no flow control, no control messages, no
judgement beyond the signature: not a network, but the least that ours would cost if all its layers were free.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.signing import VerifyKey

from protocol.gossip.rpc import decode_rpc, encode_publish, message_id

from .phases import Flights, measure, report
from .plan import NET, Plan, circulant
from .rss import resident_bytes

_KEY = bytes(range(32))
_KEY_AT, _SIGNATURE_AT, _PAYLOAD_AT = 3, 37, 104  # in a frame: [key, signature, payload]
_SIGNED = b"intentcast/1\0gossip\0" + NET.encode() + b"\0"


class FloorLink:
    """One end of a link. Writing puts messages together that wait for the same peer."""

    def __init__(self, stream: trio.SocketStream, heard: Callable[["FloorLink", bytes], None]) -> None:
        self._stream = stream
        self._heard = heard
        self._cipher = ChaCha20Poly1305(_KEY)
        self._waiting: list[bytes] = []
        self._wake = trio.Event()

    def send(self, wire: bytes) -> None:
        self._waiting.append(wire)
        self._wake.set()

    async def write(self) -> None:
        count = 0
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            rpc, self._waiting = b"".join(self._waiting), []
            sealed = self._cipher.encrypt(count.to_bytes(12, "little"), rpc, None)
            count += 1
            await self._stream.send_all(len(sealed).to_bytes(4, "big") + sealed)

    async def read(self) -> None:
        count = 0
        buffer = bytearray()
        async with self._stream:
            while data := await self._stream.receive_some(65_536):
                buffer += data
                while len(buffer) >= 4 and len(buffer) >= 4 + (size := int.from_bytes(buffer[:4], "big")):
                    rpc = self._cipher.decrypt(count.to_bytes(12, "little"), bytes(buffer[4 : 4 + size]), None)
                    del buffer[: 4 + size]
                    count += 1
                    self._heard(self, rpc)


class FloorNode:
    def __init__(self, topic: str, delivered: Callable[[bytes], None]) -> None:
        self.links: list[FloorLink] = []
        self.copies = 0
        self._topic = topic
        self._delivered = delivered
        self._seen: set[bytes] = set()

    def publish(self, frame: bytes) -> None:
        self._seen.add(message_id(self._topic, frame))
        self._spread(frame, None)

    def hear(self, link: FloorLink, rpc: bytes) -> None:
        for message in decode_rpc(rpc).messages:
            self.copies += 1
            mid = message_id(message.topic, message.data)
            if mid in self._seen:
                continue
            self._seen.add(mid)
            frame = message.data
            key = VerifyKey(frame[_KEY_AT : _KEY_AT + 32])
            key.verify(_SIGNED + frame[_PAYLOAD_AT:], frame[_SIGNATURE_AT : _SIGNATURE_AT + 64])
            self._delivered(frame)
            self._spread(frame, link)

    def _spread(self, frame: bytes, source: FloorLink | None) -> None:
        wire = encode_publish(self._topic, frame)
        for link in self.links:
            if link is not source:
                link.send(wire)


class FloorMesh:
    def __init__(self, nodes: list[FloorNode]) -> None:
        self._nodes = nodes

    def publish(self, author: int, frame: bytes) -> None:
        self._nodes[author].publish(frame)

    def copies(self) -> int:
        return sum(node.copies for node in self._nodes)


async def run_floor(plan: Plan) -> dict[str, Any]:
    flights = Flights(plan)
    salt_at = flights.authors.frame(1).index((1).to_bytes(16, "big"))

    def delivered(frame: bytes) -> None:
        flights.delivered(frame[salt_at : salt_at + 16])

    nodes = [FloorNode(plan.topic, delivered) for _ in range(plan.nodes)]
    before = resident_bytes()
    async with trio.open_nursery() as nursery:

        def attach(node: FloorNode, stream: trio.SocketStream) -> None:
            link = FloorLink(stream, node.hear)
            node.links.append(link)
            nursery.start_soon(link.read)
            nursery.start_soon(link.write)

        async def accept(node: FloorNode, stream: trio.SocketStream) -> None:
            attach(node, stream)
            await trio.sleep_forever()

        ports = []
        for node in nodes:
            serve = partial(trio.serve_tcp, partial(accept, node), 0, host="127.0.0.1")
            listeners = await nursery.start(serve)
            ports.append(listeners[0].socket.getsockname()[1])
        for a, b in circulant(plan.nodes, min(plan.nodes - 1, plan.d)):
            attach(nodes[a], await trio.open_tcp_stream("127.0.0.1", ports[b]))
        bytes_per_node = (resident_bytes() - before) / plan.nodes
        result = await measure(flights, FloorMesh(nodes)) | {"bytes_per_node": bytes_per_node}
        nursery.cancel_scope.cancel()
    return result


if __name__ == "__main__":
    report(run_floor)
