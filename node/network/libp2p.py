"""The network over libp2p: Noise over TCP, yamux for streams, and none of its defaults (README.md lists the dangers).

libp2p does the handshakes and the answers to identify. Ours are TCP (`libp2p_tcp.py`), muxing (`libp2p_yamux.py`), the
life of a connection (`libp2p_connections.py`), which protocol a stream speaks (`libp2p_negotiate.py`), what streams
promise (`libp2p_stream.py`), the answers to ping (`libp2p_ping.py`) and the seam itself (`libp2p_network.py`).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p import create_identity_from_seed, new_host
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from multiaddr import Multiaddr
from nacl.signing import SigningKey

from node.network.address import TcpAddress, parse_address
from node.network.groups import raise_single
from node.network.libp2p_limits import NetLimits
from node.network.libp2p_logs import route_libp2p_logs
from node.network.libp2p_network import Libp2pNetwork
from node.network.libp2p_tcp import bound, open_listeners, reachable
from node.network.seam import Address, ListenError, Network
from protocol.keys import peer_id

__all__ = ["NetLimits", "open_libp2p_network"]


@asynccontextmanager
async def open_libp2p_network(
    *,
    seed: bytes,
    listen: Sequence[Address],
    announce: Sequence[Address] = (),
    limits: NetLimits | None = None,
) -> AsyncIterator[Network]:
    """A node's door to the real world.

    `seed` is the 32-byte Ed25519 seed of the transport identity. `listen` holds addresses with an IP and a port (0
    finds a free one); with none, the node only dials. `announce` holds the addresses others should use, when they
    differ: behind a router, or with a name. Raises ListenError. Afterwards no task, socket or descriptor is left.
    """
    if len(seed) != 32:
        raise ValueError("a seed has 32 bytes")
    limits = limits or NetLimits()
    route_libp2p_logs()
    try:
        wanted = [parse_address(each) for each in listen]
        announced = [parse_address(each) for each in announce]
    except ValueError as error:
        raise ListenError(str(error)) from None
    ours = peer_id(bytes(SigningKey(seed).verify_key))
    for each in announced:
        if each.peer not in (None, ours) or each.port == 0 or each.is_unspecified:
            raise ListenError(f"{each} cannot be announced: it leads others nowhere, or to another peer")
    listeners = await open_listeners(wanted)
    failure: Exception | None = None
    try:
        told = announced or list(dict.fromkeys(reachable(bound(each)) for each in listeners))
        host, noise = _make_host(seed, told)
        addresses = tuple(f"{each.transport}/p2p/{ours}" for each in told)
        async with trio.open_nursery() as nursery:
            network = Libp2pNetwork(host, noise, nursery, addresses, limits)
            accepting = trio.CancelScope()
            if listeners:
                nursery.start_soon(_accept_from, listeners, network.accept, nursery, accepting)
            try:
                yield network
            except Exception as error:  # kept out of the group that the nursery would wrap around it
                failure = error
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.close_seconds):
                    accepting.cancel()
                    await network.close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise_single(group)
    finally:
        for listener in listeners:
            listener.socket.close()
    if failure is not None:
        raise failure


async def _accept_from(
    listeners: list[trio.SocketListener],
    accept: Callable[[trio.SocketStream], Awaitable[None]],
    nursery: trio.Nursery,
    scope: trio.CancelScope,
) -> None:
    with scope:
        await trio.serve_listeners(accept, listeners, handler_nursery=nursery)


def _make_host(seed: bytes, told: Sequence[TcpAddress]) -> tuple[Any, Any]:
    """The host, for what it answers about us (it never runs, dials or listens), and its Noise."""
    key_pair = create_identity_from_seed(seed)
    noise = Noise(key_pair, noise_privkey=create_noise_key_pair().private_key)
    host = new_host(
        key_pair=key_pair,
        sec_opt={NOISE: noise},
        announce_addrs=[Multiaddr(each.transport) for each in told],
        disable_identify_address_discovery=True,
    )
    host.remove_stream_handler(ID_PUSH)  # what strangers say about themselves is not stored
    return host, noise
