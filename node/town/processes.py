"""Nodes as processes of their own: ordinary `intentcast up`, started, watched, and ended with whoever started them."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from node.cli.client import Client
from node.trouble import Trouble, refused

ALIVE: Final = "alive"
"""In a temporary folder; locked as long as whoever made it lives."""

STOP_SECONDS: Final = 5.0
"""For a node to say goodbye, before it is killed."""


@dataclass(kw_only=True)
class NodeProcess:
    """One of them."""

    name: str
    home: Path
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    ready: dict[str, Any] = field(default_factory=dict)
    """What it said when it was ready: peer_id, addresses."""

    @property
    def client(self) -> Client:
        return Client(self.home)

    def wait_ready(self, deadline: float) -> None:
        """Read the one line `up --json` prints. Raises Trouble."""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        text = b""
        while b"\n" not in text:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Trouble("no_start", f"{self.name} did not start", _last_lines(log_of(self.home)))
            text += self.process.stdout.read() or b""
            if b"\n" not in text:
                time.sleep(0.02)
        self.ready = json.loads(text.splitlines()[0])
        if "error" in self.ready:
            raise Trouble("no_start", f"{self.name} did not start: {self.ready['error']['message']}")

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def wait_gone(self, deadline: float) -> None:
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def start_process(home: Path, flags: Sequence[str]) -> "tuple[subprocess.Popen[bytes], IO[bytes]]":
    """Start the node of a home, on loopback; the process and its log."""
    command = [sys.executable, "-m", "node", "up", "--home", str(home), "--json", "--log-level", "warning"]
    command += ["--listen", "/ip4/127.0.0.1/tcp/0", "--until-stdin-ends", *flags]
    log = open(log_of(home), "ab")
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # its other end is ours: when this process dies, however it dies, the node ends too
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for us: we end the nodes in order
        env={name: value for name, value in os.environ.items() if not name.startswith("INTENTCAST_")},
    )
    return process, log


@contextmanager
def troupe(processes: Sequence[NodeProcess]) -> Iterator[None]:
    """Whoever is in the list at the end is ended, however that comes."""
    try:
        yield
    finally:
        # From here on a second Ctrl-C must not leave anybody behind.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in processes:
            process.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            process.wait_gone(deadline)
        signal.signal(signal.SIGINT, before)


@contextmanager
def open_folder(keep: Path | None, prefix: str) -> Iterator[Path]:
    """A folder for homes. Without `keep` a temporary one, gone afterwards: if this process is killed, the next one
    takes it away. Raises Trouble."""
    if keep is None:
        _take_away_dead(prefix)
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            with open(folder / f".{ALIVE}", "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                os.rename(file.name, folder / ALIVE)  # nobody finds it before it is locked
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    keep = keep.expanduser().resolve()
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise refused("keep", f"{keep} is not an empty directory", "Name a new directory with --keep.")
    keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    yield keep


def _take_away_dead(prefix: str) -> None:
    """Folders whose maker holds no lock any more: it was killed, and could not tidy up."""
    for alive in Path(tempfile.gettempdir()).glob(f"{prefix}*/{ALIVE}"):
        with suppress(OSError), open(alive, "rb") as file:  # another user's, or its maker still lives
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(alive.parent, ignore_errors=True)


def log_of(home: Path) -> Path:
    return home.parent / f"{home.name}.log"


def _last_lines(path: Path) -> str:
    try:
        return "Its log ends: " + " | ".join(path.read_text("utf-8", "replace").splitlines()[-3:])
    except OSError:
        return ""
