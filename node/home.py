"""A node's home: one directory, one owner, one running node.

    config.toml   settings (config.py)             node.key     transport identity, 32-byte seed
    lock          held while a node runs           vendor.key   what this node signs offers with, 32-byte seed
    running.json  who runs and where to knock      node.sock    the local API, unless the path is too long for one
    node.db       the store (store/)               node.log     what happened, and older ones: node.log.1 to .3
    archive/      what was said, for people (archive.py)

The directory is 0700 and everything in it 0600. The lock is the kernel's (flock): it dies with its process, so a note
that a killed node left behind is never believed. Keys are not encrypted: they are as safe as this disk.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from .config import write_config
from .trouble import Exit, Trouble, refused, usage

SEED_BYTES: Final = 32
MAX_SOCKET_PATH: Final = 100
"""Bytes. The kernel's limit for unix sockets is 107 (macOS: 103)."""

_MARKS: Final = ("config.toml", "node.key", "vendor.key", "catalogue.toml", "lock")
"""A directory with one of these is a home."""


WORKSHOP: Final = ".backup-"


def default_home() -> Path:
    """Where a person's node lives if nothing else is said: INTENTCAST_HOME, or the system's place for user data."""
    named = os.environ.get("INTENTCAST_HOME", "")
    if named:
        return Path(named).expanduser()
    import platformdirs  # not needed by most scripts, which name their homes

    return platformdirs.user_data_path("intentcast", appauthor=False)


class Home:
    """The directory, after its owner and its permissions were checked. Making one changes nothing on disk."""

    def __init__(self, path: Path) -> None:
        """Raises Trouble for somebody else's directory, and for a directory that is something else than a home."""
        self.path = path.expanduser().resolve()
        self.config_file = self.path / "config.toml"
        self.note_file = self.path / "running.json"
        self.lock_file = self.path / "lock"
        self.log_file = self.path / "node.log"
        self._check()

    def _check(self) -> None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return
        except OSError as wrong:
            raise refused("home_unreadable", f"{self.path}: {wrong.strerror}", _OTHER) from None
        if not stat.S_ISDIR(found.st_mode):
            raise usage("home_not_directory", f"{self.path} is not a directory", "Name a directory with --home.")
        if found.st_uid != os.geteuid():
            raise refused(
                "home_of_another",
                f"{self.path} belongs to user {_user(found.st_uid)}, and you are {_user(os.geteuid())}",
                _OTHER,
            )

    @property
    def exists(self) -> bool:
        """True if a node's home has been made here."""
        return any((self.path / mark).exists() for mark in _MARKS)

    def make(self, net: str, *, fixed_port: bool = True) -> list[str]:
        """Make what is missing: directory, settings, keys. Gives the names of what was made. Raises Trouble."""
        made = []
        if not self.path.exists():
            try:
                self.path.mkdir(mode=0o700, parents=True)
            except OSError as wrong:
                raise refused("home_not_made", f"{self.path}: {wrong.strerror}", _OTHER) from None
            made.append(str(self.path))
        elif not self.exists and any(self.path.iterdir()):
            raise refused(
                "home_not_empty",
                f"{self.path} holds other things, and is not a home of intentcast",
                "Name an empty or a new directory with --home.",
            )
        if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
            self.path.chmod(0o700)
        if not self.config_file.exists():
            write_config(self.config_file, net, None if fixed_port else 0)
            made.append(self.config_file.name)
        for name in ("node.key", "vendor.key"):
            if not (self.path / name).exists():
                write_file(self.path / name, secrets.token_bytes(SEED_BYTES))
                made.append(name)
        return made

    def seed(self, name: str) -> bytes:
        """The 32 secret bytes of `node.key` or `vendor.key`. Raises Trouble if others can read the file."""
        path = self.path / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Trouble("no_key", f"{path} is missing", "Make a home with: intentcast init") from None
        except OSError as wrong:
            raise refused("key_unreadable", f"{path}: {wrong.strerror}", _OTHER) from None
        with open(fd, "rb") as file:
            found = os.fstat(file.fileno())
            if found.st_uid != os.geteuid():
                raise refused("key_of_another", f"{path} belongs to user {_user(found.st_uid)}", _OTHER)
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise refused(
                    "key_exposed",
                    f"{path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})",
                    f"If nobody has read it: chmod 600 {path}. If in doubt: delete it, a new one is made.",
                )
            seed = file.read(SEED_BYTES + 1)
        if len(seed) != SEED_BYTES:
            raise Trouble("key_damaged", f"{path} is damaged: it must have {SEED_BYTES} bytes", "Restore your copy.")
        return seed

    @contextmanager
    def workshop(self) -> Iterator[Path]:
        """A private folder for a copy of the store, gone at the end. What a killed process left of one is deleted now,
        or when a node starts: keys may lie in it that are to be forgotten. Raises OSError."""
        self._clear_workshops()
        with tempfile.TemporaryDirectory(prefix=WORKSHOP, dir=self.path) as folder:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                yield Path(folder)
            finally:
                os.close(fd)

    def _clear_workshops(self) -> None:
        for path in self.path.glob(f"{WORKSHOP}*"):
            with suppress(OSError):  # it went just now
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if _locked(fd):  # or somebody is at work in it
                        shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(fd)

    # ------------------------------------------------------------------------------------------------ one at a time

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home for one running node. Raises Trouble, with the pid, if another one does."""
        try:
            fd = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as wrong:
            raise refused("home_unreadable", f"{self.lock_file}: {wrong.strerror}", _OTHER) from None
        try:
            if not _locked(fd):
                pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
                raise refused(
                    "home_running",
                    f"a node already runs from {self.path} (process {pid})",
                    f"Use it as it is, end it (kill {pid}), or give this one a home of its own with --home.",
                )
            with suppress(OSError):  # a full disk; the number is for people, the lock is the kernel's
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
            self._forget_note()  # whoever left one is dead: the lock was free
            self._clear_workshops()
            try:
                yield
            finally:
                self._forget_note()
        finally:
            os.close(fd)  # and with it the lock

    @property
    def is_running(self) -> bool:
        """Does a living process hold the lock? Asks the kernel, not a file."""
        try:
            fd = os.open(self.lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    # ------------------------------------------------------------------------------------------ where to find the node

    def socket_path(self) -> Path:
        """Where this home's API listens; makes the directory (0700) if it is not the home itself."""
        path = self.path / "node.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
            return path
        name = hashlib.blake2b(os.fsencode(self.path), digest_size=12).hexdigest()
        return _runtime_dir() / f"{name}.sock"

    def write_note(self, **facts: Any) -> None:
        """Tell clients who runs here (pid, socket, peer_id, addresses, net)."""
        write_file(self.note_file, json.dumps({"pid": os.getpid(), **facts}, indent=2).encode() + b"\n")

    def note(self) -> Mapping[str, Any] | None:
        """What the running node wrote about itself; None if none runs. Raises Trouble for a killed one's leftovers."""
        try:
            note = json.loads(self.note_file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as wrong:
            raise Trouble("bad_note", f"{self.note_file} cannot be read: {wrong}", "Delete it.") from None
        if not self.is_running:
            raise Trouble(
                "not_running",
                f"the node of {self.path} (process {note.get('pid', 'unknown')}) was killed or crashed",
                f"Start it again: intentcast up --home {self.path}",
                Exit.NOT_RUNNING,
            )
        return dict(note)

    def _forget_note(self) -> None:
        self.note_file.unlink(missing_ok=True)


_OTHER: Final = "Name a directory of your own with --home or INTENTCAST_HOME."


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a whole file or nothing: a new one beside it, synced, renamed over it, and the directory synced."""
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(fd, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """What was made, renamed or deleted in it is durable when this returns."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _locked(fd: int) -> bool:
    """Try to take the lock. A client that asks whether a node runs holds it for an instant: so more than one try."""
    for attempt in range(5):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01 * attempt)
        else:
            return True
    return False


def _runtime_dir() -> Path:
    """A short directory for sockets that only we can enter. Raises Trouble if there is none."""
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    parents = [Path(named) / "intentcast"] if named else []
    # Without a session there is no runtime directory; the temporary one is shared, so ours carries our number and is
    # refused if somebody else was there first.
    parents.append(Path(tempfile.gettempdir()) / f"intentcast-{os.geteuid()}")
    for path in parents:
        if len(os.fsencode(path)) + 30 > MAX_SOCKET_PATH:
            continue
        with suppress(OSError):
            path.mkdir(mode=0o700, exist_ok=True)
            found = path.lstat()
            private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            if private and not stat.S_IMODE(found.st_mode) & 0o077:
                return path
    raise Trouble(
        "no_socket_directory",
        f"the home's path is too long for a socket, and none of {', '.join(map(str, parents))} will do",
        "Use a shorter path with --home.",
    )


def _user(uid: int) -> str:
    try:
        import pwd

        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except (ImportError, KeyError):
        return str(uid)
