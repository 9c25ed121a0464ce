"""Connections that want nothing but our places: those that say nothing, and those that say a byte now and then."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

HELLO = b"\x13/multistream/1.0.0\n"
PAUSE = 0.5
"""Seconds between two bytes of a slow one."""


@asynccontextmanager
async def hold_connections(port: int, idle: int, slow: int, hosts: tuple[str, ...]) -> AsyncIterator[None]:
    """Open so many to 127.0.0.1, from these loopback addresses in turn, and open each again when it is closed."""
    async with trio.open_nursery() as nursery:
        for number in range(idle + slow):
            nursery.start_soon(_hold, port, hosts[number % len(hosts)], number >= idle)
        yield
        nursery.cancel_scope.cancel()


async def _hold(port: int, host: str, slow: bool) -> None:
    while True:
        try:
            async with await trio.open_tcp_stream("127.0.0.1", port, local_address=host) as stream:
                async with trio.open_nursery() as nursery:
                    if slow:
                        nursery.start_soon(_dribble, stream)
                    while await stream.receive_some():
                        pass
                    nursery.cancel_scope.cancel()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except BaseExceptionGroup as group:
            if group.split((OSError, trio.BrokenResourceError, trio.ClosedResourceError))[1] is not None:
                raise
        await trio.sleep(PAUSE)


async def _dribble(stream: trio.SocketStream) -> None:
    for byte in HELLO * 100:
        await stream.send_all(bytes([byte]))
        await trio.sleep(PAUSE)
