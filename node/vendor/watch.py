"""A catalogue that changes while the node runs: read again when its files do, and used only if nothing is wrong.

Files are looked at, not watched by the kernel: shop systems write them over networks and by renaming, and a look every
two seconds costs nothing. What changes from one look to the next is still being written, and waits for the next.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ..trouble import Trouble
from .catalogue import files_of, load_catalogue

if TYPE_CHECKING:
    from ..events import EventLog
    from .role import VendorRole

LOOK_EVERY: Final = 2.0
"""Seconds."""

log = structlog.get_logger("vendor.catalogue")

Looks = tuple[tuple[str, int, int, int], ...]


async def watch_catalogue(path: Path, vendor: "VendorRole", events: "EventLog") -> None:
    """Until cancelled. A file that is not there yet may come."""
    files = files_of(path)
    used = seen = _look(files)
    while True:
        await trio.sleep(LOOK_EVERY)
        found = _look(files)
        if found != seen:
            seen = found  # still being written, perhaps
        elif found != used:
            # Looked at before it is read: what changes meanwhile is read again. It may name other lists now, and also
            # one that is wrong, or not there yet, will be mended.
            files = files_of(path)
            used = seen = _look(files)
            await reload(path, vendor, events)


async def reload(path: Path, vendor: "VendorRole", events: "EventLog") -> None:
    """Read it now. A broken file changes nothing, and is told."""
    try:
        catalogue = await trio.to_thread.run_sync(load_catalogue, path)
    except Trouble as trouble:
        vendor.catalogue_trouble = f"{trouble.message} {trouble.hint}".strip()
        vendor.counters["catalogue_broken"] += 1
        log.warning("the catalogue was changed and is wrong; the one before stays in use", what=trouble.message)
        await events.add("catalogue.broken", {"message": trouble.message, "hint": trouble.hint})
        return
    await vendor.use(catalogue)
    vendor.catalogue_trouble = None
    vendor.counters["catalogue_loaded"] += 1
    bad = sum(one.report.bad_lines for one in catalogue.lists)
    lines = sum(len(one) for one in catalogue.lists)
    log.info("the catalogue was read again", items=len(catalogue.items), lines=lines, bad_lines=bad)
    await events.add("catalogue.loaded", {"items": len(catalogue.items), "lines": lines, "bad_lines": bad})


def _look(files: tuple[Path, ...]) -> Looks:
    """What tells one state of the files from another."""
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            found.append((str(file), 0, 0, 0))
        else:
            found.append((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
