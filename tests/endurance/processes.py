"""Real nodes, each a process of its own with a home of its own, that can be killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node.cli.client import Client
from node.home import Home, write_file
from node.trouble import Trouble

NET = "endurance"
READY_SECONDS = 60.0
"""For a node to be ready before we give up: this is no goal, the machine may be busy."""

CATALOGUE = """
name = "{name}"
contact = "desk of {name}"
categories = ["mobility.**"]
currency = "EUR"
tz = "Europe/Paris"
valid_for = "2h"

[items.car]
title = "Dacia Duster 4x4"
category = "mobility.car"
action = "rent"
price = "48.00"
per = "day"
stock = 100000
places = ["iata:LYS"]

[items.car.properties]
drive = "4x4"
winter_tyres = true
"""


@dataclass
class NodeProcess:
    home: Path
    options: tuple[str, ...]
    wrapper: tuple[str, ...] = ()
    """A command in front: `ip netns exec NAME`."""
    ready: dict[str, Any] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)
    """Seconds from the start of each process to its first answer."""
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def name(self) -> str:
        return self.home.name

    @property
    def client(self) -> Client:
        return Client(self.home)

    @property
    def address(self) -> str:
        return str(self.ready["addresses"][0])

    def start(self) -> None:
        """Returns when its API has answered. Raises Trouble."""
        began = time.monotonic()
        command = [*self.wrapper, sys.executable, "-m", "node", "up", "--home", str(self.home), "--json"]
        command += ["--log-level", "warning", "--until-stdin-ends", *self.options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INTENTCAST_")}
        with open(self.home.parent / f"{self.name}.log", "ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # its other end is ours: when this program dies, however it dies, the node ends
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=environment,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line or "error" in (said := json.loads(line)):
            last = (self.home.parent / f"{self.name}.log").read_text("utf-8", "replace").splitlines()[-15:]
            raise Trouble("endurance", "\n".join([f"{self.name} did not start: {line!r}; its log ends:", *last]))
        self.ready = said
        self.client.get("status")
        self.starts.append(time.monotonic() - began)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._reap()

    def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def wait_gone(self, seconds: float) -> None:
        if self._process is not None:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._reap()

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process = None


def make_node(home: Path, options: Sequence[str], *, sells: bool = False, wrapper: Sequence[str] = ()) -> NodeProcess:
    directory = Home(home)
    directory.make(NET, fixed_port=False)
    if sells:
        write_file(home / "catalogue.toml", CATALOGUE.format(name=home.name).encode())
    return NodeProcess(home, tuple(options), tuple(wrapper))


@contextmanager
def running(nodes: list[NodeProcess]) -> Iterator[None]:
    """Ends all that was started, however it ends."""
    try:
        yield
    finally:
        for node in nodes:
            node.stop()
        deadline = time.monotonic() + 5
        for node in nodes:
            node.wait_gone(max(0.1, deadline - time.monotonic()))


def wait_for(what: str, condition: Callable[[], bool], seconds: float) -> float:
    """Until it holds: how long that took. Raises Trouble."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise Trouble("endurance", f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - began
