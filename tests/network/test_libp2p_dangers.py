"""The dangers of py-libp2p 0.8.1 (node/network/README.md), one by one: that ours does not have them, and, where that is
quick to show, that the library as delivered still has. When a `stock` test fails after an upgrade, a danger is gone."""

import contextlib
import gc
import hashlib
import importlib.metadata
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p import create_identity_from_seed, new_host
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.host.ping import PingService
from libp2p.network.config import ConnectionConfig
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.network.stream.exceptions import StreamError as Libp2pStreamError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID, Mplex
from multiaddr import Multiaddr

from node.network.address import parse_address
from node.network.libp2p import NetLimits, open_libp2p_network
from node.network.libp2p_logs import ForwardOnce, route_libp2p_logs
from node.network.libp2p_ping import PING, PING_BYTES, PINGS_PER_SECOND
from node.network.memory import MemoryWorld
from node.network.seam import DialError, LinkDown, ListenError, Network, Stream, StreamError
from tests.contract.test_network import ECHO, HOLD, Held, echo, receive_exactly, wait_down, within

pytestmark = pytest.mark.live

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@asynccontextmanager
async def open_node(name: str, listen: str = LOOPBACK, **limits: Any) -> AsyncIterator[Network]:
    seed = hashlib.sha256(name.encode()).digest()
    async with open_libp2p_network(seed=seed, listen=[listen], limits=NetLimits(**limits)) as network:
        network.serve(ECHO, echo)
        yield network


@asynccontextmanager
async def open_stock(name: str, **options: Any) -> AsyncIterator[Any]:
    """A host as the library delivers it, but for its auto-connector, and closed as it should be."""
    key_pair = create_identity_from_seed(hashlib.sha256(name.encode()).digest())
    host = new_host(key_pair=key_pair, listen_addrs=[Multiaddr(LOOPBACK)], **options)
    host.get_network().auto_connector.maybe_connect = trio.lowlevel.checkpoint
    async with host.run([Multiaddr(LOOPBACK)]):
        try:
            yield host
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await host.close()


def info(of: Any) -> PeerInfo:
    """Where a stock host, or one of ours, is to be found by a stock host."""
    if hasattr(of, "get_transport_addrs"):
        return PeerInfo(of.get_id(), of.get_transport_addrs())
    return PeerInfo(ID.from_base58(of.peer_id), [Multiaddr(parse_address(of.addresses[0]).transport)])


def port_of(network: Network) -> int:
    return parse_address(network.addresses[0]).port


async def expect_alive(network: Network) -> None:
    """Carol, a stranger so far, dials and is answered."""
    async with open_node("carol") as carol:
        stream = await carol.open_stream(await carol.dial(network.addresses[0]), ECHO)
        await stream.send_all(b"alive?")
        assert await receive_exactly(stream, 6) == b"alive?"


# 1: an exception that leaves a stream handler stops the host.


@within(20)
async def test_danger_1_stock_a_raising_handler_stops_the_host() -> None:
    """One bad request, and the node is gone."""

    async def buggy(_stream: Any) -> None:
        raise ValueError("a bug of ours")

    async def mallory_calls(bob: Any, done: trio.Event) -> None:
        async with open_stock("mallory") as mallory:
            await mallory.connect(info(bob))
            await mallory.new_stream(bob.get_id(), [TProtocol("/test/buggy/1")])
            await done.wait()

    async def bobs_life() -> None:
        async with trio.open_nursery() as nursery, open_stock("bob") as bob:
            bob.set_stream_handler(TProtocol("/test/buggy/1"), buggy)
            nursery.start_soon(mallory_calls, bob, trio.Event())
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await bobs_life()
    assert caught.group_contains(ValueError, match="a bug of ours")


async def http(port: int, _bob: Network) -> None:
    await _throw(port, b"GET / HTTP/1.0\r\n\r\n")


async def noise(port: int, _bob: Network) -> None:
    await _throw(port, b"\xff" * 4096)


async def nothing(port: int, _bob: Network) -> None:
    await _throw(port, b"")


async def half_a_hello(port: int, _bob: Network) -> None:
    await _throw(port, b"\x13/multistream/1.0")


async def rubbish_as_noise(port: int, _bob: Network) -> None:
    await _throw(port, b"\x13/multistream/1.0.0\n\x07/noise\n" + b"\x00\x20" + b"z" * 32)


async def endless_line(port: int, _bob: Network) -> None:
    await _throw(port, b"\xff\xff\xff\x7f" + b"a" * 100_000)


async def not_even_text(port: int, _bob: Network) -> None:
    await _throw(port, b"\x13/multistream/1.0.0\n\x05\xff\xfe\xfd\xfc\n")


async def _throw(port: int, what: bytes) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with trio.move_on_after(0.2), suppress(trio.BrokenResourceError):  # being hung up on is an answer, too
            if what:
                await stream.send_all(what)
            while await stream.receive_some():
                pass


async def garbage_in_a_stream(_port: int, bob: Network) -> None:
    for what in (b"\x05hello" * 10, b"\xff" * 100, b"\x00", b"\x13/multistream/1.0.0\n\x05\xff\xfe\xfd\xfc\n", b""):
        async with mallory_linked_to(bob) as (mallory, bob_id):
            stream = await mallory.get_network().new_stream(bob_id)
            await stream.write(what)
            await stream.reset()


async def a_thousand_wishes(_port: int, bob: Network) -> None:
    async with mallory_linked_to(bob) as (mallory, bob_id):
        stream = await mallory.get_network().new_stream(bob_id)
        await stream.write(b"\x13/multistream/1.0.0\n" + b"\x06/nope\n" * 5000)
        with pytest.raises(Libp2pStreamError):
            await _read_for_ever(stream)


async def _read_for_ever(stream: Any) -> None:
    while True:
        await stream.read(1000)


async def libp2ps_own_protocols(_port: int, bob: Network) -> None:
    async with mallory_linked_to(bob) as (mallory, bob_id):
        for protocol in ("/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"):
            stream = await mallory.new_stream(bob_id, [TProtocol(protocol)])
            await stream.write(b"\xff" * 50)
            await stream.reset()


async def identify_push(_port: int, bob: Network) -> None:
    async with mallory_linked_to(bob) as (mallory, bob_id):
        with pytest.raises(StreamFailure):
            await mallory.new_stream(bob_id, [TProtocol("/ipfs/id/push/1.0.0")])


async def yamux_rubbish(_port: int, bob: Network) -> None:
    async with mallory_linked_to(bob) as (mallory, bob_id):
        (connection,) = mallory.get_network().get_connections(bob_id)
        await connection.muxed_conn.secured_conn.write(b"\x09" * 64)
        await connection.muxed_conn.secured_conn.write(struct.pack(">BBHII", 0, 0, 1, 101, 0xFFFFFFFF) + b"A" * 1000)


async def open_and_die(_port: int, bob: Network) -> None:
    async with mallory_linked_to(bob) as (mallory, bob_id):
        for _ in range(20):
            await mallory.get_network().new_stream(bob_id)


@asynccontextmanager
async def mallory_linked_to(bob: Network) -> AsyncIterator[tuple[Any, Any]]:
    async with open_stock("mallory") as mallory:
        where = info(bob)
        await mallory.connect(where)
        yield mallory, where.peer_id


@pytest.mark.parametrize(
    "attack",
    [
        http,
        noise,
        nothing,
        half_a_hello,
        rubbish_as_noise,
        endless_line,
        not_even_text,
        garbage_in_a_stream,
        a_thousand_wishes,
        libp2ps_own_protocols,
        identify_push,
        yamux_rubbish,
        open_and_die,
    ],
)
@within(30)
async def test_danger_1_hostile_bytes_at_any_stage(attack: Callable[[int, Network], Awaitable[None]]) -> None:
    """Whatever Mallory sends, and however far she got before, Bob still answers Carol."""
    async with open_node("bob") as bob:
        await attack(port_of(bob), bob)
        await expect_alive(bob)


@within(20)
async def test_danger_1_the_barrier_is_around_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a failure in our own answering code stays behind the barrier, counted."""

    async def broken(*_: Any) -> str:
        raise RuntimeError("a bug before any handler")

    async with open_node("bob") as bob, open_node("alice") as alice:
        await alice.dial(bob.addresses[0])
        with monkeypatch.context() as patch:
            patch.setattr("node.network.libp2p_network.agree_on", broken)
            with pytest.raises(StreamError):
                await alice.open_stream(bob.peer_id, ECHO)
        assert bob.statistics()["streams_failed"] == 1
        await expect_alive(bob)


# 2: plaintext is accepted, mplex hangs.


async def _offers(port: int, protocol: str) -> bool:
    wish = protocol.encode() + b"\n"
    hello = b"\x13/multistream/1.0.0\n"
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(hello + bytes([len(wish)]) + wish)
        answer = b""
        while len(answer) < len(hello) + 4:
            answer += await stream.receive_some()
        return answer != hello + b"\x03na\n"


@within(20)
async def test_danger_2_stock_accepts_plaintext() -> None:
    """Anybody can pose as anybody."""
    async with open_stock("bob") as bob:
        port = int(bob.get_transport_addrs()[0].value_for_protocol("tcp"))
        assert await _offers(port, "/plaintext/2.0.0")


@within(20)
async def test_danger_2_noise_only_and_yamux_only() -> None:
    async with open_node("bob") as bob:
        port = port_of(bob)
        assert await _offers(port, "/noise")
        for unsafe in ("/plaintext/2.0.0", "/secio/1.0.0", "/tls/1.0.0"):
            assert not await _offers(port, unsafe)
        async with open_stock("mallory", muxer_opt={TProtocol(MPLEX_PROTOCOL_ID): Mplex}) as mallory:
            with pytest.raises(SwarmException):
                await mallory.connect(info(bob))
        assert bob.links() == ()
        assert bob.statistics()["handshakes_failed"] > 0


# 3: inbound slots are never given back.


@within(30)
async def test_danger_3_stock_goes_deaf() -> None:
    """With four slots, the fifth inbound connection of a lifetime is refused, though nobody is connected."""
    few = ConnectionConfig(min_connections=0, low_watermark=0, high_watermark=4, max_connections=4)
    async with open_stock("bob", connection_config=few) as bob, open_node("alice") as alice:
        address = f"{bob.get_transport_addrs()[0]}/p2p/{bob.get_id()}"
        for _ in range(4):
            await alice.dial(address)
            await alice.hang_up(str(bob.get_id()))
        with pytest.raises(DialError):
            await alice.dial(address)


async def _visit(bob: Network, name: str, times: int) -> None:
    async with open_node(name) as visitor, bob.watch_links() as watcher:
        for _ in range(times):
            await visitor.dial(bob.addresses[0])
            await visitor.hang_up(bob.peer_id)
            await wait_down(watcher, visitor.peer_id)


@within(30)
async def test_danger_3_slots_are_given_back() -> None:
    """Four places at a time are enough for any number of visitors one after the other."""
    async with open_node("bob", connections=4, handshakes=4) as bob:
        await _visit(bob, "alice", 20)
        assert bob.statistics()["connections_accepted"] == 20
        assert bob.statistics().get("connections_refused", 0) == 0


@pytest.mark.slow
@within(120)
async def test_danger_3_six_hundred_visitors() -> None:
    """The default limits, past the 250 at which the library goes deaf."""
    async with open_node("bob") as bob:
        async with trio.open_nursery() as nursery:
            for name in ("alice", "carol", "dave"):
                nursery.start_soon(_visit, bob, name, 200)
        assert bob.statistics()["connections_accepted"] == 600
        await expect_alive(bob)


# 4: a failed dial blocks a peer for 60 s; every dial costs 250 ms; the library dials by itself.


@within(20)
async def test_danger_4_stock_blocks_a_peer_it_could_not_reach() -> None:
    async with open_stock("alice") as alice, open_stock("bob") as bob:
        where = info(bob)
        dead = PeerInfo(where.peer_id, [Multiaddr("/ip4/127.0.0.1/tcp/9")])
        with pytest.raises(SwarmException):
            await alice.connect(dead)
        with pytest.raises(SwarmException, match="negative cache"):
            await alice.connect(where)


@within(20)
async def test_danger_4_bob_can_be_dialled_as_soon_as_he_is_back() -> None:
    """And a dial costs what its round trips cost: the best of five stays far below the library's 250 ms."""
    async with open_node("alice") as alice:
        async with open_node("bob") as bob:
            address = bob.addresses[0]
        for _ in range(3):
            with pytest.raises(DialError, match="Connection refused"):
                await alice.dial(address)
        times = []
        async with open_node("bob", parse_address(address).transport) as bob:
            for _ in range(5):
                started = trio.current_time()
                await alice.dial(address)
                times.append(trio.current_time() - started)
                await alice.hang_up(bob.peer_id)
        assert min(times) < 0.2


@within(20)
async def test_danger_4_a_silent_listener_costs_a_dial_its_deadline_and_no_more() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0], open_node("alice", dial_seconds=0.3) as alice, open_node("bob") as bob:
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(DialError, match=r"within 0\.3 s"):
            await alice.dial(f"/ip4/127.0.0.1/tcp/{port}/p2p/{bob.peer_id}")
        with trio.move_on_after(0.05) as scope:
            await alice.dial(f"/ip4/127.0.0.1/tcp/{port}/p2p/{bob.peer_id}")
        assert scope.cancelled_caught
        assert await alice.dial(bob.addresses[0]) == bob.peer_id


# 5: a frozen peer stays for ever.


class Proxy:
    """TCP between Alice and Bob that can stop carrying, as a router that forgot a mapping does."""

    def __init__(self, goal: int) -> None:
        self._goal = goal
        self.frozen = False
        self.port = 0

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._carry, [listener])

    async def _carry(self, near: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", self._goal) as far, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, near, far, nursery.cancel_scope)
            nursery.start_soon(self._pump, far, near, nursery.cancel_scope)

    async def _pump(self, source: trio.SocketStream, goal: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some():
                if self.frozen:
                    await trio.sleep_forever()
                await goal.send_all(data)
        except trio.BrokenResourceError:
            pass
        scope.cancel()


@within(20)
async def test_danger_5_a_frozen_peer_is_dropped() -> None:
    """Alice notices by herself that Bob's side has gone silent, and the link breaks with all its streams."""
    async with (
        open_node("alice", health_seconds=0.2, ping_seconds=0.3) as alice,
        open_node("bob") as bob,
        trio.open_nursery() as nursery,
        alice.watch_links() as watcher,
    ):
        await nursery.start((proxy := Proxy(port_of(bob))).run)
        await alice.dial(f"/ip4/127.0.0.1/tcp/{proxy.port}/p2p/{bob.peer_id}")
        stream = await alice.open_stream(bob.peer_id, ECHO)
        await stream.send_all(b"x")
        assert await receive_exactly(stream, 1) == b"x"
        proxy.frozen = True
        await wait_down(watcher, bob.peer_id)
        with pytest.raises(StreamError):
            await stream.receive_some()
        assert alice.statistics()["links_silent"] == 1
        await alice.dial(bob.addresses[0])
        nursery.cancel_scope.cancel()


@within(20)
async def test_danger_5_an_idle_but_living_peer_is_kept() -> None:
    async with open_node("alice", health_seconds=0.05, ping_seconds=5) as alice, open_node("bob") as bob:
        await alice.dial(bob.addresses[0])
        async with alice.watch_links() as watcher:
            await watcher.receive()
            heard = bob.statistics()["bytes_received"]
            with trio.move_on_after(0.6) as scope:  # a dozen questions
                await watcher.receive()
            assert scope.cancelled_caught, "the link went down though Bob answers"
        assert bob.statistics()["bytes_received"] > heard + 100, "Alice did ask"


# 6: without close(), tasks and sockets are left; errors leave in nested groups.


def _tasks() -> list[str]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found, todo = [], [root]
    while todo:
        for nursery in todo.pop().child_nurseries:
            found += [task.name for task in nursery.child_tasks]
            todo += nursery.child_tasks
    return sorted(found)


def _descriptors() -> list[str]:
    gc.collect()
    found = []
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listdir itself had open
            found.append(os.readlink(f"/proc/self/fd/{each}"))
    return sorted(found)


@within(30)
async def test_danger_6_nothing_is_left_after_closing() -> None:
    """Links, streams, running handlers, a dial under way: closing ends them all, twice over."""
    tasks, descriptors = _tasks(), _descriptors()
    for _ in range(2):
        async with open_node("alice") as alice, open_node("bob") as bob, open_node("carol") as carol:
            bob.serve(HOLD, held := Held())
            carol.serve(HOLD, Held())
            for other in (bob, carol):
                await alice.dial(other.addresses[0])
                for _ in range(3):
                    await alice.open_stream(other.peer_id, HOLD)
            await held.next()
            await alice.hang_up(carol.peer_id)
            assert len(_tasks()) > len(tasks)
        assert _tasks() == tasks
        assert _descriptors() == descriptors


@within(20)
async def test_danger_6_also_when_cancelled_or_failed() -> None:
    tasks, descriptors = _tasks(), _descriptors()
    with trio.move_on_after(0.1) as scope:
        async with open_node("alice") as alice, open_node("bob") as bob:
            await alice.dial(bob.addresses[0])
            await trio.sleep_forever()
    assert scope.cancelled_caught

    async def fail() -> None:
        async with open_node("alice") as alice, open_node("bob") as bob:
            await alice.dial(bob.addresses[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert (_tasks(), _descriptors()) == (tasks, descriptors)


@within(20)
async def test_danger_6_closing_is_parallel_and_bounded() -> None:
    """The library takes 0.2 s for each link, one after the other."""
    async with open_node("hub") as hub:
        async with open_node("alice") as alice:
            async with trio.open_nursery() as nursery:
                for number in range(12):
                    nursery.start_soon(_dial_and_stay, alice.addresses[0], f"leaf {number}", hub)
                async with alice.watch_links() as watcher:
                    for _ in range(12):
                        await watcher.receive()
                started = trio.current_time()
                nursery.cancel_scope.cancel()
        assert trio.current_time() - started < 2.0


async def _dial_and_stay(address: str, name: str, _hub: Network) -> None:
    async with open_node(name) as leaf:
        await leaf.dial(address)
        await trio.sleep_forever()


# 7: a busy port is shared silently, a failed listen does not raise, 0.0.0.0 is advertised.


@within(20)
async def test_danger_7_stock_shares_a_busy_port() -> None:
    async with open_stock("alice") as alice:
        taken = alice.get_transport_addrs()[0]
        host = new_host(listen_addrs=[taken])
        async with host.run([taken]):
            assert host.get_transport_addrs() == [taken]
            await host.close()


@within(20)
async def test_danger_7_a_busy_port_is_an_error_that_says_what_to_do() -> None:
    async with open_stock("alice") as stock, open_node("bob") as bob:
        ports = [int(stock.get_transport_addrs()[0].value_for_protocol("tcp")), port_of(bob)]
        for port in ports:
            carol = open_libp2p_network(seed=b"c" * 32, listen=[LOOPBACK, f"/ip4/127.0.0.1/tcp/{port}"])
            with pytest.raises(ListenError, match=f"port {port} is in use; stop the other program or choose another"):
                await carol.__aenter__()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/ip4/192.0.2.77/tcp/0", "not an address of this machine"),
        ("/dns4/localhost/tcp/0", "give an IP address"),
        ("/ip4/127.0.0.1/udp/0/quic-v1", "is not like"),
        ("localhost:4001", "is not like"),
    ],
)
@within(20)
async def test_danger_7_a_failed_listen_raises(address: str, says: str) -> None:
    descriptors = _descriptors()
    with pytest.raises(ListenError, match=says):
        await open_libp2p_network(seed=b"a" * 32, listen=[LOOPBACK, address]).__aenter__()
    assert _descriptors() == descriptors


@within(20)
async def test_danger_7_nobody_is_told_0000() -> None:
    """Neither by us nor by identify; announced addresses replace all others; without a listener there are none."""
    seed = b"a" * 32
    async with open_libp2p_network(seed=seed, listen=["/ip4/0.0.0.0/tcp/0"]) as everywhere:
        (address,) = everywhere.addresses
        assert not parse_address(address).is_unspecified
        assert port_of(everywhere) > 0
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(everywhere))
        await stream.aclose()
    announced = "/dns4/vendor.example/tcp/4001"
    async with open_libp2p_network(seed=seed, listen=["/ip4/0.0.0.0/tcp/0"], announce=[announced]) as behind_a_router:
        assert behind_a_router.addresses == (f"{announced}/p2p/{behind_a_router.peer_id}",)
    async with open_libp2p_network(seed=seed, listen=[]) as dialler, open_node("bob") as bob:
        assert dialler.addresses == ()
        assert await dialler.dial(bob.addresses[0]) == bob.peer_id


# 8: names are looked up past the hosts file.


@within(20)
@pytest.mark.parametrize("kind", ["dns", "dns4"])
async def test_danger_8_names_are_looked_up_as_this_machine_does(kind: str) -> None:
    async with open_node("alice") as alice, open_node("bob") as bob:
        await alice.dial(f"/{kind}/localhost/tcp/{port_of(bob)}/p2p/{bob.peer_id}")
        assert alice.links()[0].remote == f"/ip4/127.0.0.1/tcp/{port_of(bob)}"


@within(20)
async def test_danger_8_an_unknown_name_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_found(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with open_node("alice") as alice:
        monkeypatch.setattr(trio.socket, "getaddrinfo", not_found)
        with pytest.raises(DialError, match=r"cannot find no-such-host\.invalid"):
            await alice.dial(f"/dns4/no-such-host.invalid/tcp/4001/p2p/{MemoryWorld.peer_id('bob')}")


# 9: idle connections of one address block new peers.


@within(20)
async def test_danger_9_one_address_cannot_take_all_handshakes() -> None:
    """Mallory, at 127.0.0.2, opens connections and says nothing: from the third on she is refused, and Carol, at
    127.0.0.1, is served. When hers time out, she has her two again."""
    async with open_node("bob", handshakes_per_address=2, cap_private_addresses=True, handshake_seconds=1.0) as bob:
        idle = [await trio.open_tcp_stream("127.0.0.1", port_of(bob), local_address="127.0.0.2") for _ in range(10)]
        for refused in idle[2:]:
            assert await refused.receive_some() == b""
        assert bob.statistics()["connections_refused"] == 8
        await expect_alive(bob)
        for timed_out in idle[:2]:
            while await timed_out.receive_some():
                pass
        assert bob.statistics()["handshakes_failed"] >= 2
        for each in idle:
            await each.aclose()


# 10: the workarounds are for one version.


def test_danger_10_the_version_is_the_one_we_know() -> None:
    assert importlib.metadata.version("libp2p") == "0.8.1"


# 11: logging.


def test_danger_11_each_kind_of_error_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Ten thousand lines become one; the next, a minute later, says how many there were. Routing again duplicates
    nothing, and what is below ERROR, or comes over the root logger, does not come at all."""
    now = 1000.0
    for _ in range(3):
        route_libp2p_logs(clock=lambda: now)
    swarm = logging.getLogger("libp2p.network.swarm")
    with caplog.at_level(logging.DEBUG):
        for number in range(10_000):
            swarm.error("dial %d failed", number)
            swarm.warning("not worth a line")
        now += 61
        for _ in range(2):
            swarm.error("something else went wrong")
        assert [record.getMessage() for record in caplog.records] == [
            "libp2p.network.swarm: dial 0 failed",
            "libp2p.network.swarm: something else went wrong",
        ]
        assert {record.name for record in caplog.records} == {"node.network.libp2p.library"}
        assert len(logging.getLogger("libp2p").handlers) == 1


def test_danger_11_the_next_report_says_how_many_were_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    handler = ForwardOnce(clock=lambda: now)
    record = logging.LogRecord("libp2p.x", logging.ERROR, "x.py", 7, "again", None, None)
    for _ in range(5):
        handler.handle(record)
    now = 60.0
    handler.handle(record)
    assert [each.getMessage() for each in caplog.records] == [
        "libp2p.x: again",
        "libp2p.x: again (4 more like this were not shown)",
    ]


@within(20)
async def test_danger_11_a_busy_day_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """Links that come, fail and go write nothing on the terminal."""
    async with open_node("alice") as alice, open_node("bob") as bob:
        await alice.dial(bob.addresses[0])
        with pytest.raises(StreamError):
            await alice.open_stream(bob.peer_id, "/test/unknown/1")
        await _throw(port_of(bob), b"\xff" * 100)
        with pytest.raises(DialError):
            await alice.dial(f"/ip4/127.0.0.1/tcp/9/p2p/{MemoryWorld.peer_id('nobody')}")
    assert capfd.readouterr() == ("", "")


# 14: pings.


@within(20)
async def test_danger_14_stock_remembers_whoever_pinged() -> None:
    async with open_stock("bob") as bob:
        service = PingService(bob)
        stream = NoMorePings("alice")
        await service.handle_ping(stream)
        assert service._inbound_streams == {"alice": set()}


class NoMorePings:
    """The stock service's side of a stream that has ended."""

    def __init__(self, peer: str) -> None:
        self.muxed_conn = SimpleNamespace(peer_id=peer)

    async def read(self, _most: int | None = None) -> bytes:
        raise StreamEOF

    async def close(self) -> None:
        """Nothing to be told."""


@within(20)
async def test_danger_14_a_stock_peer_pings_and_is_answered() -> None:
    async with open_node("bob") as bob, mallory_linked_to(bob) as (alice, bob_id):
        assert len(await PingService(alice).ping(bob_id, 5)) == 5
        assert bob.statistics().get("pings_held_back", 0) == 0


@within(20)
async def test_danger_14_a_burst_of_pings_does_not_keep_others_waiting() -> None:
    """Mallory says two thousand pings at once. Whatever else runs in Bob's process has its turn after a few."""
    async with open_node("bob") as bob, open_node("mallory") as mallory:
        stream = await mallory.open_stream(await mallory.dial(bob.addresses[0]), PING)
        begin = seen = bob.statistics()["bytes_sent"]
        most = 0
        await stream.send_all(bytes(2_000 * PING_BYTES))
        while "pings_held_back" not in bob.statistics():
            await trio.lowlevel.checkpoint()
            seen, most = bob.statistics()["bytes_sent"], max(most, bob.statistics()["bytes_sent"] - seen)
            assert seen - begin < 2_000 * PING_BYTES, "all were answered, and none later than the others"
        assert most < 2 * PINGS_PER_SECOND * PING_BYTES


# What else we found, and closed.


async def _survives_a_write_cancelled_after(steps: int) -> bool:
    async with open_stock("alice") as alice, open_node("bob") as bob:
        await alice.connect(info(bob))
        other, stream = [await alice.new_stream(info(bob).peer_id, [TProtocol(ECHO)]) for _ in range(2)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, b"x" * 2000)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        with trio.move_on_after(1), contextlib.suppress(Libp2pStreamError):
            await other.write(b"hello")
            return bool(await other.read(5) == b"hello")
        return False


@within(30)
async def test_stock_a_cancelled_write_breaks_the_connection() -> None:
    """Cancelled at the wrong step, one task's write ends the streams of all others on that connection."""
    for steps in range(3, 10):
        if not await _survives_a_write_cancelled_after(steps):
            return
    pytest.fail("the library has learnt to be cancelled")


@within(30)
async def test_cancelling_a_write_at_any_step_keeps_the_link() -> None:
    """In the library, a task cancelled between Noise's count and the socket breaks the connection for everybody."""
    async with open_node("alice") as alice, open_node("bob") as bob:
        await alice.dial(bob.addresses[0])
        other = await alice.open_stream(bob.peer_id, ECHO)
        for steps in range(16):
            stream = await alice.open_stream(bob.peer_id, ECHO)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, b"x" * 2000)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            await stream.reset()
            await other.send_all(b"hello")
            assert await receive_exactly(other, 5) == b"hello"
        assert alice.statistics()["connections_dialled"] == 1


@within(30)
async def test_cancelling_an_opening_at_any_step_keeps_the_link() -> None:
    async with open_node("alice") as alice, open_node("bob") as bob:
        await alice.dial(bob.addresses[0])
        for steps in range(40):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.open_stream, bob.peer_id, ECHO)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        stream = await alice.open_stream(bob.peer_id, ECHO)
        await stream.send_all(b"hello")
        assert await receive_exactly(stream, 5) == b"hello"
        assert alice.statistics()["connections_dialled"] == 1


@within(20)
async def test_a_peer_that_overruns_its_window_is_dropped() -> None:
    """libp2p's yamux only warns. Mallory sends two megabytes on a stream that Bob's handler does not read."""
    async with open_node("bob") as bob, open_node("mallory") as mallory, bob.watch_links() as watcher:
        bob.serve(HOLD, held := Held())
        await mallory.dial(bob.addresses[0])
        stream: Any = await mallory.open_stream(bob.peer_id, HOLD)
        await held.next()
        stream.send_window = 10_000_000  # the credit she gives herself
        with pytest.raises(StreamError):
            await stream.send_all(bytes(5_000_000))
        await wait_down(watcher, mallory.peer_id)
        assert bob.statistics()["windows_overrun"] == 1
        await expect_alive(bob)


@within(20)
async def test_a_third_connection_ends_the_first() -> None:
    """A peer that lost its links without our noticing comes back at once; one that hoards connections has two."""
    async with open_node("bob") as bob, open_stock("mallory") as mallory:
        where = info(bob)
        for _ in range(5):
            await mallory.get_network().dial_addr(where.addrs[0], where.peer_id)
        assert bob.statistics()["connections"] <= 3  # the superfluous one may still be on its way out
        assert len(bob.links()) == 1
        async with bob.watch_links() as watcher:
            await watcher.receive()
            with pytest.raises(trio.WouldBlock):
                watcher.receive_nowait()


@within(20)
async def test_a_stock_host_is_understood() -> None:
    """Both ways: it opens streams to ours, and ours to it; identify and ping are answered."""
    async with open_node("bob") as bob, open_stock("alice") as alice:

        async def shout(stream: Any) -> None:
            await stream.write((await stream.read(100)).upper())
            await stream.close()

        alice.set_stream_handler(TProtocol("/test/shout/1"), shout)
        await alice.connect(info(bob))
        stream = await alice.new_stream(info(bob).peer_id, [TProtocol("/test/none/1"), TProtocol(ECHO)])
        await stream.write(b"hello")
        assert await stream.read(100) == b"hello"
        back = await bob.open_stream(str(alice.get_id()), "/test/shout/1")
        await back.send_all(b"loud")
        assert await receive_exactly(back, 4) == b"LOUD"
        assert await back.receive_some() == b""
        ping = await alice.new_stream(info(bob).peer_id, [TProtocol("/ipfs/ping/1.0.0")])
        await ping.write(b"p" * 32)
        assert await ping.read(32) == b"p" * 32


@within(20)
async def test_streams_are_capped_per_peer() -> None:
    async with open_node("bob", streams_per_peer=3) as bob, open_node("mallory") as mallory:
        bob.serve(HOLD, held := Held())
        await mallory.dial(bob.addresses[0])
        for _ in range(3):
            await mallory.open_stream(bob.peer_id, HOLD)
            await held.next()
        with pytest.raises(StreamError):
            await mallory.open_stream(bob.peer_id, HOLD)
        assert bob.statistics()["streams_refused"] == 1


@within(20)
async def test_connections_are_capped() -> None:
    """The one too many is refused before its handshake; our own dials respect the same limit."""
    async with (
        open_node("bob", connections=1) as bob,
        open_node("alice") as alice,
        open_node("mallory") as mallory,
        bob.watch_links() as watcher,
    ):
        await alice.dial(bob.addresses[0])
        await watcher.receive()
        with pytest.raises(DialError):
            await mallory.dial(bob.addresses[0])
        with pytest.raises(DialError, match="no more are allowed"):
            await bob.dial(mallory.addresses[0])
        await alice.hang_up(bob.peer_id)
        assert await watcher.receive() == LinkDown(alice.peer_id)
        await mallory.dial(bob.addresses[0])


@within(20)
async def test_a_stream_left_half_open_is_reset_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bob's handler is done but Mallory never finishes: after the linger the stream is gone on both sides."""
    monkeypatch.setattr("node.network.libp2p_stream.LINGER_SECONDS", 0.2)

    async def curt(stream: Stream) -> None:
        await stream.send_all(b"bye")

    async with open_node("bob") as bob, open_node("mallory") as mallory:
        bob.serve(HOLD, curt)
        stream = await mallory.open_stream(await mallory.dial(bob.addresses[0]), HOLD)
        assert await receive_exactly(stream, 3) == b"bye"
        assert await stream.receive_some() == b""
        with pytest.raises(StreamError):
            await _send_for_ever(stream)


async def _send_for_ever(stream: Stream) -> None:
    while True:
        await stream.send_all(b"more")


@within(20)
async def test_strangers_do_not_take_our_own_dials() -> None:
    """Of ten places eight are open to others: when Mallory has them, Bob can still dial whom he chooses."""
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(open_node("bob", connections=10))
        alice = await stack.enter_async_context(open_node("alice"))
        for number in range(9):
            mallory = await stack.enter_async_context(open_node(f"mallory {number}"))
            if number < 8:
                await mallory.dial(bob.addresses[0])
                continue
            with pytest.raises(DialError):
                await mallory.dial(bob.addresses[0])
        await bob.dial(alice.addresses[0])
        assert bob.statistics()["connections"] == 9


@pytest.mark.parametrize("limit", ["inbound_per_address", "inbound_per_subnet"])
@within(20)
async def test_one_address_cannot_take_all_links(limit: str) -> None:
    """Mallory, at one address or one landlord's, gets so many links and no more; what Bob dials himself does not
    count. Of addresses that are not public nothing is asked, unless a test wants it."""
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(open_node("bob", cap_private_addresses=True, **{limit: 2}))
        neighbour = await stack.enter_async_context(open_node("carol"))
        friendly = await stack.enter_async_context(open_node("dave", **{limit: 2}))
        await bob.dial(neighbour.addresses[0])
        for number in range(3):
            mallory = await stack.enter_async_context(open_node(f"mallory {number}"))
            await mallory.dial(friendly.addresses[0])
            if number < 2:
                await mallory.dial(bob.addresses[0])
                continue
            with pytest.raises(DialError):
                await mallory.dial(bob.addresses[0])
        assert bob.statistics()["connections_refused"] == 1
