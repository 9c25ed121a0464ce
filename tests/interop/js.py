"""Runs peer.mjs: a js-libp2p peer in a process of its own, spoken to in lines of JSON."""

import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import pytest
import trio

from tests.driver import seed_of

from .modules import HERE, Missing, install_modules


def require_modules() -> None:
    """Skip where there is no Node, or no network to install what is needed."""
    try:
        install_modules()
    except Missing as why:
        pytest.skip(str(why))
    except RuntimeError as broken:
        pytest.fail(str(broken), pytrace=False)


def within(seconds: float) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    """A deadline for a whole test."""

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @wraps(test)
        async def limited(*args: Any, **kwargs: Any) -> None:
            with trio.fail_after(seconds):
                await test(*args, **kwargs)

        return limited

    return decorate


class JsPeer:
    """The other program, seen from here. `events` is all it ever told."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._replies: dict[int, dict[str, Any]] = {}
        self._changed = trio.Event()
        self._last = 0
        self.events: list[dict[str, Any]] = []
        self.complaints = b""
        self.peer_id = ""
        self.address = ""

    async def do(self, name: str, **words: Any) -> dict[str, Any]:
        """One of its commands, and the answer. AssertionError when it says that it failed."""
        self._last += 1
        number = self._last
        assert self._process.stdin is not None
        line = json.dumps({"id": number, "do": name, **words}) + "\n"
        await self._process.stdin.send_all(line.encode())
        while number not in self._replies:
            await self._changed.wait()
        reply = self._replies.pop(number)
        assert "error" not in reply, f"{name}: {reply['error']}"
        return reply

    def told(self, name: str, since: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """Its events of this name and with these fields, from number `since` on."""
        wanted = {"event": name, **fields}
        return [event for event in self.events[since:] if wanted.items() <= event.items()]

    async def wait(self, name: str, since: int = 0, **fields: Any) -> dict[str, Any]:
        """The first such event, whether it is there already or comes now."""
        while not (found := self.told(name, since, **fields)):
            await self._changed.wait()
        return found[0]

    async def wait_accepted(self, ids: set[str]) -> None:
        """Until it accepted the frames of these ids."""
        while not ids <= {event["id"] for event in self.told("heard", verdict="accept")}:
            await self._changed.wait()

    async def wait_mesh(self, topic: str, peer: str, since: int = 0) -> dict[str, Any]:
        """Until its mesh of a topic has had this peer in it."""
        while True:
            for event in self.told("mesh", since):
                if peer in event["mesh"].get(topic, ()):
                    return event
            await self._changed.wait()

    async def run(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        async for data in self._process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "reply" in said:
                    self._replies[said["reply"]] = said
                else:
                    self.events.append(said)
            self._changed.set()
            self._changed = trio.Event()

    async def collect_complaints(self) -> None:
        assert self._process.stderr is not None
        async for data in self._process.stderr:
            self.complaints += data

    async def end(self) -> None:
        """As polite as it takes: it ends when nobody speaks to it any more."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        with trio.move_on_after(3):
            await self._process.wait()

    async def kill(self) -> None:
        """As kill -9."""
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def open_js(name: str, **options: Any) -> AsyncIterator[JsPeer]:
    """A peer that listens on loopback. For `options` see peer.mjs."""
    setup = json.dumps({"seed": seed_of(name).hex(), **options})
    process = await trio.lowlevel.open_process(
        ["node", "peer.mjs", setup],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    peer = JsPeer(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.run)
            nursery.start_soon(peer.collect_complaints)
            try:
                ready = await peer.wait("ready")
                peer.peer_id, peer.address = ready["peer"], ready["address"]
                yield peer
            finally:
                with trio.CancelScope(shield=True):
                    await peer.end()
                nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await peer.kill()
            if peer.complaints:
                print(f"{name} said:\n{peer.complaints.decode(errors='replace')}")
