"""The npm packages of this folder: for the tests here, for tests/conformance, and for the js side of scripts/bench."""

import fcntl
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
OLDEST_NODE = 20
INSTALL_SECONDS = 300
NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "ERR_SOCKET_TIMEOUT")
"""How npm says that it could not reach its registry. Whatever else goes wrong is a failure, no reason to go without."""


class Missing(Exception):
    """JavaScript cannot run here, through no fault of ours. The text says why."""


def find_node() -> None:
    """Raises Missing where there is no Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Missing("needs Node.js and npm, which are not on this machine's PATH")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    found = re.match(r"v(\d+)\.", version)
    if found is None or int(found[1]) < OLDEST_NODE:
        raise Missing(f"needs Node.js {OLDEST_NODE} or later, and this is {version}")


def install_modules() -> None:
    """What package-lock.json names, once and again when it has changed. Whoever comes meanwhile waits. Raises Missing
    without Node or a network, RuntimeError when npm fails otherwise."""
    find_node()
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    with (HERE / "package.json").open() as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        _install(wanted)


def _install(wanted: str) -> None:
    stamp = MODULES / ".made-for"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    try:
        done = subprocess.run(["npm", "ci"], cwd=HERE, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise Missing(f"npm ci did not finish within {INSTALL_SECONDS} s") from None
    if done.returncode != 0:
        if any(word in done.stderr for word in NO_NETWORK):
            raise Missing("npm ci could not reach its registry, and node_modules is not there yet")
        raise RuntimeError(f"npm ci failed:\n{done.stderr}")
    stamp.write_text(wanted)
