"""What may be sent along with a bug report: how a node is, and nothing of what it is about.

Built from what is known to be harmless, never by striking out what is not: versions, verdicts, numbers, kinds of
addresses, and of the log the program's own lines with their numbers, and where in the program an error came from.
"""

import json
import platform
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from .config import LOG_LEVELS, MAIN_NET, load_config
from .doctor import Finding, kind_of_address, open_to_read
from .store import tables
from .trouble import Trouble

LOG_LINES: Final = 500
LOG_BYTES: Final = 1 << 20
PACKAGES: Final = ("intentcast", "libp2p", "trio", "pynacl", "cryptography", "sqlalchemy", "fastapi", "hypercorn")

OWN_LOGGERS: Final = frozenset(
    "app archive catchup clock courier delivery gossip inbox mailbox node.api peering requester restore vendor "
    "vendor.accepts vendor.catalogue vendor.hooks vendor.programs".split()
)
"""Whose lines have texts that stand in the program: all of its own loggers, as a test sees to. What a library says of
itself may hold anything."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,40}")
_PLACE: Final = re.compile(r'File "[^"]*?/((?:node|protocol|site-packages)/[\w./-]+\.py)", line (\d+), in (\w+)')
_EXCEPTION: Final = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Group|Trouble|Refused|Interrupt)\b)", re.MULTILINE)


def bundle(home: Path, findings: list[Finding], status: Mapping[str, Any] | None) -> dict[str, Any]:
    """The document. Raises nothing: what cannot be read is left out."""
    return {
        "about": "A report of `intentcast doctor`, without keys, texts, contacts and addresses. Read it first.",
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            **{name: _version(name) for name in PACKAGES},
        },
        "findings": [[finding.check, finding.verdict] for finding in findings],
        "settings": _settings(home),
        "store": _store(home / "node.db"),
        "status": numbers(status or {}),
        "log": _log(home / "node.log"),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Only what is counted, under names that are names: nothing of somebody else's choosing has one."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            continue
        if isinstance(item, Mapping):
            found[name] = numbers(item)
        elif isinstance(item, bool | int | float):
            found[name] = item
        elif isinstance(item, list | tuple):
            found[name] = {"count": len(item)}
    return found


def _settings(home: Path) -> dict[str, Any]:
    try:
        config = load_config(home)
    except Trouble as trouble:
        return {"error": trouble.code}
    return {
        "net": MAIN_NET if config.net == MAIN_NET else "another",
        "listen": [kind_of_address(address) for address in config.listen],
        "announce": [kind_of_address(address) for address in config.announce],
        "join": [kind_of_address(address) for address in config.join],
        "static": [kind_of_address(address) for address in config.static],
        "meeting": config.meeting,
        "divisions": len(config.divisions),
        "mailbox": config.mailbox,
        "mailboxes": len(config.mailboxes),
        "catalogue": config.catalogue is not None,
        "archive": config.archive,
        "hook_port": config.hook_port != 0,
        "log_level": config.log_level,
        "log_json": config.log_json,
        "heartbeat": config.heartbeat,
    }


def _store(path: Path) -> dict[str, Any]:
    try:
        with closing(open_to_read(path)) as database:
            rows = {
                name: database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]
                for name in tables.metadata.tables
                if database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone()
            }
            pragmas = ("page_count", "freelist_count", "page_size", "journal_mode")
            return {"rows": rows, **{name: database.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas}}
    except sqlite3.Error as error:
        return {"error": getattr(error, "sqlite_errorname", type(error).__name__)}


def _log(path: Path) -> list[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            lines = file.read(LOG_BYTES).splitlines()[-LOG_LINES:]
    except OSError:
        return []
    return [line for line in map(_log_line, lines) if line is not None]


def _log_line(data: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(data)
        own = line["logger"] in OWN_LOGGERS
        found = {
            "at": _instant(line["timestamp"]),
            "level": line["level"] if line["level"] in LOG_LEVELS else "other",
            "logger": line["logger"] if own else "a library",
            "event": str(line["event"]) if own else "",
        }
    except (ValueError, KeyError, TypeError):
        return None  # the first line may be half a one
    trace = str(line.get("exception", ""))
    return {
        **found,
        **numbers({name: value for name, value in line.items() if isinstance(value, bool | int | float)}),
        **({"raised": _EXCEPTION.findall(trace), "at_lines": _PLACE.findall(trace)} if trace else {}),
    }


def _instant(text: object) -> str:
    found = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", str(text))
    return found.group() if found else ""
