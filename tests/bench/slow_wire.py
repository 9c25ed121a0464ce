"""A TCP relay that takes its time: what stands between two nodes that are far apart.

`python -m tests.bench.slow_wire SECONDS PORT...`: one for each port, in a process of their own: what they cost is
not measured with the nodes. Prints the ports they listen on, and ends with its input.
"""

import json
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio


class SlowWire:
    """Listens on a port of 127.0.0.1 and carries bytes to another, each way `delay` seconds late."""

    def __init__(self, goal: int, delay: float) -> None:
        self._goal = goal
        self._delay = delay

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts with the port it listens on."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(listener.socket.getsockname()[1])
        await trio.serve_listeners(self._carry, [listener])

    async def _carry(self, near: trio.SocketStream) -> None:
        await trio.sleep(2 * self._delay)  # SYN and its answer, which the relay's own loopback does not take
        async with await trio.open_tcp_stream("127.0.0.1", self._goal) as far, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, near, far, nursery.cancel_scope)
            nursery.start_soon(self._pump, far, near, nursery.cancel_scope)

    async def _pump(self, source: trio.SocketStream, goal: trio.SocketStream, scope: trio.CancelScope) -> None:
        under_way: deque[tuple[float, bytes]] = deque()
        arrived = trio.Event()
        ended = False

        async def deliver() -> None:
            nonlocal arrived
            while under_way or not ended:
                if not under_way:
                    await arrived.wait()
                    arrived = trio.Event()
                    continue
                due, data = under_way.popleft()
                await trio.sleep_until(due)
                await goal.send_all(data)
            scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(deliver)
                while data := await source.receive_some(65_536):
                    under_way.append((trio.current_time() + self._delay, data))
                    arrived.set()
                ended = True
                arrived.set()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            scope.cancel()


@asynccontextmanager
async def open_slow_wires(ports: Sequence[int], delay: float) -> AsyncIterator[list[int]]:
    """Ports that lead to these, slowly."""
    command = [sys.executable, "-m", "tests.bench.slow_wire", str(delay), *map(str, ports)]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(_run_process, command)
        said = b""
        while not said.endswith(b"\n"):
            said += await process.stdout.receive_some()
        yield json.loads(said)
        nursery.cancel_scope.cancel()


async def _run_process(
    command: list[str], task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED
) -> None:
    await trio.run_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, task_status=task_status)


async def main(delay: float, ports: list[int]) -> None:
    async with trio.open_nursery() as nursery:
        print(json.dumps([await nursery.start(SlowWire(port, delay).run) for port in ports]), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]), [int(port) for port in sys.argv[2:]])
