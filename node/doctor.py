"""What can be wrong with a node and its home, looked at one by one. Changes nothing, whether the node runs or not."""

import shlex
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from protocol.limits import MAX_SKEW

from .archive import FOLDER, Checked, check_folder, files_by_folder
from .config import MAIN_NET, Config, load_config
from .home import Home
from .network.address import parse_address
from .policy import lives_in_public, may_be_dialled
from .store.room import CRUMBS, space_of
from .store.tables import SCHEMA_VERSION
from .trouble import Trouble

STUCK_AFTER: Final = 3600
"""Seconds after which a message that nobody acknowledged is worth a look."""

SOUND_BYTES: Final = 256 << 20
"""A store up to that size is checked index by index; a larger one only page by page, or it would take minutes."""

MOST_PATHS: Final = 100_000
"""Files and folders of a home whose permissions are looked at."""

ARCHIVE_BYTES: Final = 64 << 20
ARCHIVE_SECONDS: Final = 10.0
"""So much of the archive is checked, what changed last first: `verify` checks all of it."""

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    verdict: str
    """ok, warn or fail."""
    what: str
    mend: str = ""


def examine(home: Path, status: Callable[[], Mapping[str, Any]]) -> list[Finding]:
    """All checks of the node in this home. `status` asks the running node how it is; it raises Trouble if it cannot."""
    try:
        directory = Home(home)
    except Trouble as trouble:
        return [Finding("home", FAIL, trouble.message, trouble.hint)]
    if not directory.exists:
        return [Finding("home", FAIL, f"there is no home at {directory.path}", "Make one with: intentcast init")]
    findings = [Finding("home", OK, str(directory.path)), *_permissions(directory), *_keys(directory)]
    config, found = _settings(directory)
    findings += found
    view, found = _running(directory, status)
    findings += [*found, *_store(directory, config), *_archive(directory), *_room(directory)]
    if view is not None:
        findings += [*_clock(view), *_links(view), *_mail(view)]
    return findings


def verdict_of(findings: list[Finding]) -> str:
    """The worst of them."""
    return max((finding.verdict for finding in findings), key=(OK, WARN, FAIL).index)


# ---------------------------------------------------------------------------------------------------- the directory


def _permissions(home: Home) -> Iterator[Finding]:
    looked_at = list(islice(_modes(home.path), MOST_PATHS + 1))
    open_ones: dict[Path, list[tuple[Path, int]]] = {}
    for path, mode in looked_at[:MOST_PATHS]:
        if stat.S_IMODE(mode) & 0o077 and not stat.S_ISLNK(mode) and not stat.S_ISSOCK(mode):
            top = home.path.joinpath(*path.relative_to(home.path).parts[:1])
            open_ones.setdefault(top, []).append((path, mode))
    if len(looked_at) > MOST_PATHS:
        what = f"only the first {MOST_PATHS} files and folders were looked at"
        yield Finding("permissions", OK, what, f"See all: find {shlex.quote(str(home.path))} -perm /077")
    elif not open_ones:
        yield Finding("permissions", OK, "nobody else can read what is here")
    is_home_open = home.path in open_ones
    for top, within in open_ones.items():
        secret = top == home.path or top.suffix == ".key" or top.name.startswith("node.db") or top.name == FOLDER
        path, mode = within[0]
        if len(within) == 1:
            what, mend = str(path), f"chmod {'700' if stat.S_ISDIR(mode) else '600'} {shlex.quote(str(path))}"
        else:
            what = f"{len(within)} files and folders of {top}, the first is {path}"
            mend = f"chmod -R go= {shlex.quote(str(top))}"
        verdict = FAIL if secret and is_home_open else WARN
        yield Finding("permissions", verdict, f"others may read {what} (mode {stat.S_IMODE(mode):04o})", mend)


def _modes(folder: Path) -> Iterator[tuple[Path, int]]:
    """Everything from there down with its mode, what lies nearer first; what goes meanwhile is left out, and so is what
    links lead to."""
    waiting = [folder]
    for path in waiting:
        with suppress(OSError):
            mode = path.lstat().st_mode
            yield path, mode
            if stat.S_ISDIR(mode):
                waiting += sorted(path.iterdir())


def _keys(home: Home) -> Iterator[Finding]:
    for name in ("node.key", "vendor.key"):
        try:
            home.seed(name)
            yield Finding("keys", OK, f"{name} is whole")
        except Trouble as trouble:
            yield Finding("keys", FAIL, trouble.message, trouble.hint)


def _settings(home: Home) -> tuple[Config | None, list[Finding]]:
    try:
        config = load_config(home.path)
    except Trouble as trouble:
        return None, [Finding("settings", FAIL, trouble.message, trouble.hint)]
    findings = [Finding("settings", OK, f"network {config.net}, listening on {', '.join(config.listen)}")]
    if not (config.join or config.static or config.meeting):
        what = "no peer is named: the node waits for others to join it, or for peers it knows"
        findings.append(Finding("settings", WARN, what, "Write join = [...] into config.toml, or use up --join."))
    if config.catalogue is not None:
        from .vendor.catalogue import load_catalogue

        try:
            catalogue = load_catalogue(config.catalogue)
            findings.append(Finding("catalogue", OK, f"{len(catalogue.items)} items in {config.catalogue}"))
        except Trouble as trouble:
            findings.append(Finding("catalogue", FAIL, trouble.message, trouble.hint))
    return config, findings


def _running(home: Home, status: Callable[[], Mapping[str, Any]]) -> tuple[Mapping[str, Any] | None, list[Finding]]:
    if not home.is_running:
        return None, [Finding("running", OK, "no node runs from here now")]
    try:
        view = status()
    except Trouble as trouble:
        mend = "Look into node.log; end the process and start it again: intentcast up"
        return None, [Finding("running", FAIL, f"a node holds this home, and {trouble.message}", mend)]
    return view, [Finding("running", OK, f"the node runs and answers, as {view.get('peer_id')}")]


# -------------------------------------------------------------------------------------------------------- the store


def _store(home: Home, config: Config | None) -> Iterator[Finding]:
    path = home.path / "node.db"
    if not path.exists():
        yield Finding("store", OK, "there is none yet: the first start makes it")
        return
    restore = "Move node.db away and start anew: keys stay, history is lost. Or: intentcast restore, into a new home."
    try:
        with closing(open_to_read(path)) as database:
            yield _soundness(path, database, restore)
            yield _schema(path, database)
            net = _value(database, "net")
            if config is not None and net is not None and net != config.net:
                mend = f"Set net = {net!r} in config.toml, or give {config.net} a home of its own."
                yield Finding("store", FAIL, f"the store is of network {net}, the settings of {config.net}", mend)
            yield from _outbox(database)
            yield from _hours(database)
    except sqlite3.Error as error:
        yield Finding("store", FAIL, f"{path} cannot be read: {error}", restore)


def open_to_read(path: Path) -> sqlite3.Connection:
    """A store as it lies there; nothing in it can be changed by this connection. Raises sqlite3.Error."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)


def _soundness(path: Path, database: sqlite3.Connection, restore: str) -> Finding:
    check = "integrity_check" if path.stat().st_size <= SOUND_BYTES else "quick_check"
    (verdict,) = database.execute(f"PRAGMA {check}(1)").fetchone()
    if verdict != "ok":
        return Finding("store", FAIL, f"{path} is damaged: {verdict}", restore)
    return Finding("store", OK, f"{path} is sound ({check}), {path.stat().st_size} bytes")


def _schema(path: Path, database: sqlite3.Connection) -> Finding:
    schema = _value(database, "schema")
    if schema is None or not schema.isdecimal():
        return Finding("schema", FAIL, f"{path} is not a node's store", "Name the node's home with --home.")
    if int(schema) > SCHEMA_VERSION:
        what = f"the store has schema {schema}, and this program knows {SCHEMA_VERSION}"
        return Finding("schema", FAIL, what, "Update intentcast.")
    later = "" if int(schema) == SCHEMA_VERSION else f", and becomes {SCHEMA_VERSION} at the next start"
    return Finding("schema", OK, f"schema {schema}{later}")


def _value(database: sqlite3.Connection, name: str) -> str | None:
    row = database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _outbox(database: sqlite3.Connection) -> Iterator[Finding]:
    now = int(time.time())
    waiting = "SELECT COUNT(*), MIN(queued_at) FROM outbox WHERE state = 'QUEUED' AND exp > ?"
    count, oldest = database.execute(waiting, (now,)).fetchone()
    if not count:
        yield Finding("outbox", OK, "nothing waits to be delivered")
    elif now - oldest < STUCK_AFTER:
        yield Finding("outbox", OK, f"{count} messages wait to be delivered")
    else:
        what = f"{count} messages wait to be delivered, the oldest for {(now - oldest) // 60} minutes"
        yield Finding("outbox", WARN, what, "The other side may be away. Keep the node running: it goes on trying.")
    failed = "SELECT COUNT(*) FROM outbox WHERE state = 'FAILED' AND settled_at > ?"
    (count,) = database.execute(failed, (now - 86_400,)).fetchone()
    if count:
        what = f"{count} messages were given up in the last day: nobody acknowledged them before they expired"
        yield Finding("outbox", WARN, what, "Was this node, or the other side, away for long?")


def _hours(database: sqlite3.Connection) -> Iterator[Finding]:
    """A clock that was set back shows in what was written down."""
    now = int(time.time())
    (latest,) = database.execute("SELECT MAX(at) FROM events").fetchone()
    if latest is not None and latest > now + MAX_SKEW:
        what = f"the store knows an hour {(latest - now) // 60} minutes from now: the clock was set back, or was wrong"
        yield Finding("clock", WARN, what, "Set the clock of this machine right.")


def _archive(home: Home) -> Iterator[Finding]:
    """Checked as `verify` does, wish by wish."""
    folders = files_by_folder(home.path / FOLDER)
    if not folders:
        yield Finding("archive", OK, "nothing is in it")
        return
    found, wrong, left_out = Checked(), list[Trouble](), 0
    room, deadline = ARCHIVE_BYTES, time.monotonic() + ARCHIVE_SECONDS
    for folder in sorted(folders, key=_changed_at, reverse=True):
        room -= sum(map(_size, folders[folder]))
        if room < 0 or time.monotonic() > deadline:
            left_out += 1
            continue
        trouble = _look_twice(folder, folders[folder], found)
        if trouble is not None:
            wrong.append(trouble)
    if wrong:
        more = f" (wishes of which this is true: {len(wrong)})" if len(wrong) > 1 else ""
        mend = "Do not rely on it. The next start writes anew what the store still has, and keeps the rest as .damaged."
        yield Finding("archive", FAIL, f"{wrong[0].message}{more}", mend)
    else:
        yield Finding("archive", OK, f"as it was said (wishes: {found.wishes}, messages: {found.messages})")
    if left_out:
        what = f"{left_out} of {len(folders)} wishes were not looked at: there is much in it"
        yield Finding("archive", OK, what, f"Check all: intentcast verify {shlex.quote(str(home.path / FOLDER))}")


def _look_twice(folder: Path, files: list[Path], found: Checked) -> Trouble | None:
    """What is wrong with a wish's files. A running node may just write a line, so what is wrong must be so twice."""
    for _ in range(2):
        try:
            check_folder(folder, [file for file in files if file.exists()], found)
        except Trouble as trouble:
            last = trouble
        else:
            return None
    return last


def _changed_at(folder: Path) -> float:
    """When something was last written there; 0: it is gone."""
    with suppress(OSError):
        return max(path.stat().st_mtime for path in folder.glob("*.jsonl"))
    return 0.0


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


def _room(home: Home) -> Iterator[Finding]:
    try:
        space = space_of(home.path)
    except OSError as wrong:
        yield Finding("room", WARN, f"the file system does not say how much room it has: {wrong.strerror}")
        return
    free = f"{space.free >> 20} MB free"
    if space.free < CRUMBS:
        yield Finding("room", FAIL, f"the disk is full ({free})", "Make room on it.")
    elif space.free < space.low:
        what = f"the disk is almost full ({free}): other people's data is left out"
        yield Finding("room", WARN, what, f"Make room on it: {2 * space.low >> 20} MB and more.")
    else:
        yield Finding("room", OK, free)


# ------------------------------------------------------------------------------------------------- the running node


def _clock(view: Mapping[str, Any]) -> Iterator[Finding]:
    clock = view.get("clock", {})
    advice = clock.get("advice")
    if advice:
        yield Finding("clock", FAIL if abs(clock.get("ahead", 0)) > MAX_SKEW else WARN, str(advice), "Set the clock.")
    elif clock.get("certain") is False:
        yield Finding("clock", OK, "no peer has confirmed the hour yet: what ends by it waits, for an hour at most")
    elif clock.get("ahead") is None:
        yield Finding("clock", OK, "too few peers to compare it with")
    else:
        yield Finding("clock", OK, f"{clock['ahead']} s ahead of {clock.get('sources')} peers")


def _links(view: Mapping[str, Any]) -> Iterator[Finding]:
    count = view.get("peers", 0)
    if count:
        yield Finding("peers", OK, f"linked with {count}")
    else:
        yield Finding("peers", WARN, "linked with nobody: nobody hears this node", "intentcast up --join ADDRESS")
    for alarm in view.get("alarms", ()):
        yield Finding("peers", WARN, f"all peers may be one: {alarm.get('detail')}", "Name a peer you trust: --static.")
    addresses = [str(address) for address in view.get("addresses", ())]
    if any(may_be_dialled(address, lives_in_public(str(view.get("net")), addresses)) for address in addresses):
        yield Finding("reach", OK, "others can be told an address to dial")
    else:
        verdict = WARN if view.get("net") == MAIN_NET else OK
        what = f"no address that others could dial: {', '.join(map(kind_of_address, addresses)) or 'none at all'}"
        yield Finding("reach", verdict, what, "Open the port in your router, and name the public address: --announce.")


def _mail(view: Mapping[str, Any]) -> Iterator[Finding]:
    said = [str(words) for words in view.get("mailboxes", {}).values()]
    held = sum(words.startswith("holds for") for words in said)
    if held:
        yield Finding("mailboxes", OK, f"{held} of {len(said)} hold what comes while this node is away")
    elif any(words.startswith("holds nothing") for words in said):
        hint = "Name one that does with --mailboxes; without one, nothing reaches a node that is away."
        yield Finding("mailboxes", WARN, "none of the nodes that were asked holds anything for this one", hint)
    host = view.get("mailbox")
    if host:
        full = host["bytes"] / host["room"]
        verdict = WARN if full > 0.9 else OK
        yield Finding("held for others", verdict, f"{host['items']} items, {full:.0%} of the room", "")


def kind_of_address(text: str) -> str:
    """What sort of address it is, without saying which."""
    try:
        address = parse_address(text)
    except ValueError:
        return "unreadable"
    if address.is_name:
        return "name"
    import ipaddress

    host = ipaddress.ip_address(address.host)
    sorts = (("any", host.is_unspecified), ("loopback", host.is_loopback), ("public", host.is_global))
    return f"{address.kind} {next((name for name, is_it in sorts if is_it), 'private')}"
