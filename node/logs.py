"""The log: structlog over the standard library's logging, to stderr, as lines for people or as JSON; and of a node at
home also to files, as JSON, that never grow beyond a few megabytes.

At every level but debug it shows no text of wishes and offers, no names and no addresses: a log is what people paste
into bug reports. Peers and addresses appear as short hashes, salted anew at each start, so that one can follow a
peer through a log but not find it in another. The files are discreet at every level: they lie there for years, and
`doctor` packs them. The same line said again within a minute is counted, not written; the count is told.
"""

import hashlib
import logging
import os
import re
import secrets
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

FILE_BYTES: Final = 1 << 20
OLDER_FILES: Final = 3
"""A log is kept in that many files of that size beside the newest: days of a busy node, and 4 MB at most."""

REPEAT_SECONDS: Final = 60
MAX_REMEMBERED: Final = 256
"""Different lines whose repeats are counted; the oldest is forgotten first."""

PRIVATE: Final = frozenset({"title", "note", "text", "name", "label", "contact", "chat", "reason_text", "wish"})
"""Fields that are dropped: words of people."""
HASHED: Final = frozenset({"peer", "peer_id", "addr", "address", "addresses", "remote", "via", "host"})
"""Fields that are shown as salted hashes: who and where."""

_TRACES: Final = re.compile(
    r"/(?:ip4|ip6|dns[46]?)/[^\s'\",)]+|\b(?:12D3KooW|16Uiu2HA|Qm)[1-9A-HJ-NP-Za-km-z]{20,}|did:key:z\w+"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|(?<![\w:])(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}\b"
)
"""What looks like an address or a peer inside a line that a library wrote."""

Event = MutableMapping[str, Any]


def configure_logging(
    level: str = "info", as_json: bool = False, stream: TextIO | None = None, file: Path | None = None
) -> None:
    """Set up the process's log, once; a second call replaces the first (tests). `level` as in config.toml; `file`:
    where to keep it besides, see LogFile."""
    stream = sys.stderr if stream is None else stream
    discreet = [] if level == "debug" else [Discretion(secrets.token_bytes(16))]
    shared: list[Callable[[Any, str, Event], Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: Any = structlog.processors.JSONRenderer()
    if not as_json:
        # Plain tracebacks: the pretty ones show local variables, and those hold what must not be in a log.
        renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    handlers = [_prepared(logging.StreamHandler(stream), shared, [*discreet, renderer])]
    if file is not None:
        private: list[Any] = [Discretion(secrets.token_bytes(16)), structlog.processors.JSONRenderer()]
        handlers.append(_prepared(LogFile(file), shared, private))
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old, Log):
            root.removeHandler(old)
            old.close()
    root.addHandler(Log(handlers))
    root.setLevel(level.upper())
    # Libraries are quieter than we are: what they see of peers is counted by us, and their debug is a flood.
    for name, quiet in (("libp2p", "ERROR"), ("multiaddr", "ERROR"), ("hypercorn", "WARNING")):
        logging.getLogger(name).setLevel(quiet)


def _prepared(handler: logging.Handler, shared: list[Any], processors: list[Any]) -> logging.Handler:
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                *processors,
            ],
        )
    )
    return handler


class Log(logging.Handler):
    """All places a line goes to, behind one count of repeats."""

    def __init__(self, places: list[logging.Handler]) -> None:
        super().__init__()
        self._places = places
        self.addFilter(Repeats(self.emit))

    def emit(self, record: logging.LogRecord) -> None:
        for place in self._places:
            place.handle(record)

    def close(self) -> None:
        for place in self._places:
            place.close()
        super().close()


class LogFile(RotatingFileHandler):
    """A log in files of a bounded size, the newest without a number, for their owner alone. A disk that is full, or
    a directory that is gone, costs lines and nothing else."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8", delay=True)

    def _open(self) -> Any:
        return open(self.baseFilename, "a", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600))

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing can be said about it where it would be read: this is where things are said."""
        stream, self.stream = self.stream, None  # and what it could not write with it; opened anew for the next line
        if stream is not None:
            with suppress(OSError):
                stream.close()


class Discretion:
    """A processor that removes what would tell who wants what, and where they are."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def __call__(self, logger: Any, method: str, event: Event) -> Event:
        for key in list(event):
            if key in PRIVATE:
                del event[key]
            elif key in HASHED:
                event[key] = self._hashed(event[key])
            elif isinstance(event[key], str) and key not in ("timestamp", "level", "logger"):
                event[key] = _TRACES.sub(lambda found: self._hashed(found.group()), event[key])
        return event

    def _hashed(self, value: object) -> str:
        digest = hashlib.blake2b(str(value).encode("utf-8", "replace"), key=self._salt, digest_size=4)
        return f"~{digest.hexdigest()}"


class Repeats(logging.Filter):
    """Lets a line through once a minute. How often it was held back is told when it comes again, or with the first
    line of any kind after its minute. `tell` writes a line without asking this filter."""

    def __init__(self, tell: Callable[[logging.LogRecord], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._tell = tell
        self._clock = clock
        self._seen: OrderedDict[tuple[str, int, str], list[float]] = OrderedDict()
        """Line -> when it was let through, how often it was held back since; the oldest first."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG:
            return True  # who asked for everything gets everything
        event = record.msg.get("event") if isinstance(record.msg, dict) else record.msg
        key = (record.name, record.levelno, str(event))
        now = self._clock()
        found = self._seen.get(key)
        if found is not None and now - found[0] < REPEAT_SECONDS:
            found[1] += 1
            return False
        if found is not None:
            del self._seen[key]
            if found[1]:
                self._note(record, int(found[1]))
        self._tell_due(now)
        self._seen[key] = [now, 0]
        return True

    def _tell_due(self, now: float) -> None:
        """What was held back and did not come again."""
        while self._seen:
            key, (since, times) = next(iter(self._seen.items()))
            if now - since < REPEAT_SECONDS and len(self._seen) < MAX_REMEMBERED:
                return
            del self._seen[key]
            if times:
                name, level, event = key
                line = {"name": name, "levelno": level, "levelname": logging.getLevelName(level)}
                self._tell(
                    logging.makeLogRecord({**line, "msg": "%s (and %d times more)", "args": (event, int(times))})
                )

    @staticmethod
    def _note(record: logging.LogRecord, times: int) -> None:
        if isinstance(record.msg, dict):
            record.msg["repeated"] = times
        else:
            record.msg = f"{record.getMessage()} (and {times} times more)"
            record.args = ()
