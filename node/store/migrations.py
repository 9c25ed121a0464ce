"""From any earlier schema to today's, with Alembic's operations; what each version changes stands in versions/.

Alembic is imported only when there is something to do: it takes as long to load as the rest of the store together.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select, update

from ..trouble import Trouble
from . import tables
from .tables import meta, metadata

VERSIONS = Path(__file__).parent
"""The folder with versions/ in it."""


def schema_of(connection: Connection) -> int | None:
    """The schema version of an open store; None for an empty file. Raises Trouble for what is no store of ours."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    found = None
    if meta.name in tables:
        found = connection.execute(select(meta.c.value).where(meta.c.name == "schema")).scalar_one_or_none()
    if found is None or not re.fullmatch("[1-9][0-9]{0,8}", found):
        raise Trouble("store", "this is a database, but not a node's store", "Name the node's home with --home.")
    return int(found)


def create(connection: Connection) -> None:
    """Make today's tables in an empty store."""
    metadata.create_all(connection)
    connection.execute(insert(meta).values(name="schema", value=str(tables.SCHEMA_VERSION)))


def upgrade(connection: Connection, found: int) -> None:
    """Bring a store of an earlier schema to today's. The caller's transaction makes it all or nothing."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    versions = ScriptDirectory(str(VERSIONS))
    due = list(versions.iterate_revisions(str(tables.SCHEMA_VERSION), str(found)))
    with Operations.context(MigrationContext.configure(connection)):
        for version in reversed(due):
            version.module.upgrade()
    connection.execute(update(meta).where(meta.c.name == "schema").values(value=str(tables.SCHEMA_VERSION)))


def copy_of(path: Path, schema: int) -> Path:
    """Where the copy of a store lies that was made before it left this schema."""
    return path.with_name(f"{path.name}.schema-{schema}")


def make_copy(database: sqlite3.Connection, path: Path, schema: int) -> Path:
    """Copy the whole store beside it, durable when this returns. Raises OSError and sqlite3.Error, leaving nothing."""
    copy = copy_of(path, schema)
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(unfinished)) as target:
            database.backup(target)
        fd = os.open(unfinished, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    os.replace(unfinished, copy)
    return copy


def copies(path: Path) -> Iterator[Path]:
    """The copies that lie beside a store, unfinished ones too."""
    return path.parent.glob(f"{path.name}.schema-*")
