"""A neighbour of the node that is looked at: raw RPCs one way, and everything it says the other way, written down.

It knows nothing but the wire. Whatever it says is what it was told to say, true or not."""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from node.conversation import Conversation
from node.network.libp2p import open_libp2p_network
from node.network.seam import Address, Handler, Network, NetworkError, PeerId, Stream, StreamError
from protocol.errors import Refused
from protocol.framing import Deframer, frame_with_length
from protocol.gossip import MESHSUB_1_1, PROTOCOLS
from protocol.gossip.rpc import (
    Prune,
    decode_rpc,
    encode_control,
    encode_graft,
    encode_ihave,
    encode_iwant,
    encode_prune,
    encode_publish,
    encode_subscription,
    message_id,
)
from protocol.limits import MAX_ITEM, MAX_RPC


class Probe:
    """Made by `open_probe`. `node` is the peer id of the node it is linked to."""

    def __init__(self, network: Network, node: PeerId) -> None:
        self.network = network
        self.node = node
        self.subscriptions: set[str] = set()
        self.heard: Counter[bytes] = Counter()
        """Data of messages, and how often each came."""
        self.spoken_of: set[bytes] = set()
        """Ids in the node's IHAVE."""
        self.grafts: list[str] = []
        self.prunes: list[Prune] = []
        self.refused: list[str] = []
        """RPCs of the node that are none."""
        self.is_curious = True
        """Asks for what the node speaks of, as those outside a mesh do."""
        self._gives: dict[bytes, tuple[str, bytes]] = {}
        self._stream: Stream | None = None
        self._changed = trio.Event()
        for protocol in PROTOCOLS:
            network.serve(protocol, self._listen)

    @property
    def is_linked(self) -> bool:
        return any(link.peer == self.node for link in self.network.links())

    # --------------------------------------------------------------------------------------------------- saying

    async def say(self, *pieces: bytes) -> None:
        """One RPC. Raises NetworkError."""
        if self._stream is None:
            self._stream = await self.network.open_stream(self.node, MESHSUB_1_1)
        await self._stream.send_all(frame_with_length(b"".join(pieces)))

    async def carry(self, topic: str) -> None:
        """Subscribe, and ask to be in the mesh."""
        await self.say(encode_subscription(topic, True), encode_control([encode_graft(topic)]))

    async def graft(self, topic: str) -> None:
        await self.say(encode_control([encode_graft(topic)]))

    async def prune(self, topic: str, backoff: int) -> None:
        await self.say(encode_control([encode_prune(topic, backoff)]))

    async def publish(self, topic: str, *frames: bytes) -> None:
        for frame in frames:
            await self.say(encode_publish(topic, frame))

    async def want(self, topic: str, frame: bytes) -> None:
        await self.say(encode_control([encode_iwant([message_id(topic, frame)])]))

    async def speak_of(self, topic: str, frame: bytes) -> None:
        """IHAVE; and give it to whoever asks."""
        one = message_id(topic, frame)
        self._gives[one] = topic, frame
        await self.say(encode_control([encode_ihave(topic, [one])]))

    # ------------------------------------------------------------------------------------------------ listening

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Until what was heard makes it so."""
        while not condition():
            await self._changed.wait()

    async def wait_heard(self, frame: bytes) -> None:
        await self.wait(lambda: frame in self.heard)

    async def _listen(self, stream: Stream) -> None:
        if stream.peer != self.node:
            await stream.reset()
            return
        deframer = Deframer(MAX_RPC)
        while data := await stream.receive_some():
            for raw in deframer.feed(data):
                await self._read(raw)
            self._changed.set()
            self._changed = trio.Event()

    async def _read(self, raw: bytes) -> None:
        try:
            rpc = decode_rpc(raw)
        except Refused as refused:
            self.refused.append(str(refused))
            return
        for subscription in rpc.subscriptions:
            (self.subscriptions.add if subscription.subscribe else self.subscriptions.discard)(subscription.topic)
        self.heard.update(message.data for message in rpc.messages)
        self.grafts += rpc.graft
        self.prunes += rpc.prune
        known = {message_id(message.topic, message.data) for message in rpc.messages}
        new = {one for said in rpc.ihave for one in said.ids} - self.spoken_of - known
        self.spoken_of |= new
        wanted = [encode_publish(*self._gives[one]) for one in rpc.iwant if one in self._gives]
        asked = [encode_control([encode_iwant(new)])] if new and self.is_curious else []
        if wanted or asked:
            await self.say(*wanted, *asked)

    # ------------------------------------------------------------------------------------------ other protocols

    @asynccontextmanager
    async def talk(self, protocol: str) -> AsyncIterator[Conversation]:
        """A stream of values to the node. Raises NetworkError."""
        async with self.stream(protocol) as stream:
            yield Conversation(stream)

    @asynccontextmanager
    async def stream(self, protocol: str) -> AsyncIterator[Stream]:
        stream = await self.network.open_stream(self.node, protocol)
        try:
            yield stream
        finally:
            with trio.CancelScope(shield=True):
                await stream.close()


async def first_item(stream: Stream) -> bytes:
    """What comes first with a length before it. Raises Refused and NetworkError."""
    deframer = Deframer(MAX_ITEM)
    while data := await stream.receive_some():
        if items := deframer.feed(data):
            return items[0]
    raise StreamError("it ended the stream without an answer")


async def wait_end(stream: Stream) -> None:
    """Until the other side has reset or finished it."""
    try:
        while await stream.receive_some():
            pass
    except StreamError:
        return


@asynccontextmanager
async def open_probe(address: Address, serve: Mapping[str, Handler] | None = None) -> AsyncIterator[Probe]:
    """A fresh neighbour nobody has met, linked to the node at `address`. `serve`: protocols it answers from the first
    moment. Raises DialError."""
    async with open_libp2p_network(seed=secrets.token_bytes(32), listen=[]) as network:
        probe = Probe(network, address.rpartition("/p2p/")[2])
        for protocol, handler in (serve or {}).items():
            network.serve(protocol, handler)
        await network.dial(address)
        try:
            yield probe
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                try:
                    await network.hang_up(probe.node)
                except NetworkError:
                    pass
