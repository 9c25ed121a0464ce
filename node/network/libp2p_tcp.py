"""TCP under libp2p is ours: listening, dialling, and the pipe that libp2p reads from and writes to.

libp2p's own TCP shares a busy port without a word, hides a failed listen, keeps an inbound slot for ever, waits 250 ms
in every dial, and breaks a whole connection when a writing task is cancelled: Noise has already counted the frame that
then never leaves. Here a write hands its bytes to the kernel at once, and what that does not take to a task of the
connection: it cannot be cancelled half-way.
"""

import errno
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import ExitStack

import trio
from libp2p.io.exceptions import ConnectionClosedError

from node.network.address import TcpAddress
from node.network.seam import DialError, ListenError

READ_BYTES = 65_536  # one Noise message with its length needs one system call instead of two
BUFFER_BYTES = 131_072  # unsent bytes beyond which writers wait: two full Noise messages
MOST_BYTES = 4 * BUFFER_BYTES  # beyond it only answers that nobody waits with can lead
STALL_SECONDS = 20.0  # a peer whose socket takes nothing for so long is gone
_RESOLVED_TRIES = 4  # addresses of one name that a dial tries in turn


class Pipe:
    """One TCP connection, shaped like libp2p's ReadWriteCloser for its handshake. `run` must be running.

    The socket is taken out of trio's wrapper and waited for by trio's lowlevel calls: the wrapper asks the kernel
    before it waits and yields after it got something, which doubles what a small message costs.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._remote = host, port = peer_of(stream)
        self.remote = f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}"
        """As a multiaddr without /p2p."""
        self.peer = self.remote  # until it has proved who it is
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)
        self._descriptor = self._socket.fileno()
        self._incoming = b""
        self._outgoing = bytearray()
        self._closed = False
        self._changed = trio.lowlevel.ParkingLot()
        self.bytes_received = 0
        self.bytes_sent = 0

    async def run(self) -> None:
        """Send what the kernel did not take at once, until the connection ends."""
        try:
            while not self._closed:
                if not self._outgoing:
                    await self._changed.park()
                    continue
                with trio.fail_after(STALL_SECONDS):
                    await trio.lowlevel.wait_writable(self._descriptor)
                self._send_some()
        except (trio.TooSlowError, trio.ClosedResourceError):
            pass
        finally:
            self.abort()

    def _send_some(self) -> None:
        try:
            sent = self._socket.send(self._outgoing)
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        self.bytes_sent += sent
        del self._outgoing[:sent]
        self._changed.unpark_all()

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def is_full(self) -> bool:
        """So much waits for the kernel that whoever has more to say should wait: `wait_not_full`."""
        return len(self._outgoing) > BUFFER_BYTES

    def send(self, data: bytes) -> None:
        """Hand over, whole and in order, without waiting. Raises ConnectionClosedError. Callers keep the buffer bounded
        by `is_full`; a peer that makes us answer and does not read the answers is hung up on."""
        if self._closed:
            raise ConnectionClosedError("the connection is closed", transport="tcp")
        if self._outgoing:
            self._outgoing += data
            if len(self._outgoing) > MOST_BYTES:
                self.abort()
                raise ConnectionClosedError("the peer reads nothing", transport="tcp")
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.abort()
            raise ConnectionClosedError("the connection is broken", transport="tcp") from None
        self.bytes_sent += sent
        if sent < len(data):
            self._outgoing += memoryview(data)[sent:]
            self._changed.unpark_all()

    async def wait_not_full(self) -> None:
        """Raises ConnectionClosedError."""
        while self.is_full and not self._closed:
            await self._changed.park()
        if self._closed:
            raise ConnectionClosedError("the connection is closed", transport="tcp")

    async def receive(self) -> bytes:
        """What is there, at least a byte; b"" at the end. Cancelling loses nothing."""
        if self._incoming:
            taken, self._incoming = self._incoming, b""
            return taken
        while not self._closed:
            try:
                await trio.lowlevel.wait_readable(self._descriptor)
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except (trio.ClosedResourceError, OSError):
                break
            self.bytes_received += len(data)
            return data
        return b""

    # What libp2p's handshake, and our negotiation before it, ask for.

    async def send_all(self, data: bytes) -> None:
        self.send(data)
        await self.wait_not_full()

    write = send_all

    async def receive_some(self, max_bytes: int) -> bytes:
        found = await self.receive()
        found, self._incoming = found[:max_bytes], found[max_bytes:] + self._incoming
        return found

    async def read(self, n: int | None = None) -> bytes:
        """Exactly n bytes (fewer only at the end), or, without n, what is there."""
        if n is None:
            return await self.receive()
        found = b""
        while len(found) < n and (more := await self.receive_some(n - len(found))):
            found += more
        return found

    async def flush(self, seconds: float) -> None:
        """Wait until everything written has been handed to the kernel, at most so long."""
        with trio.move_on_after(seconds):
            while self._outgoing and not self._closed:
                await self._changed.park()

    def abort(self) -> None:
        """Close at once; readers see the end and writers an error."""
        if not self._closed:
            self._closed = True
            self._outgoing.clear()
            trio.lowlevel.notify_closing(self._descriptor)
            self._socket.close()
            self._changed.unpark_all()

    async def close(self) -> None:
        await self.flush(0.25)
        self.abort()
        await trio.lowlevel.checkpoint()

    def get_remote_address(self) -> tuple[str, int]:
        return self._remote


def peer_of(stream: trio.SocketStream) -> tuple[str, int]:
    """IP address and port of the other end; an IPv4 address in IPv6 clothes is shown as IPv4."""
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:  # it has hung up already
        return "0.0.0.0", 0
    ip = ipaddress.ip_address(host.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip), port


async def open_listeners(addresses: Sequence[TcpAddress]) -> list[trio.SocketListener]:
    """All or none. Raises ListenError, which says which address and how to mend it."""
    with ExitStack() as undo:
        listeners = []
        for address in addresses:
            if address.is_name:
                raise ListenError(f"cannot listen on {address}: give an IP address, /ip4/0.0.0.0/tcp/... for all")
            try:
                (listener,) = await trio.open_tcp_listeners(address.port, host=address.host)
            except OSError as error:
                raise ListenError(f"cannot listen on {address}: {_mend(error, address)}") from error
            undo.callback(listener.socket.close)
            listeners.append(listener)
        undo.pop_all()
    return listeners


def _mend(error: OSError, address: TcpAddress) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {address.port} is in use; stop the other program or choose another port (0 finds a free one)"
        case errno.EADDRNOTAVAIL:
            return f"{address.host} is not an address of this machine; 0.0.0.0 means all that are"
        case errno.EACCES:
            return f"this user may not use port {address.port}; choose one above 1023"
        case _:
            return error.strerror or str(error)


def bound(listener: trio.SocketListener) -> TcpAddress:
    """The address a listener really has, with the port that 0 became."""
    host, port = listener.socket.getsockname()[:2]
    return TcpAddress("ip6" if ":" in host else "ip4", host, port)


def reachable(address: TcpAddress) -> TcpAddress:
    """What to tell others about an address we listen on: never 0.0.0.0, which everybody would take for themselves."""
    if not address.is_unspecified:
        return address
    family, elsewhere = (socket.AF_INET6, "2001:db8::1") if address.kind == "ip6" else (socket.AF_INET, "192.0.2.1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))  # sends nothing; the kernel picks the interface that leads outside
            host = probe.getsockname()[0]
        except OSError:
            host = "::1" if address.kind == "ip6" else "127.0.0.1"
    return TcpAddress(address.kind, host, address.port)


async def connect(address: TcpAddress) -> trio.SocketStream:
    """A TCP connection. Raises DialError. Names are looked up as this machine does it, hosts file included."""
    hosts = [address.host]
    if address.is_name:
        family = {"dns4": socket.AF_INET, "dns6": socket.AF_INET6}.get(address.kind, socket.AF_UNSPEC)
        try:
            found = await trio.socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise DialError(f"cannot find {address.host}: {error}") from error
        hosts = list(dict.fromkeys(str(entry[4][0]) for entry in found))[:_RESOLVED_TRIES]
    failure = f"cannot find {address.host}"
    for host in hosts:
        try:
            return await trio.open_tcp_stream(host, address.port)
        except OSError as error:
            failure = f"cannot reach {address.transport}: {_reason(error)}"
    raise DialError(failure)


def _reason(error: BaseException) -> str:
    """trio wraps the system's error, in a group if it tried several addresses."""
    while error.__cause__ is not None:
        error = error.__cause__
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return (isinstance(error, OSError) and error.strerror) or str(error)
