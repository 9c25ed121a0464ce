"""One end of a slow wire: packets that come into a tunnel here leave the tunnel at the other end, later and in order.

Run at each end, in a network namespace each, the two joined by a pair of sockets: a userspace proxy, for kernels whose
`tc` knows no delay. Lives until its standard input ends: when whoever started it dies, however it dies, it goes.

    python -m tests.endurance.wire TUNNEL SOCKET-NUMBER DELAY JITTER        says "ready" when the tunnel is there
"""

import fcntl
import os
import random
import select
import socket
import struct
import sys
import time
from collections import deque
from contextlib import suppress

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
"""Of linux/if_tun.h: packets of IP, with nothing in front."""

MAX_PACKET = 65_536
MAX_WAITING = 10_000
"""Packets under way; beyond it they are lost, as anywhere."""


def open_tunnel(name: str) -> int:
    """Raises OSError."""
    tunnel = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tunnel, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return tunnel


def carry(tunnel: int, other: socket.socket, delay: float, jitter: float) -> None:
    """Until standard input or the other end is closed. `delay`, `jitter`: seconds, one way."""
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([tunnel, other, sys.stdin], [], [], pause)
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            other.send(waiting.popleft()[1])
        if sys.stdin in ready:
            return
        if tunnel in ready:
            packet = os.read(tunnel, MAX_PACKET)
            due = now + delay + random.uniform(0, jitter)
            if len(waiting) < MAX_WAITING:
                waiting.append((max(due, waiting[-1][0]) if waiting else due, packet))  # none overtakes another
        if other in ready:
            packet = other.recv(MAX_PACKET)
            if not packet:
                return
            with suppress(OSError):  # this end is not up yet: the packet is lost
                os.write(tunnel, packet)


if __name__ == "__main__":
    name, number, delay, jitter = sys.argv[1:]
    tunnel = open_tunnel(name)
    print("ready", flush=True)
    carry(tunnel, socket.socket(fileno=int(number)), float(delay), float(jitter))
