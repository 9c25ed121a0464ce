"""Serve the API over a unix socket, in the node's own nursery, and end at once when told to.

Hypercorn speaks HTTP; accepting is ours. Its own loop shields every write from cancellation, so one client that
stopped reading (a suspended shell, say) could hold up the end of the whole node. We keep the list of connections, and
break them when we are cancelled: then no write can wait.
"""

import logging
import os
import socket
import stat
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from node.trouble import Trouble

from .desk import Desk
from .routes import MAX_BODY, make_api

if TYPE_CHECKING:
    from trio_typing import TaskStatus

MAX_CONNECTIONS: Final = 64
"""At once. A person has a handful of shells; a script that leaks connections must not take all our file handles."""

log = structlog.get_logger("node.api")


async def serve_api(
    desk: Desk, socket_path: Path, *, task_status: "TaskStatus[Path]" = trio.TASK_STATUS_IGNORED
) -> None:
    """Run until cancelled. `started` gives the path once clients can connect; the file is gone afterwards.

    The caller holds the home's lock, so a file that is already there belongs to a dead node. Raises Trouble.
    """
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(_listen(socket_path)))
    inode = os.stat(socket_path).st_ino
    door = _Door(desk)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.break_when_cancelled)
            nursery.start_soon(trio.serve_listeners, door.welcome, [listener])
            task_status.started(socket_path)
    finally:
        _remove(socket_path, inode)


class _Door:
    """The open connections."""

    def __init__(self, desk: Desk) -> None:
        config = HypercornConfig()
        config.errorlog = logging.getLogger("hypercorn.error")
        config.accesslog = None
        config.alpn_protocols = ["http/1.1"]
        config.include_server_header = False
        config.keep_alive_timeout = 30
        config.max_app_queue_size = 10
        config.wsgi_max_body_size = MAX_BODY
        self._config = config
        self._desk = desk
        self._context = WorkerContext(None)
        self._open: set[trio.SocketStream] = set()

    @cached_property
    def _app(self) -> Any:
        """Made for the first who comes: it takes longer than all else at a start."""
        return wrap_app(make_api(self._desk), MAX_BODY, "asgi")

    async def welcome(self, stream: trio.SocketStream) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            log.warning("api connection refused", reason="too_many", limit=MAX_CONNECTIONS)
            await stream.aclose()
            return
        self._open.add(stream)
        try:
            state: Any = ConnectionState({})
            await TCPServer(self._app, self._config, self._context, state, stream)
        finally:
            self._open.discard(stream)

    async def break_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            for stream in self._open:
                try:
                    stream.socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the client was faster


def _listen(path: Path) -> socket.socket:
    """A listening socket with mode 0600 from its first moment."""
    if (found := _stat(path)) is not None:
        if not stat.S_ISSOCK(found.st_mode):
            raise Trouble("socket_taken", f"{path} is in the way of the node's socket", "Move it elsewhere.")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listening.bind(os.fspath(path))
        finally:
            os.umask(before)
        listening.listen(MAX_CONNECTIONS)
        listening.setblocking(False)
    except OSError as wrong:
        listening.close()
        raise Trouble("socket_failed", f"no socket at {path}: {wrong.strerror}", "Try another --home.") from None
    return listening


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _remove(path: Path, inode: int) -> None:
    """Our socket, and nobody else's that took its place."""
    found = _stat(path)
    if found is not None and found.st_ino == inode:
        path.unlink()
