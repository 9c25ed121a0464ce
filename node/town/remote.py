"""A stage of processes: each node an `intentcast up` of its own, spoken to as commands speak to it."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from node.cli.client import Client
from node.network.memory import MemoryWorld
from node.trouble import Trouble

from .homes import make_home
from .processes import STOP_SECONDS, NodeProcess, start_process
from .scenario import NodeSpec

READY_SECONDS: Final = 60.0
"""For a node to be ready: it imports for a second or two, and all of them share the cores."""

T = TypeVar("T")

View = dict[str, Any]


class RemoteDesk:
    """What a play asks of a node, over its API. Every method raises Trouble."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, wish: Mapping[str, Any], reach_wait: float) -> View:
        return await self._post("ask", body={"wish": dict(wish), "reach_wait": reach_wait}, wait=reach_wait)

    async def heard(self) -> list[View]:
        return list((await self._get("heard"))["intents"])

    async def offers_for(self, intent_id: str, include_hidden: bool = False) -> View:
        return await self._get("wishes", intent_id, "offers", include_hidden="true" if include_hidden else None)

    async def offers_made(self) -> list[View]:
        return list((await self._get("offers"))["offers"])

    async def show(self, id_text: str) -> View:
        return await self._get("show", id_text)

    async def make_offer(self, intent_id: str, offer: Mapping[str, Any]) -> View:
        return await self._post("heard", intent_id, "offer", body={"valid_for": 24 * 3600, **offer})

    async def accept(self, offer_id: str, contact: str, note: str | None, options: list[str], wait: float) -> View:
        body = {"contact": contact, "note": note, "options": options, "wait": wait}
        return await self._post("offers", offer_id, "accept", body=body, wait=wait)

    async def decline(self, offer_id: str, reason: str | None) -> View:
        return await self._post("offers", offer_id, "decline", body={"reason": reason})

    async def withdraw(self, id_text: str, reason: str | None = None) -> View:
        return await self._post("withdraw", id_text, body={"reason": reason} if reason is not None else None)

    async def status(self) -> View:
        return await self._get("status")

    async def _get(self, *parts: str, **query: Any) -> View:
        return await _in_thread(partial(self._client.get, *parts, **query))

    async def _post(self, *parts: str, body: Mapping[str, Any] | None = None, wait: float = 0.0) -> View:
        return await _in_thread(partial(self._client.post, *parts, body=body, wait=wait))


async def _in_thread(call: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)  # type: ignore[call-arg]  # its stubs are old


class ProcessActor:
    """A node in a process, over all its lives."""

    def __init__(self, name: str, home: Path, flags: list[str], processes: list[NodeProcess]) -> None:
        self.name = name
        self.home = home
        self.desk = RemoteDesk(Client(home))
        self._flags = flags
        self._processes = processes
        self._now: NodeProcess | None = None

    @property
    def peer_id(self) -> str:
        return str(self._ready["peer_id"])

    @property
    def address(self) -> str:
        return str(self._ready["addresses"][0])

    @property
    def _ready(self) -> View:
        assert self._now is not None, "it was started"
        return self._now.ready

    @property
    def is_up(self) -> bool:
        return self._now is not None and self._now.process.poll() is None

    def begin(self) -> None:
        """Start it, without waiting until it is ready."""
        process, log = start_process(self.home, self._flags)
        self._now = NodeProcess(name=self.name, home=self.home, process=process, log=log)
        self._processes.append(self._now)

    async def wait_ready(self) -> None:
        assert self._now is not None
        await _in_thread(partial(self._now.wait_ready, time.monotonic() + READY_SECONDS))

    async def start(self, **_changed: Any) -> None:
        """At another port than before, as every process here."""
        self.begin()
        await self.wait_ready()

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def crash(self) -> None:
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        assert self._now is not None
        self._now.process.send_signal(how)
        await _in_thread(partial(self._now.wait_gone, time.monotonic() + STOP_SECONDS))
        self._processes.remove(self._now)


class ProcessStage:
    """Processes as a stage. Their network is the machine's: there is no weather to be made."""

    world: MemoryWorld | None = None

    def __init__(self, folder: Path, processes: list[NodeProcess]) -> None:
        self.folder = folder
        self._processes = processes
        self._actors: dict[str, ProcessActor] = {}

    @property
    def actors(self) -> Mapping[str, ProcessActor]:
        return self._actors

    async def enter(self, name: str, spec: NodeSpec, join: Sequence[str]) -> None:
        if spec.skew:
            raise Trouble("no_clock", f"{name}: a clock can be wrong on the network in memory only")
        home = make_home(self.folder, name, spec, seeded=False)
        flags = [word for other in join for word in ("--join", self._actors[other].address)]
        flags += [word for other in spec.mailboxes for word in ("--mailboxes", self._actors[other].address)]
        flags += [word for division in spec.divisions for word in ("--division", division)]
        flags += ["--meeting"] * spec.meeting + ["--mailbox"] * spec.mailbox
        actor = self._actors[name] = ProcessActor(name, home.path, flags, self._processes)
        await actor.start()

    def set_clock(self, name: str, skew: float) -> None:
        raise Trouble("no_clock", "clocks can be set on the network in memory only", "Leave out --process.")

    def sleep(self, seconds: float) -> None:
        raise Trouble("no_clock", "machines can sleep on the network in memory only", "Leave out --process.")
