"""Homes for the nodes of a town: each is talked to by the ordinary commands, `intentcast ask --home FOLDER/alice`."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from node.api import serve_api
from node.archive import FOLDER, Archive
from node.config import CATALOGUE
from node.home import Home, write_file
from node.trouble import Trouble

from .play import TownStage, catalogue_text
from .scenario import NodeSpec
from .town import Neighbour, Town, seed_of

NET: Final = "mesh"
MESH_FILE: Final = "mesh.json"
"""In the folder of a mesh: who is in it, for commands that ask all of them."""


def make_home(folder: Path, name: str, spec: NodeSpec, *, seeded: bool) -> Home:
    """A home for a node of a scenario. `seeded`: with the keys it has in every town."""
    path = folder / name
    path.mkdir(mode=0o700)
    if seeded:
        _write(path / "node.key", seed_of(name))
        _write(path / "vendor.key", seed_of(f"{name} sells"))
    home = Home(path)
    if (text := catalogue_text(name, spec)) is not None:
        _write(path / CATALOGUE, text.encode())
        for file, rows in spec.lists.items():
            _write(path / file, rows.encode())
    home.make(NET, fixed_port=False)
    return home


def _write(path: Path, data: bytes) -> None:
    """For its owner alone; not synced, as a home that lives for a play needs no more."""
    path.touch(mode=0o600)
    path.write_bytes(data)


def write_mesh_file(folder: Path, roles: dict[str, str]) -> None:
    write_file(folder / MESH_FILE, json.dumps({"net": NET, "nodes": roles}, indent=1).encode() + b"\n")


def mesh_of(home: Path) -> dict[str, Path] | None:
    """The mesh a home belongs to: name -> home, of all that have one. None: none. Raises Trouble for a broken file."""
    for folder in (home, home.parent):
        try:
            with open(folder / MESH_FILE, "rb") as file:
                said = json.loads(file.read(1 << 20))
            return {str(name): folder / str(name) for name in said["nodes"] if (folder / str(name)).is_dir()}
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, TypeError, KeyError) as wrong:
            raise Trouble("mesh", f"{folder / MESH_FILE} cannot be read: {wrong}", "Start the mesh again.") from None
    return None


class HomeStage(TownStage):
    """A town whose nodes live in homes of a folder."""

    def __init__(self, town: Town, folder: Path) -> None:
        super().__init__(town)
        self.folder = folder
        self._homes: dict[str, Home] = {}
        town.beside = self._receive_guests

    async def enter(self, name: str, spec: NodeSpec, join: Sequence[str]) -> None:
        home = self._homes[name] = make_home(self.folder, name, spec, seeded=True)
        await self._open(
            name,
            spec,
            join,
            path=home.path / "node.db",
            archive=Archive(home.path / FOLDER),
            catalogue_file=home.path / CATALOGUE,
        )

    @asynccontextmanager
    async def _receive_guests(self, neighbour: Neighbour) -> AsyncIterator[None]:
        """Commands find the node as they find any other: by the note in its home, at its socket."""
        home, node = self._homes[neighbour.name], neighbour.node
        with home.lock():
            async with trio.open_nursery() as nursery:
                path = home.socket_path()
                await nursery.start(serve_api, node.desk, path)
                home.write_note(peer_id=node.peer_id, addresses=list(node.addresses), net=NET, socket=str(path))
                yield
                nursery.cancel_scope.cancel()
