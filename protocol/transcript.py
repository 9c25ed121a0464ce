"""Transcripts: what was said, as lines that people can read and anybody can check. Pure.

One line of JSON for each frame: when, what, by whom, all its payload says, and last the frame itself. Everything before
the frame follows from the frame, byte for byte: so a line is checked by writing it anew, and nothing in it can change
unseen. Bytes are shown in hex.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from .codec import Map
from .envelope import open_frame, read_frame
from .errors import Reason, Refused
from .keys import did
from .kinds import KINDS
from .limits import MAX_ITEM
from .message import Message, believe

VERSION: Final = 1

MAX_LINE: Final = 8 * MAX_ITEM
"""Bytes, without the line feed: a frame in base64, and its payload in which every byte may be shown by six."""

_LAST_YEAR: Final = 253_402_300_800
"""The instant at which the year 10000 begins, which has no name in ISO 8601."""


def write_line(frame: bytes) -> bytes:
    """The line that shows a frame, with its line feed. Raises Refused for what is no frame; judges nothing else."""
    unverified = read_frame(frame)
    fields = unverified.peek_unverified()
    head = {name: value for name, value in fields.items() if name not in ("kind", "body")}
    at = fields.get("at")
    shown = {
        "transcript": VERSION,
        "at": _instant(at) if isinstance(at, int) else "",
        "kind": fields.get("kind"),
        "id": unverified.id.hex(),
        "author": did(unverified.key),
        "says": _plain(fields.get("body")),
        "head": _plain(head),
        "frame": b64encode(frame).decode("ascii"),
    }
    return json.dumps(shown, ensure_ascii=False).encode() + b"\n"


def read_line(line: bytes) -> Message:
    """The message a line shows, believed; the line without its line feed. Raises Refused if the frame is not signed as
    it says, or the line is not exactly what the frame says."""
    if len(line) > MAX_LINE:
        raise Refused(Reason.SIZE, f"a line of {len(line)} bytes")
    frame = _frame_in(line)
    if write_line(frame) != line + b"\n":
        raise Refused(Reason.EVIDENCE, "the line does not show what its frame says")
    fields: Map = read_frame(frame).peek_unverified()
    kind = KINDS.get(str(fields.get("kind")))
    if kind is None:
        raise Refused(Reason.UNKNOWN_KIND, "a kind that is not known here")
    return believe(open_frame(frame, kind.realm, str(fields.get("net"))))


def _frame_in(line: bytes) -> bytes:
    try:
        shown = json.loads(line)
        return b64decode(shown["frame"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused(Reason.EVIDENCE, "not a line of a transcript") from None


def check_wish(transcripts: Iterable[list[Message]]) -> int:
    """Do these belong to one wish? Each is what was said about it by its author alone, or between its author and one
    vendor. Gives how many of them answer something that is not here. Raises Refused."""
    transcripts = [messages for messages in transcripts if messages]
    said = [message for messages in transcripts for message in messages]
    ids = {message.id for message in said}
    if len(ids) != len(said):
        raise Refused(Reason.EVIDENCE, "something is said twice")
    if len({(message.root, message.head.net) for message in said}) > 1:
        raise Refused(Reason.ROOT, "of more than one wish")
    authors = {message.author for message in said if message.head.to is None}
    if len(authors) > 1:
        raise Refused(Reason.AUTHOR, "a wish has one author")
    for messages in transcripts:
        parties = {party for m in messages for party in (m.author, m.head.to) if party is not None}
        if len(parties | authors) > 2:
            raise Refused(Reason.AUTHOR, "more than two parties in one thread")
    return sum(message.head.ref is not None and message.head.ref not in ids for message in said)


def _instant(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" if 0 <= at < _LAST_YEAR else str(at)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
