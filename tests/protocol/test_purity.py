"""The protocol is a book, not a program: it does no I/O, runs no loop, asks no clock and throws no dice."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import protocol

ROOT = Path(protocol.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

OUTSIDE = {"nacl", "msgpack", "google"}
"""All that is not the standard library: signatures and sealing, the encoding, and protobuf for the gossip RPC."""

WORLD = {"trio", "libp2p", "asyncio", "socket", "ssl", "select", "selectors", "subprocess", "threading", "sqlite3"}
"""What a pure package has no use for."""

CLOCKS_AND_DICE = {"time", "secrets", "uuid"}


def imported(source: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(ROOT)))
def test_a_file_imports_only_what_the_house_allows(source: Path) -> None:
    names = imported(source)
    assert names - set(sys.stdlib_module_names) <= OUTSIDE
    assert not names & (WORLD | CLOCKS_AND_DICE | {"node"})
    if "google" in names:
        assert source.parent.name == "gossip"


def test_one_file_imports_msgpack_and_two_import_nacl() -> None:
    assert [source.name for source in SOURCES if "msgpack" in imported(source)] == ["codec.py"]
    assert {source.name for source in SOURCES if "nacl" in imported(source)} == {"keys.py", "envelope.py"}


def test_importing_all_of_it_brings_in_nothing_of_the_world() -> None:
    """In a fresh interpreter: whatever is loaded after the imports was loaded by them."""
    names = [
        ".".join(("protocol", *source.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for source in SOURCES
    ]
    program = (
        "import importlib, json, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT.parent, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in json.loads(out.stdout)}
    assert "protocol" in loaded
    assert not loaded & {"trio", "libp2p", "asyncio", "ssl", "sqlite3", "node", "multiaddr", "sqlalchemy", "anyio"}


def test_nothing_asks_for_the_time_or_for_chance() -> None:
    """`now`, salts and nonces are arguments. A Random that is handed in may be used; one's own may not be made."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                said = ast.unparse(node.func)
                assert said not in {"datetime.now", "datetime.utcnow", "date.today", "os.urandom", "random.random"}, (
                    f"{source.name}:{node.lineno} {said}"
                )
                assert not said.startswith(("nacl.utils.random", "random.Random", "random.SystemRandom")), source.name
