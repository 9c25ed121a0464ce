"""Settings: frozen, and built once, from flags, the environment, the home's config.toml and defaults, in that order.

Nothing here is secret: keys live in files of their own (home.py). The file is TOML with comments, written at the
first start; a key it does not know is an error that names the nearest one, because a setting that is silently
ignored is worse than none.
"""

import difflib
import os
import random
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from .trouble import Trouble, usage

NET_NAME: Final = re.compile(r"[a-z0-9-]{1,32}")
DIVISION: Final = re.compile(r"[a-z0-9-]{1,32}")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
MAIN_NET: Final = "main"

MOST_MAILBOXES: Final = 3
"""Each wish names them, beside the node's own address."""

CATALOGUE: Final = "catalogue.toml"
"""In the home: what this node sells, unless the settings name another file."""

MIN_HEARTBEAT: Final = 0.02
"""Seconds. Below this the router does nothing but beat; test meshes use 0.1 or so."""

PORTS: Final = range(20_000, 30_000)
"""Where a new home picks its port: below the range that systems hand out to outgoing connections (32768 and up), so
that the port stays free while the node is down."""


@dataclass(frozen=True, slots=True)
class Config:
    """One node's settings. Paths are absolute."""

    home: Path
    net: str = MAIN_NET
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    """Multiaddrs without /p2p. The default takes any port; config.toml has a fixed one, chosen once at the first start:
    so a first start never fails because a port is taken, and an invite still works after a restart."""
    announce: tuple[str, ...] = ()
    """What to tell others instead of the listening addresses: behind a router, say."""
    join: tuple[str, ...] = ()
    """Multiaddrs with /p2p of nodes to start from."""
    static: tuple[str, ...] = ()
    """Multiaddrs with /p2p of nodes it was agreed with, on both sides, to exchange everything."""
    meeting: bool = False
    """Joins every division, so that a small network works."""
    divisions: tuple[str, ...] = ()
    """Divisions to carry besides those of the own wishes and the catalogue."""
    mailbox: bool = False
    """Holds sealed items for others while they are away."""
    mailboxes: tuple[str, ...] = ()
    """Multiaddrs with /p2p of nodes that hold ours; none: those in `join` that do."""
    catalogue: Path | None = None
    """The vendor's catalogue; None: this node sells nothing by itself."""
    archive: bool = True
    """Write everything that is said about wishes into readable files in the home (archive.py)."""
    hook_port: int = 0
    """TCP port on loopback for signed requests of the vendor's own systems; 0: none."""
    log_level: str = "info"
    log_json: bool = False
    heartbeat: float = 1.0
    """Seconds between two heartbeats of the gossip router."""


@dataclass(frozen=True, slots=True)
class _Setting:
    """One setting: how its value is checked, whatever place it came from. `read` raises ValueError."""

    name: str
    read: Callable[[Any], Any]

    @property
    def env(self) -> str:
        return f"INTENTCAST_{self.name.upper()}"


def load_config(home: Path, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """The settings of the node in `home`. `flags` holds what was said on the command line (None: not said).

    Raises Trouble, with the place (flag, variable, or file and line) of what is wrong.
    """
    environ = os.environ if environ is None else environ
    config_file = home / "config.toml"
    values: dict[str, Any] = {}
    for name, (value, where) in _file_values(config_file).items():
        values[name] = _read(_SETTINGS[name], value, where)
    for setting in _SETTINGS.values():
        if environ.get(setting.env, "") != "":
            values[setting.name] = _read(setting, environ[setting.env], setting.env)
        if flags is not None and flags.get(setting.name) not in (None, (), []):
            values[setting.name] = _read(setting, flags[setting.name], f"--{setting.name.replace('_', '-')}")
    config = replace(Config(home), **values)
    return replace(config, catalogue=_catalogue(home, config.catalogue))


def check_net(text: str) -> str:
    """The name of a network, or Trouble."""
    return str(_read(_SETTINGS["net"], text, "--net"))


def write_config(path: Path, net: str, port: int | None = None) -> None:
    """Write the commented config.toml of a new home. The port is chosen free, once."""
    port = free_port() if port is None else port
    path.write_text(_TEMPLATE.format(net=net, port=port), encoding="utf-8")
    path.chmod(0o600)


def check_ports(listen: tuple[str, ...]) -> None:
    """Could these addresses be listened on now? Asked before a home is made, so that a "no" leaves nothing behind.

    Raises Trouble. The network asks again when it listens: it is the one that counts.
    """
    from .network.address import parse_address

    for text in listen:
        address = parse_address(text)
        with socket.socket(socket.AF_INET if address.kind == "ip4" else socket.AF_INET6) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, address.port))
            except OSError as wrong:
                hint = "Choose another address or port with --listen; port 0 finds a free one."
                raise Trouble("listen", f"cannot listen on {text}: {wrong.strerror}", hint) from None


def free_port() -> int:
    """A TCP port nobody listens on now. 0 (any) if twenty tries found none."""
    for port in random.sample(PORTS, 20):
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    return 0


# ------------------------------------------------------------------------------------------------------ one value


def _net(value: Any) -> str:
    if isinstance(value, str) and NET_NAME.fullmatch(value):
        return value
    raise ValueError("a network's name is 1 to 32 of a-z, 0-9 and -")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError("true or false was expected")


def _many(one: Callable[[str], str]) -> Callable[[Any], tuple[str, ...]]:
    """A list; in the environment: separated by commas or spaces."""

    def read(value: Any) -> tuple[str, ...]:
        items = re.split(r"[\s,]+", value.strip()) if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise ValueError("a list of texts was expected")
        return tuple(one(item) for item in items if item)

    return read


def _division(text: str) -> str:
    if not DIVISION.fullmatch(text):
        raise ValueError(f"{text!r} is no division: the first word of a category, such as mobility")
    return text


def _port(value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise ValueError("a port from 1 to 65535 was expected, or 0 for none")
    return int(text)


def _level(value: Any) -> str:
    if isinstance(value, str) and value.lower() in LOG_LEVELS:
        return value.lower()
    raise ValueError(f"one of {', '.join(LOG_LEVELS)} was expected")


def _seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if isinstance(value, bool) or not MIN_HEARTBEAT <= seconds <= 60:
        raise ValueError(f"seconds from {MIN_HEARTBEAT} to 60 were expected")
    return seconds


def _path(value: Any) -> Path:
    if isinstance(value, str | Path) and str(value):
        return Path(value).expanduser()
    raise ValueError("a path was expected")


def listen_address(text: str) -> str:
    """A multiaddr to listen on: an IP literal and a TCP port, nothing else. Raises ValueError."""
    from .network.address import parse_address  # brings a crypto library along, which `--help` does not need

    address = parse_address(text)
    if address.is_name or address.peer is not None:
        raise ValueError(f"{text!r}: to listen, write an IP address and a port, as /ip4/0.0.0.0/tcp/20123")
    return text


def announced_address(text: str) -> str:
    """A multiaddr others can reach: not a wildcard, not port 0. Raises ValueError."""
    from .network.address import parse_address

    address = parse_address(text)
    if address.is_unspecified or address.port == 0:
        raise ValueError(f"{text!r} cannot be dialled: others need a real host and port")
    return text


def peer_address(text: str) -> str:
    """A multiaddr of somebody: host, TCP port and /p2p/<peer id>. Raises ValueError."""
    from .network.address import parse_dialable

    parse_dialable(text)
    return text


def _mailboxes(value: Any) -> tuple[str, ...]:
    named = _many(peer_address)(value)
    if len(named) > MOST_MAILBOXES:
        raise ValueError(f"a wish has room for {MOST_MAILBOXES} mailboxes, not {len(named)}")
    return named


_SETTINGS: Final = {
    setting.name: setting
    for setting in (
        _Setting("net", _net),
        _Setting("listen", _many(listen_address)),
        _Setting("announce", _many(announced_address)),
        _Setting("join", _many(peer_address)),
        _Setting("static", _many(peer_address)),
        _Setting("meeting", _flag),
        _Setting("divisions", _many(_division)),
        _Setting("mailbox", _flag),
        _Setting("mailboxes", _mailboxes),
        _Setting("catalogue", _path),
        _Setting("archive", _flag),
        _Setting("hook_port", _port),
        _Setting("log_level", _level),
        _Setting("log_json", _flag),
        _Setting("heartbeat", _seconds),
    )
}
assert set(_SETTINGS) == {field.name for field in fields(Config)} - {"home"}


def _read(setting: _Setting, value: Any, where: str) -> Any:
    try:
        return setting.read(value)
    except ValueError as wrong:
        raise usage("bad_setting", f"{where}: {wrong}", f"Nothing was changed. Mend {where} and try again.") from None


def _catalogue(home: Path, named: Path | None) -> Path | None:
    """The catalogue named in the settings (relative to the home), or home/catalogue.toml if there is one."""
    if named is None:
        usual = home / CATALOGUE
        return usual if usual.is_file() else None
    path = home / named
    if not path.is_file():
        raise usage("no_catalogue", f"there is no catalogue at {path}", "Make one: intentcast vendor init --help")
    return path


# ------------------------------------------------------------------------------------------------------- the file


def _file_values(path: Path) -> dict[str, tuple[Any, str]]:
    """name -> (value, "file, line n"). No file: nothing."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as wrong:
        raise usage("bad_setting", f"{path} cannot be read: {wrong}", "") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise usage("bad_setting", f"{path} is not TOML: {wrong}", "Texts stand in quotes, lists in [ ].") from None
    unknown = next((name for name in table if name not in _SETTINGS), None)
    if unknown is not None:
        raise _unknown_key(unknown, f"{path}, line {_line_of(unknown, text)}")
    return {name: (value, f"{path}, line {_line_of(name, text)}") for name, value in table.items()}


def _unknown_key(name: str, where: str) -> Trouble:
    near = difflib.get_close_matches(name.lower().replace("-", "_"), _SETTINGS, n=1, cutoff=0.5)
    known = f"did you mean {near[0]}?" if near else f"known are {', '.join(_SETTINGS)}."
    return usage("unknown_setting", f"{where}: there is no setting {name!r}; {known}", f"Mend {where} and try again.")


def _line_of(name: str, text: str) -> int:
    """The line a key stands on; tomllib does not tell. Tables count by their header."""
    key = re.escape(name)
    pattern = re.compile(rf"""^\s*(\[+\s*)?["']?{key}["']?\s*[.=\]]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


_TEMPLATE: Final = """\
# Settings of this node. What the command line or an environment variable (INTENTCAST_NET, INTENTCAST_LISTEN, ...)
# says wins over this file. Secrets do not belong here: keys have files of their own beside this one.

# The network this home belongs to: a-z, 0-9 and -. Nodes of different networks do not hear each other.
net = "{net}"

# Where to listen. The port was free when this home was made; open it in your router to be reached from outside.
listen = ["/ip4/0.0.0.0/tcp/{port}"]

# What to tell others instead, if they reach you at another address than you listen on.
# announce = ["/ip4/203.0.113.5/tcp/{port}"]

# Nodes to start from, each as `intentcast invite` prints it.
# join = ["/ip4/203.0.113.5/tcp/20123/p2p/12D3KooW..."]

# Nodes whose owners you know and who name yours here, too: the link is kept, and everything is exchanged over it
# whatever else happens. Two of them make it hard to cut you off.
# static = ["/ip4/203.0.113.5/tcp/20123/p2p/12D3KooW..."]

# Carry every division, so that small networks work. For nodes that are always on.
# meeting = false

# Divisions (first words of categories) to hear besides those of your own wishes and your catalogue.
# divisions = ["mobility"]

# Hold sealed messages for others while they are away. For nodes that are always on; nothing in them can be read here.
# mailbox = false

# Nodes that hold yours while you are away, up to three, each as `intentcast invite` prints it. Without this line
# the nodes in `join` are asked whether they do.
# mailboxes = ["/ip4/203.0.113.5/tcp/20123/p2p/12D3KooW..."]

# A vendor's catalogue; without this line catalogue.toml beside this file is used if it exists.
# catalogue = "catalogue.toml"

# Keep everything that is said about wishes as readable files in archive/ beside this file, contacts too, until you
# delete them: intentcast archive --help.
# archive = true

# A port on this machine alone, where your own systems post signed offers (intentcast vendor hook incoming).
# hook_port = 8787

# debug, info, warning or error. Only debug shows texts, names and addresses.
# log_level = "info"
# log_json = false

# Seconds between two heartbeats of the gossip router. Leave it, but in tests.
# heartbeat = 1.0
"""
