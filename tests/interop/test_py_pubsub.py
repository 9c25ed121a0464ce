"""py-libp2p's own Pubsub against our node: negotiation, subscriptions, and that both live on.

It cannot send a message without `from`, so ours cannot believe it: what it says is rejected and counted.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p import create_identity_from_seed, new_host
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11, PROTOCOL_ID_V12, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from protocol.gossip import Params
from tests.driver import Neighbour, open_real_town, seed_of, wait_until
from tests.interop.js import within
from tests.interop.people import HANGS, TOPIC, router, wish_of

pytestmark = pytest.mark.live


class Pip:
    """A host of py-libp2p with its own pubsub, subscribed to `mobility`."""

    def __init__(self, host: Any, gossip: GossipSub, pubsub: Pubsub) -> None:
        self.host, self.gossip, self.pubsub = host, gossip, pubsub

    @property
    def peer_id(self) -> str:
        return str(self.host.get_id())

    async def dial(self, alice: Neighbour) -> None:
        await self.host.connect(info_from_p2p_addr(Multiaddr(alice.address)))


@asynccontextmanager
async def open_pip(*protocols: TProtocol) -> AsyncIterator[Pip]:
    key_pair = create_identity_from_seed(seed_of("Pip"))
    host = new_host(
        key_pair=key_pair,
        sec_opt={NOISE: Noise(key_pair, noise_privkey=create_new_key_pair().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
    )
    gossip = GossipSub(
        protocols=list(protocols),
        degree=6,
        degree_low=4,
        degree_high=12,
        heartbeat_interval=1,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
    )
    pubsub = Pubsub(host, gossip)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        async with background_trio_service(pubsub), background_trio_service(gossip):
            await pubsub.wait_until_ready()
            await pubsub.subscribe(TOPIC)
            try:
                yield Pip(host, gossip, pubsub)
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 3):
                    await host.close()


@pytest.mark.parametrize(
    "offers",
    [(PROTOCOL_ID_V12, PROTOCOL_ID_V11, PROTOCOL_ID), (PROTOCOL_ID_V11,), (PROTOCOL_ID,)],
    ids=["1.2 first", "1.1", "1.0"],
)
@within(HANGS)
async def test_they_agree_on_a_version_and_know_each_others_topics(offers: tuple[TProtocol, ...]) -> None:
    """Whatever of 1.2, 1.1 and 1.0 Pip offers, both settle on the best that Alice speaks too, and know each other's
    topics."""
    async with open_real_town() as town, open_pip(*offers) as pip:
        alice = await town.open("Alice", divisions=("mobility",), params=Params(heartbeat_interval=0.2))
        await pip.dial(alice)
        await wait_until(alice, lambda node: pip.peer_id in node.gossip.subscribers("mobility"))
        (peer,) = [peer for peer in pip.gossip.peer_protocol if str(peer) == alice.peer_id]
        await pip.pubsub.wait_for_subscription(peer, TOPIC)
        best = next(each for each in offers if each != PROTOCOL_ID_V12)
        assert pip.gossip.peer_protocol[peer] == best


@within(HANGS)
async def test_what_pip_says_is_rejected_and_both_live_on() -> None:
    """A good wish of Carol's, sent on by Pip with his own name on it: Alice rejects and counts it, puts Pip out of the
    mesh and believes nothing. What she says meanwhile he cannot take either. The link lives, and so do both."""
    async with open_real_town() as town, open_pip(PROTOCOL_ID_V11) as pip:
        alice = await town.open("Alice", divisions=("mobility",), params=Params(heartbeat_interval=0.2))
        await pip.dial(alice)
        await wait_until(alice, lambda node: pip.peer_id in node.gossip.subscribers("mobility"))
        await wait_until(alice, lambda node: router(node).mesh_sizes[TOPIC] == 1)
        told = wish_of("Carol")
        await pip.pubsub.publish(TOPIC, told.frame)
        await wait_until(alice, lambda node: router(node).counters.get("message.rejected.rpc_signed") == 1)
        await wait_until(alice, lambda node: router(node).mesh_sizes[TOPIC] == 0)
        assert len(alice.node.board) == 0
        alice.node.gossip.publish("mobility", told.frame)

        bob = await town.open("Bob", join=(alice,), divisions=("mobility",), params=Params(heartbeat_interval=0.2))
        await wait_until(alice, lambda node: bob.peer_id in node.gossip.subscribers("mobility"))
        alice.node.gossip.publish("mobility", told.frame)  # what was said before, a slow start misses
        await wait_until(bob, lambda node: node.board.get(told.id) is not None)
        await pip.pubsub.unsubscribe(TOPIC)
        await wait_until(alice, lambda node: node.gossip.subscribers("mobility") == (bob.peer_id,))
        await pip.pubsub.subscribe(TOPIC)
        await wait_until(alice, lambda node: pip.peer_id in node.gossip.subscribers("mobility"))
        alice.node.gossip.leave("mobility")
        (peer,) = [peer for peer in pip.gossip.peer_protocol if str(peer) == alice.peer_id]
        await wait_until(alice, lambda _node: peer not in pip.pubsub.peer_topics.get(TOPIC, ()))
        assert {link.peer for link in alice.node.network.links()} == {pip.peer_id, bob.peer_id}
