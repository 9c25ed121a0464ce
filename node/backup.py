"""A whole node in one encrypted file: settings, keys, catalogue, store and archive, whether the node runs or not.

    "intentcast backup 1\\n"   salt, 16   operations, u32   memory, u32 (KiB)   stream header, 24
    chunks of an XChaCha20-Poly1305 secret stream (libsodium), under Argon2id of the passphrase; what stands before them
    is authenticated with each. The first chunk is the manifest (JSON), then every file it names, in its order. One of
    them is a zip, of what there may be any number of: the archive, which remembers what the store has forgotten, and
    the files a catalogue is made of.

Left out unless asked for: the keys that belong to single wishes and threads. They are deleted when a wish is over, so
that what was sealed to them can be read by nobody any more; a copy of them in a drawer would undo that.
"""

import io
import json
import os
import secrets
import shutil
import sqlite3
import struct
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

import nacl.bindings as sodium
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from protocol.exchange import Side
from protocol.keys import SigningKey, did, peer_id

from .archive import FOLDER as ARCHIVE
from .config import CATALOGUE, load_config
from .home import SEED_BYTES, Home, sync_directory
from .store import open_store_nowait
from .store.tables import SCHEMA_VERSION
from .trouble import Exit, Trouble, is_no_room, not_found, refused, usage
from .vendor.catalogue import files_of

MAGIC: Final = b"intentcast backup 1\n"
_HEADER: Final = struct.Struct(">16sII24s")

OPERATIONS, MEMORY_KIB = argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE // 1024
"""Argon2id: a second and 256 MB for each guess."""
MOST_OPERATIONS, MOST_MEMORY_KIB = 16, 1 << 20
"""What a file may ask of who opens it."""

SHORTEST_PASSPHRASE: Final = 8
CHUNK: Final = 1 << 16
MOST_MANIFEST: Final = CHUNK
MOST_SMALL: Final = 1 << 22
"""Bytes of a settings or catalogue file at most."""

STORE: Final = "node.db"
KEYS: Final = ("node.key", "vendor.key")
FILES: Final = "files.zip"
"""By their paths in the home."""
NAMES: Final = ("config.toml", *KEYS, CATALOGUE, STORE, FILES)
"""All that can be in a backup. The log and the lock stay behind."""

_AD: Final = sodium.crypto_secretstream_xchacha20poly1305_ABYTES
_MORE: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_LAST: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL


def check_passphrase(text: str) -> bytes:
    """As bytes, the same however a keyboard composes its letters. Raises Trouble for one that is too short."""
    if len(text) < SHORTEST_PASSPHRASE:
        raise usage(
            "passphrase", f"a passphrase has {SHORTEST_PASSPHRASE} characters or more", "Four words are a good one."
        )
    return unicodedata.normalize("NFC", text).encode()


# ------------------------------------------------------------------------------------------------------------ backup


def write_backup(home: Path, target: Path, passphrase: bytes, *, with_keys: bool) -> dict[str, Any]:
    """Write the home to `target`, whole or not at all, and give the manifest. Raises Trouble."""
    directory = Home(home)
    if not directory.exists:
        raise not_found(f"there is no home at {home}", "Name yours with --home.")
    seeds = {name: directory.seed(name) for name in KEYS}
    # In the home, which is private.
    with _told_by_name(directory.path), directory.workshop() as folder:
        store = folder / STORE
        left_out = _copy_store(directory.path / STORE, store, with_keys=with_keys)
        texts = {name: directory.path / name for name in ("config.toml", CATALOGUE)}
        files: dict[str, bytes | Path] = {
            **{name: path.read_bytes() for name, path in texts.items() if path.is_file()},
            **seeds,
            STORE: store,
            FILES: _pack(directory.path, folder / FILES),
        }
        manifest = {
            "made_at": int(time.time()),
            "program": version("intentcast"),
            "schema": SCHEMA_VERSION,
            "peer_id": peer_id(SigningKey(seeds["node.key"]).public),
            "vendor": did(SigningKey(seeds["vendor.key"]).public),
            "with_keys": with_keys,
            **left_out,
            "files": [[name, _size(files[name])] for name in NAMES if name in files],
        }
        _encrypt(target, passphrase, manifest, files)
    return manifest


@contextmanager
def _told_by_name(home: Path) -> Iterator[None]:
    """What keeps a copy of this home from being made, as Trouble."""
    try:
        yield
    except sqlite3.Error as wrong:
        if getattr(wrong, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
            raise refused("store_damaged", f"{home / STORE}: {wrong}", "intentcast doctor says more.") from None
        raise _no_copy(home, "the disk is full", is_full=True) from None
    except OSError as wrong:
        raise _no_copy(home, wrong.strerror or str(wrong), is_full=is_no_room(wrong)) from None


def _no_copy(home: Path, why: str, *, is_full: bool) -> Trouble:
    hint = "Make room on it: for a moment a backup takes as much as the store once more." if is_full else ""
    return refused("not_written", f"no copy of {home} can be made: {why}", hint)


def _size(file: bytes | Path) -> int:
    return len(file) if isinstance(file, bytes) else file.stat().st_size


def _copy_store(source: Path, target: Path, *, with_keys: bool) -> dict[str, int]:
    """A sound copy of the store as it is this moment, without keys if so asked. What that cost: wishes and threads."""
    if not source.exists():
        raise not_found(f"there is no store at {source}", "Start the node once: intentcast up")
    open_store_nowait(source).close()  # judged, and brought to today's schema
    left_out = {"wishes_without_keys": 0, "threads_without_keys": 0}
    # By way of memory: a key that is left out must not lie on the disk either, not even for a moment.
    with closing(sqlite3.connect(source)) as store, closing(sqlite3.connect(":memory:")) as copy:
        store.backup(copy)
        (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise refused("store_damaged", f"{source} is damaged: {verdict}", "intentcast doctor says more.")
        if not with_keys:
            is_open = "state IN ('OPEN', 'DECIDING')"
            (threads,) = copy.execute("SELECT COUNT(*) FROM boxes WHERE side = ?", (Side.VENDOR.value,)).fetchone()
            (wishes,) = copy.execute(f"SELECT COUNT(*) FROM wishes WHERE {is_open}").fetchone()
            left_out = {"wishes_without_keys": wishes, "threads_without_keys": threads}
            copy.execute("PRAGMA secure_delete = 1")
            copy.execute("DELETE FROM boxes")
            copy.execute("UPDATE wishes SET secret = NULL")
            # Nobody can accept for them, or end them, without their keys: they expire by themselves.
            copy.execute(f"UPDATE wishes SET state = 'LOST', closed_at = ? WHERE {is_open}", (int(time.time()),))
            copy.commit()
        _new_file(target).close()
        copy.execute("VACUUM INTO ?", (str(target),))
    return left_out


def _pack(home: Path, target: Path) -> Path:
    """What people would miss besides: as it is this moment, for a line that is cut off is mended at the next start."""
    with (
        _new_file(target) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as packed,
    ):
        for path in sorted({*(home / ARCHIVE).rglob("*"), *_shop_files(home)}):
            if path.is_file() and not path.is_symlink():
                packed.write(path, path.relative_to(home))
    return target


def _shop_files(home: Path) -> list[Path]:
    """What the catalogue is read from and lies in the home."""
    try:
        path = load_config(home).catalogue
    except Trouble:
        return []
    if path is None:
        return []
    inside = [path.resolve() for path in files_of(path) if path.is_file() and path.resolve().is_relative_to(home)]
    return [path for path in inside if path != home / CATALOGUE]


def _new_file(path: Path) -> IO[bytes]:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _encrypt(target: Path, passphrase: bytes, manifest: dict[str, Any], files: dict[str, bytes | Path]) -> None:
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    salt = secrets.token_bytes(16)
    key = _key(passphrase, salt, OPERATIONS, MEMORY_KIB)
    header = sodium.crypto_secretstream_xchacha20poly1305_init_push(state, key)
    head = MAGIC + _HEADER.pack(salt, OPERATIONS, MEMORY_KIB, header)
    chunks = _with_last(_plain(json.dumps(manifest).encode(), files, manifest["files"]))
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
            out.write(head)
            for chunk, tag in chunks:
                sealed = sodium.crypto_secretstream_xchacha20poly1305_push(state, chunk, ad=head, tag=tag)
                out.write(len(sealed).to_bytes(4, "big") + sealed)
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, target)
        sync_directory(target.parent)
    except OSError as wrong:
        hint = "Make room on that disk, or choose another." if is_no_room(wrong) else "Choose another place."
        raise refused("not_written", f"{target}: {wrong.strerror}", hint) from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _plain(manifest: bytes, files: dict[str, bytes | Path], sizes: list[list[Any]]) -> Iterator[bytes]:
    """At most CHUNK bytes each."""
    yield manifest
    for name, _ in sizes:
        found = files[name]
        with io.BytesIO(found) if isinstance(found, bytes) else open(found, "rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk


def _with_last(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, int]]:
    before = next(chunks)
    for chunk in chunks:
        yield before, _MORE
        before = chunk
    yield before, _LAST


def _key(passphrase: bytes, salt: bytes, operations: int, memory_kib: int) -> bytes:
    try:
        return argon2id.kdf(32, passphrase, salt, opslimit=operations, memlimit=memory_kib * 1024)
    except (MemoryError, CryptoError, RuntimeError) as wrong:
        raise Trouble("memory", f"{memory_kib} KiB of memory are needed for a moment: {wrong}") from None


# ----------------------------------------------------------------------------------------------------------- restore


def restore_backup(source: Path, home: Path, passphrase: bytes) -> dict[str, Any]:
    """Make a home of a backup, whole or not at all, and give the manifest. `home` must be new or empty.

    Raises Trouble."""
    directory = Home(home)
    if directory.path.exists() and any(directory.path.iterdir()):
        what = "is a home already" if directory.exists else "holds other things"
        raise refused("home_taken", f"{directory.path} {what}: nothing is overwritten", "Name a new one with --home.")
    unfinished = directory.path.with_name(f".{directory.path.name}.unfinished")
    try:
        with _opened(source) as file, _new_directory(unfinished):
            manifest = _decrypt_into(unfinished, file, source, passphrase)
            _unpack(unfinished, source)
            _check_home(unfinished, manifest, source)
            os.replace(unfinished, directory.path)
            sync_directory(directory.path.parent)
    except OSError as wrong:
        hint = "Make room on that disk." if is_no_room(wrong) else "Choose another place with --home."
        raise refused("not_restored", f"{wrong.filename or home}: {wrong.strerror}", hint) from None
    return manifest


def _opened(source: Path) -> IO[bytes]:
    try:
        return open(source, "rb")
    except FileNotFoundError:
        raise not_found(f"there is no file {source}", _NAME_IT) from None
    except OSError as wrong:
        raise refused("not_read", f"{source}: {wrong.strerror}", _NAME_IT) from None


_NAME_IT: Final = "Name a file that intentcast backup wrote."


@contextmanager
def _new_directory(path: Path) -> Iterator[None]:
    """Gone at the end, unless it was renamed."""
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(mode=0o700)
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _decrypt_into(folder: Path, file: IO[bytes], source: Path, passphrase: bytes) -> dict[str, Any]:
    chunks = _decrypt(file, source, passphrase)
    manifest = _read_manifest(next(chunks), source)
    for name, size in manifest["files"]:
        with _new_file(folder / name) as out:
            while size:
                chunk = next(chunks, b"")
                if not 0 < len(chunk) <= size:
                    raise _damaged(source, f"{name} has another size than its manifest says")
                out.write(chunk)
                size -= len(chunk)
            out.flush()
            os.fsync(out.fileno())
    if next(chunks, None) is not None:
        raise _damaged(source, "there is more in it than its manifest says")
    return manifest


def _unpack(folder: Path, source: Path) -> None:
    """Nothing outside the home, and nothing that is there already."""
    packed = folder / FILES
    if not packed.exists():
        return
    try:
        with zipfile.ZipFile(packed) as files:
            for info in files.infolist():
                path = Path(os.path.normpath(folder / info.filename))
                if not path.is_relative_to(folder) or (path.parent == folder and path.name.startswith("node.")):
                    raise _damaged(source, f"{info.filename!r} does not belong into a home")
                for parent in reversed(path.relative_to(folder).parents[:-1]):
                    (folder / parent).mkdir(mode=0o700, exist_ok=True)
                with files.open(info) as file, _new_file(path) as out:
                    shutil.copyfileobj(file, out)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, FileExistsError, NotADirectoryError) as wrong:
        raise _damaged(source, f"{FILES}: {wrong}") from None
    packed.unlink()


def _decrypt(file: IO[bytes], source: Path, passphrase: bytes) -> Iterator[bytes]:
    """The chunks, each believed. Raises Trouble."""
    head = file.read(len(MAGIC) + _HEADER.size)
    if not head.startswith(MAGIC):
        newer = head.startswith(MAGIC[:-2])
        what = "a backup of a newer intentcast" if newer else "not a backup of a node"
        raise refused(
            "not_a_backup", f"{source} is {what}", "Update intentcast." if newer else "Look for another file."
        )
    if len(head) != len(MAGIC) + _HEADER.size:
        raise _damaged(source, "it ends too early")
    salt, operations, memory_kib, header = _HEADER.unpack(head[len(MAGIC) :])
    if not (1 <= operations <= MOST_OPERATIONS and 8 <= memory_kib <= MOST_MEMORY_KIB):
        raise _damaged(source, "its first lines make no sense")
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    key = _key(passphrase, salt, operations, memory_kib)
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
    number = 0
    while True:
        size = int.from_bytes(file.read(4), "big")
        sealed = file.read(size) if _AD <= size <= CHUNK + _AD else b""
        if len(sealed) != size or not sealed:
            raise _damaged(source, "it ends too early, or was changed")
        try:
            chunk, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, sealed, ad=head)
        except (CryptoError, RuntimeError):
            if number == 0:
                hint = "Try the passphrase again; if it is right, the file was changed."
                raise Trouble("wrong_passphrase", f"{source} does not open", hint, Exit.LOCKED) from None
            raise _damaged(source, f"chunk {number} was changed") from None
        number += 1
        yield chunk
        if tag == _LAST:
            if file.read(1):
                raise _damaged(source, "something stands behind its end")
            return


def _read_manifest(data: bytes, source: Path) -> dict[str, Any]:
    """Whoever knows the passphrase wrote it; what is not as we write it is refused all the same."""
    try:
        manifest = json.loads(data)
        files = [(name, size) for name, size in manifest["files"]]
        names = [name for name, _ in files]
        sound = names == [name for name in NAMES if name in names] and {*KEYS, STORE, "config.toml"} <= set(names)
        small = all(
            type(size) is int and 0 <= size and (name in (STORE, FILES) or size <= MOST_SMALL) for name, size in files
        )
        text = all(isinstance(manifest[name], str) for name in ("peer_id", "vendor", "program"))
        number = all(type(manifest[name]) is int for name in ("made_at", "schema"))
    except (ValueError, KeyError, TypeError):
        sound = small = text = number = False
    if not (sound and small and text and number):
        raise _damaged(source, "its manifest makes no sense")
    return dict(manifest)


def _check_home(folder: Path, manifest: dict[str, Any], source: Path) -> None:
    """Is what was unpacked the node it says? The store is opened, and by that brought to today's schema."""
    for name, said in (("node.key", manifest["peer_id"]), ("vendor.key", manifest["vendor"])):
        seed = (folder / name).read_bytes()
        tell = peer_id if name == "node.key" else did
        if len(seed) != SEED_BYTES or tell(SigningKey(seed).public) != said:
            raise _damaged(source, f"{name} is not the key its manifest names")
    store = open_store_nowait(folder / STORE)
    store.drop_copies()  # the backup is the copy from before
    store.close()
    with closing(sqlite3.connect(folder / STORE)) as database:
        (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise _damaged(source, f"its store is not sound: {verdict}")


def _damaged(source: Path, what: str) -> Trouble:
    return refused("backup_damaged", f"{source} is damaged: {what}", "Nothing was restored. Use another copy.")
