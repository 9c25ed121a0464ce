"""This node's taste: whom to hear and how much. Pure; `now` is handed in."""

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from protocol.gossip.place import any_place, public_place
from protocol.terms import Route

TRIES_PER_WISH = 3
"""Failed dials per hour to ways back named by somebody we have never reached: enough for a hiccup, too few to aim a
market. Per hour, because a person's laptop sleeps for two and wants its offers all the same."""

TRIES_PER_TARGET = 10
"""Failed dials to one host and port across all wishes, per hour."""


class Shares:
    """Token buckets by peer: `rate` a second, `burst` at once. Bounded: the longest silent is forgotten first."""

    def __init__(self, rate: float, burst: float, most_peers: int = 4096) -> None:
        self._rate, self._burst, self._most = rate, burst, most_peers
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, peer: str, now: float, cost: float = 1.0) -> bool:
        """True if this peer is within its share; counts against it."""
        level = self._level(peer, now)
        allowed = level >= cost
        self._keep(peer, level - cost if allowed else level, now)
        return allowed

    def charge(self, peer: str, now: float, cost: float) -> float:
        """For what was done already: counts against the share of this peer, and gives the seconds until it is out of
        debt."""
        level = self._level(peer, now) - cost
        self._keep(peer, level, now)
        return max(0.0, -level / self._rate)

    def _level(self, peer: str, now: float) -> float:
        level, then = self._levels.pop(peer, (self._burst, now))
        return min(self._burst, level + (now - then) * self._rate)

    def _keep(self, peer: str, level: float, now: float) -> None:
        self._levels[peer] = (level, now)
        while len(self._levels) > self._most:
            self._levels.pop(next(iter(self._levels)))  # the one not heard for longest


@dataclass(slots=True)
class DialBook:
    """How often a wish, or a host, made us dial in vain."""

    public: bool
    """Only public addresses are dialled; see `lives_in_public`."""
    by_root: Counter[bytes] = field(default_factory=Counter)
    by_target: Counter[str] = field(default_factory=Counter)
    since: float = 0.0

    def may_dial(self, root: bytes | None, address: str, now: float) -> bool:
        """`root`: the wish that names this address; None if the peer that lives there says so itself."""
        if now - self.since > 3600:
            self.since = now
            self.by_root.clear()
            self.by_target.clear()
        if not may_be_dialled(address, self.public):
            return False
        return (root is None or self.by_root[root] < TRIES_PER_WISH) and (
            self.by_target[target_of(address)] < TRIES_PER_TARGET
        )

    def failed(self, root: bytes | None, address: str) -> None:
        # Whoever fills a book within the hour starts it afresh for the others, not for the target he fills it with.
        if len(self.by_root) > 50_000:
            self.by_root.clear()
        if len(self.by_target) > 50_000:
            self.by_target = Counter(dict(self.by_target.most_common(1_000)))
        if root is not None:
            self.by_root[root] += 1
        self.by_target[target_of(address)] += 1

    def reached(self, root: bytes | None, address: str) -> None:
        if root is not None:
            self.by_root.pop(root, None)
        self.by_target.pop(target_of(address), None)


def target_of(address: str) -> str:
    """The part of a multiaddr that is dialled, without the peer id."""
    return address.partition("/p2p/")[0]


def lives_in_public(net: str, own: Iterable[str]) -> bool:
    """Must addresses that others name be public ones? On `main`, or a wish could aim its vendors at the machines beside
    them. Not for a node that is itself on loopback alone: there is nothing beside it, and a market on one computer
    works on every network."""
    homes = [address.split("/")[1:3] for address in own]
    on_loopback = bool(homes) and all(kind in ("ip4", "ip6") and _is_loopback(host) for kind, host in homes)
    return net == "main" and not on_loopback


def may_be_dialled(address: str, public: bool) -> bool:
    """An IP literal, a TCP port and a peer id; `public`: a globally reachable one."""
    parts = address.split("/")
    if len(parts) < 7 or parts[0] or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp" or parts[-2] != "p2p":
        return False
    try:
        host, port = ipaddress.ip_address(parts[2]), int(parts[4])
    except ValueError:
        return False
    return 0 < port < 65536 and (host.is_global or not public)


def ip_of(remote: str) -> str:
    """The address in a multiaddr; empty when there is none."""
    parts = remote.split("/")
    return parts[2] if len(parts) > 2 and parts[1] in ("ip4", "ip6") else ""


def subnet_of(address: str) -> str:
    """The public /24 or /48 a multiaddr is in; empty in a home, an office or a test, where everybody is a neighbour."""
    return public_place(ip_of(address)).subnet


def source_of(remote: str, peer: str) -> str:
    """What it costs something to be another of: a public subnet, or else a peer. `remote`: where the peer was seen."""
    return subnet_of(remote) or peer


def machine_of(remote: str) -> str:
    """The machine a multiaddr of a home or an office names, where a subnet tells nobody apart; IPv6: the /64, for
    addresses within it are free. Empty for a public address, and for this very machine."""
    host = any_place(ip_of(remote)).host
    return "" if not host or subnet_of(remote) or _is_loopback(ip_of(remote)) else host


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def routes_via(via: str, routes: tuple[Route, ...]) -> tuple[str, ...]:
    return tuple(route.addr for route in routes if route.via == via)
