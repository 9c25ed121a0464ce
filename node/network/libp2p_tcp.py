"""TCP under libp2p is ours: listening, dialling, and the pipe that libp2p reads from and writes to.

libp2p's own TCP shares a busy port without a word, hides a failed listen, keeps an inbound slot for ever, waits 250 ms
in every dial, and breaks a whole connection when a writing task is cancelled: Noise has already counted the frame that
then never leaves. Here a write only puts bytes into a buffer, and one task per connection sends them.
"""

import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import trio
from libp2p.io.exceptions import ConnectionClosedError

from node.network.address import TcpAddress
from node.network.seam import DialError, ListenError

READ_BYTES = 65_536  # one Noise message with its length needs one system call instead of two
BUFFER_BYTES = 131_072  # unsent bytes beyond which writers wait: two full Noise messages
STALL_SECONDS = 20.0  # a peer whose socket takes nothing for so long is gone
_RESOLVED_TRIES = 4  # addresses of one name that a dial tries in turn


class Pipe:
    """One TCP connection, shaped like libp2p's ReadWriteCloser. `run` must be running for writes to leave."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._remote = peer_of(stream)
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._sending = False
        self._closed = False
        self._changed = trio.lowlevel.ParkingLot()
        self.bytes_received = 0
        self.bytes_sent = 0
        self.on_received: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Send what is written until the connection ends."""
        try:
            while not self._closed:
                if not self._outgoing:
                    await self._changed.park()
                    continue
                chunk, self._outgoing = self._outgoing, bytearray()
                self._sending = True
                with trio.fail_after(STALL_SECONDS):
                    await self._stream.send_all(memoryview(chunk))
                self._sending = False
                self.bytes_sent += len(chunk)
                self._changed.unpark_all()
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.abort()

    async def write(self, data: bytes) -> None:
        """Cancelling never cuts a frame: the bytes are handed over before the first wait."""
        self._outgoing += data
        self._changed.unpark_all()
        while len(self._outgoing) > BUFFER_BYTES and not self._closed:
            await self._changed.park()
        if self._closed:
            raise ConnectionClosedError("the connection is closed", transport="tcp")

    async def read(self, n: int | None = None) -> bytes:
        """Exactly n bytes (fewer only at the end), or, without n, what is there."""
        while not self._closed and len(self._incoming) < (1 if n is None else n):
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                break
            self.bytes_received += len(data)
            self._incoming += data
            self.on_received()
        taken = bytes(self._incoming[:n])
        del self._incoming[:n]
        return taken

    async def flush(self, seconds: float) -> None:
        """Wait until everything written has been handed to the kernel, at most so long."""
        with trio.move_on_after(seconds):
            while (self._outgoing or self._sending) and not self._closed:
                await self._changed.park()

    def abort(self) -> None:
        """Close at once; readers see the end and writers an error."""
        if not self._closed:
            self._closed = True
            self._outgoing.clear()
            self._stream.socket.close()
            self._changed.unpark_all()

    async def close(self) -> None:
        await self.flush(0.25)
        self.abort()
        await trio.lowlevel.checkpoint()

    def get_remote_address(self) -> tuple[str, int]:
        return self._remote

    @property
    def remote(self) -> str:
        """As a multiaddr without /p2p."""
        host, port = self._remote
        return f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}"


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
