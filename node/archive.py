"""The personal archive: everything said about a wish, both ways, in files that need no program to be read.

    archive/2027-03-01 A 4x4 from Lyon Airport 51e01122-9a71fd87/     a folder for each wish, own or answered
        wish.jsonl                                                    its texts and its end
        Alpine Cars 6967082c.jsonl                                    what was said with one vendor

Each line shows a signed frame (protocol/transcript.py); `intentcast verify` checks lines, files and folders. The store
is what counts, and is written first: files follow as things happen, and what a crash or a full disk kept out of them,
or damaged in them, is put right at the next start. What the store forgets stays here, until its owner deletes it.
"""

import io
import json
import math
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
import trio

from protocol.envelope import Item, read_frame, read_item, reopen
from protocol.errors import Reason, Refused
from protocol.message import Message
from protocol.transcript import MAX_LINE, check_wish, read_line, write_line

from .events import EventLog
from .home import write_file
from .store import Store, StoredMessage, Tx, open_store_nowait
from .threads import LiveThread, Threads
from .trouble import Trouble, not_found, refused, usage

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("archive")

FOLDER: Final = "archive"
"""In the home."""

AGAIN: Final = 60.0
"""Seconds after which what could not be written is tried again."""

ROWS_AT_ONCE: Final = 200

NAME_CHARS: Final = 40
"""Of a title or a vendor's name: what every file system bears, in any script."""

WISH_FILE: Final = "wish.jsonl"


@dataclass(frozen=True, slots=True)
class Page:
    """Lines for one file."""

    suffix: str
    """Names the wish's folder: the first characters of its id, and of its author's key."""
    title: str
    vendor: bytes | None
    """None: the wish itself."""
    vendor_name: str
    lines: tuple[bytes, ...]


class Archive:
    """The files. Every method may raise OSError; what was not written is written by the next `mend`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, Path] | None = None
        """Suffix -> its folder, since it was first looked for: thousands are not listed again for every line."""

    def mend(self, page: Page) -> None:
        """See to it that the file holds these lines: each once, whole, and as it should be."""
        path = self._file(page)
        held = path.read_bytes() if path.exists() else b""
        wanted = {_id_of(line): line for line in page.lines}
        kept: list[bytes] = []
        for line in io.BytesIO(held):  # by line feeds alone: texts may hold what Python takes for other ends of lines
            known = wanted.pop(_id_of(line), None)
            if known is not None or (line.endswith(b"\n") and _id_of(line)):
                kept.append(known or line)  # or it is of something the store has forgotten
        is_torn = held.startswith(b"".join(kept))  # the power went in the middle of the last line
        whole = b"".join([*kept, *wanted.values()])
        if whole != held:
            if whole.startswith(held):
                with open(path, "ab", opener=_private) as file:
                    file.write(whole[len(held) :])
            else:
                log.warning("a file of the archive was damaged and is written anew", file=path.name)
                if not is_torn:  # what was in it may be of something the store has forgotten
                    path.rename(path.with_suffix(".damaged"))
                write_file(path, whole)

    def delete(self, prefix: str) -> list[str]:
        """Delete the folders of the wishes whose id begins so. Gives their names."""
        found = [path for path in self.folders() if _suffix_of(path).startswith(prefix[:8])]
        for path in found:
            shutil.rmtree(path)
        return [path.name for path in found]

    def folders(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if _is_folder(path))

    def _file(self, page: Page) -> Path:
        folder = self._folder_of(page)
        if page.vendor is None:
            return folder / WISH_FILE
        ending = f" {page.vendor.hex()[:8]}.jsonl"
        found = next((path for path in folder.iterdir() if path.name.endswith(ending)), None)
        return found or folder / f"{page.vendor_name}{ending}"

    def _folder_of(self, page: Page) -> Path:
        found = self._found.get(page.suffix) if self._found is not None else None
        if self._found is None or (found is not None and not _is_folder(found)):  # its owner renamed or deleted it
            self._found = {_suffix_of(path): path for path in self.folders()}
            found = self._found.get(page.suffix)
        if found is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            found = self._found[page.suffix] = self._folder / f"{page.title} {page.suffix}"
            found.mkdir(mode=0o700)
        return found


class Archivist:
    """Writes the archive while a node runs."""

    def __init__(
        self,
        archive: Archive,
        store: Store,
        threads: Threads,
        events: EventLog,
        is_sealed: Callable[[bytes], bool],
    ) -> None:
        """`is_sealed`: may nobody look at the offers to this wish yet, not even its owner?"""
        self._archive = archive
        self._store = store
        self._threads = threads
        self._events = events
        self._is_sealed = is_sealed
        self._sealed: set[bytes] = set()
        """Roots of wishes of which the offers are not written yet."""
        self._behind: set[bytes] = set()
        """Roots of wishes of which something could not be written."""

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: first make whole what there is, then follow."""
        task_status.started()
        done, roots = await self._store.transact(lambda tx: (tx.last_message(), tx.message_roots()))
        for root in roots:
            await self._write(root, 0)
        while True:
            changed = self._events.next_change
            rows = await self._store.transact(lambda tx, after=done: tx.messages_after(after, ROWS_AT_ONCE))  # type: ignore[misc]
            first: dict[bytes, int] = {}
            for row in rows:
                first.setdefault(row.root, row.n)
            for root, n in first.items():
                await self._write(root, n)
            done = rows[-1].n if rows else done
            for root in [*self._behind, *(root for root in self._sealed if not self._is_sealed(root))]:
                await self._write(root, 0)
            if len(rows) < ROWS_AT_ONCE:
                with trio.move_on_after(AGAIN if self._behind else math.inf):
                    await changed.wait()

    async def _write(self, root: bytes, since: int) -> None:
        """Bring the files of one wish up to date with what was stored since message `since`."""
        rows, is_unwanted = await self._store.transact(
            lambda tx: (tx.messages(root), tx.get_meta(unwanted(root)) is not None)
        )
        if self._is_sealed(root):
            self._sealed.add(root)
            rows = [row for row in rows if row.thread is None]
        else:
            self._sealed.discard(root)
        try:
            if is_unwanted:
                await self._do(partial(self._archive.delete, root.hex()))
            else:
                for page in self._pages(rows, since):
                    await self._do(partial(self._archive.mend, page))
            self._behind.discard(root)
        except OSError as wrong:
            if root not in self._behind:
                log.warning("the archive cannot be written, and will be tried again", error=wrong.strerror)
            self._behind.add(root)

    async def _do(self, work: Callable[[], object]) -> None:
        if self._store.inline:
            work()
        else:
            await trio.to_thread.run_sync(work)

    def _pages(self, rows: list[StoredMessage], since: int) -> Iterator[Page]:
        """What belongs into which file, for files with something stored since then."""
        files: dict[tuple[bytes, bytes | None], list[StoredMessage]] = {}
        lives: dict[bytes, LiveThread] = {}
        for row in rows:
            if row.thread is None:
                files.setdefault((read_frame(row.frame).key, None), []).append(row)
                continue
            live = self._threads.get(row.thread)
            if live is not None:  # or it was passed over, and is about to be forgotten
                lives[live.thread.vendor] = live
                files.setdefault((live.thread.requester, live.thread.vendor), []).append(row)
        for (author, vendor), said in files.items():
            if said[-1].n < since:
                continue
            live = lives.get(vendor) if vendor is not None else None
            yield Page(
                f"{said[0].root.hex()[:8]}-{author.hex()[:8]}",
                _title([row for row in rows if row.thread is None and read_frame(row.frame).key == author]),
                vendor,
                _plain_name(_vendor_name(live)) if live is not None else "",
                tuple(line for row in said for line in _show(row, live)),
            )


def _show(row: StoredMessage, live: LiveThread | None) -> Iterator[bytes]:
    """The line of a stored message, and that of our ack for it: it is kept sealed, and can be read while we have the
    thread's key."""
    yield write_line(row.frame)
    if row.answer is not None and live is not None and live.end.keys is not None:
        item = read_item(row.answer)
        if isinstance(item, Item):
            yield write_line(reopen(item, live.end.secrets()[1], own_is_box=live.end.is_box))


def _title(rows: list[StoredMessage]) -> str:
    for row in rows:
        fields = read_frame(row.frame).peek_unverified()
        body, at = fields.get("body"), fields.get("at")
        if isinstance(body, dict) and isinstance(body.get("title"), str) and isinstance(at, int):
            return f"{json.loads(write_line(row.frame))['at'][:10]} {_plain_name(str(body['title']))}"
    return "a wish"


def _vendor_name(live: LiveThread) -> str:
    first = next(iter(live.thread.talks.values()), None)
    return getattr(getattr(first.offer.body, "vendor", None), "name", "") if first is not None else ""


def _plain_name(text: str) -> str:
    """Text from outside as part of a file's name: letters, digits and blanks, so that no shell and no system minds."""
    kept = "".join(c if c.isalnum() or c == "-" else " " for c in unicodedata.normalize("NFC", text))
    name = " ".join(kept.split())
    if len(name) > NAME_CHARS:
        name = name[: NAME_CHARS + 1].rpartition(" ")[0] or name[:NAME_CHARS]
    return name or "unnamed"


def _id_of(line: bytes) -> str:
    """The id a line shows; empty if it shows none."""
    try:
        return str(json.loads(line)["id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _suffix_of(folder: Path) -> str:
    return folder.name.rpartition(" ")[2]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def unwanted(root: bytes) -> str:
    """The store's note that nothing about this wish is to be archived: its owner deleted it."""
    return f"unarchived:{root.hex()}"


# ---------------------------------------------------------------------------------------------------------- checking


@dataclass(slots=True)
class Checked:
    files: int = 0
    wishes: int = 0
    messages: int = 0
    contracts: int = 0
    missing: int = 0
    """Messages that answer something that is not in their folder."""


def check_archive(path: Path) -> Checked:
    """Check a file of an archive, a wish's folder or a whole archive. Raises Trouble, with file and line."""
    folders = files_by_folder(path)
    if not folders:
        raise not_found(f"{path} holds no archive", "An archive's files end in .jsonl.")
    found = Checked()
    for folder, files in folders.items():
        check_folder(folder, files, found)
    return found


def files_by_folder(path: Path) -> dict[Path, list[Path]]:
    """The files of an archive, or of a part of one, each with what lies beside it."""
    found: dict[Path, list[Path]] = {}
    for file in [path] if path.is_file() else sorted(path.rglob("*.jsonl")):
        found.setdefault(file.parent, []).append(file)
    return found


def check_folder(folder: Path, files: list[Path], found: Checked) -> None:
    """Check these files of one wish, and count what is in them. Raises Trouble."""
    transcripts = [_check_file(file) for file in files]
    try:
        missing = check_wish(transcripts)
    except Refused as wrong:
        raise _changed(str(folder), wrong) from None
    said = [message for messages in transcripts for message in messages]
    found.missing += missing
    found.files += len(transcripts)
    found.wishes += 1
    found.messages += len(said)
    found.contracts += sum(message.kind == "confirm" for message in said)


def _check_file(file: Path) -> list[Message]:
    messages = []
    try:
        with open(file, "rb") as opened:
            for number, line in enumerate(iter(partial(opened.readline, MAX_LINE + 1), b""), 1):
                try:
                    if not line.endswith(b"\n"):
                        raise Refused(Reason.EVIDENCE, "the line is cut off, or far too long")
                    messages.append(read_line(line[:-1]))
                except Refused as wrong:
                    raise _changed(f"{file}, line {number}", wrong) from None
    except OSError as wrong:
        raise Trouble("not_read", f"{file}: {wrong.strerror}", "") from None
    return messages


def _renounce(prefix: str, tx: Tx) -> None:
    for root in tx.message_roots():
        if root.hex().startswith(prefix):
            tx.put_meta(unwanted(root), "1")


def _changed(where: str, wrong: Refused) -> Trouble:
    return refused("not_valid", f"{where} is not as it was said: {wrong}", "Do not rely on it: it was changed.")


# ---------------------------------------------------------------------------------------------------------- deleting


def delete_archived(home: Path, id_text: str) -> list[str]:
    """Delete a wish from the archive of this home, whether its node runs or not, and archive nothing more about it.
    Gives the names of the folders that went. Raises Trouble."""
    prefix = id_text.strip().lower()
    if not 8 <= len(prefix) <= 64 or any(digit not in "0123456789abcdef" for digit in prefix):
        raise usage("id", f"{id_text!r} is no id", "Ids are hex; 8 or more of their first characters are enough.")
    if (home / "node.db").exists():
        store = open_store_nowait(home / "node.db")
        try:
            store.transact_nowait(partial(_renounce, prefix))
        finally:
            store.close()
    try:
        gone = Archive(home / FOLDER).delete(prefix)
    except OSError as wrong:
        raise Trouble("not_deleted", f"{wrong.filename}: {wrong.strerror}", "") from None
    if not gone:
        raise not_found(f"no wish in the archive starts with {id_text}", "intentcast archive list")
    return gone
