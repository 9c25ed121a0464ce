"""This node's taste: whom to hear and how much. Pure; `now` is handed in."""

import ipaddress
from collections import Counter
from dataclasses import dataclass, field

from protocol.terms import Route

TRIES_PER_WISH = 3
"""Failed dials per hour to ways back named by somebody we have never reached: enough for a hiccup, too few to aim a
market. Per hour, because a person's laptop sleeps for two and wants its offers all the same."""

TRIES_PER_TARGET = 10
"""Failed dials to one host and port across all wishes, per hour."""


class Shares:
    """Token buckets by peer: `rate` a second, `burst` at once. Bounded: the fullest are forgotten first."""

    def __init__(self, rate: float, burst: float, most_peers: int = 4096) -> None:
        self._rate, self._burst, self._most = rate, burst, most_peers
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, peer: str, now: float) -> bool:
        """True if this peer is within its share; counts against it."""
        level, then = self._levels.pop(peer, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        allowed = level >= 1
        self._levels[peer] = (level - 1 if allowed else level, now)
        while len(self._levels) > self._most:
            self._levels.pop(next(iter(self._levels)))  # the one not heard for longest
        return allowed


@dataclass(slots=True)
class DialBook:
    """How often a wish, or a host, made us dial in vain."""

    net: str
    by_root: Counter[bytes] = field(default_factory=Counter)
    by_target: Counter[str] = field(default_factory=Counter)
    since: float = 0.0

    def may_dial(self, root: bytes | None, address: str, now: float) -> bool:
        """`root`: the wish that names this address; None if the peer that lives there says so itself."""
        if now - self.since > 3600:
            self.since = now
            self.by_root.clear()
            self.by_target.clear()
        if not may_be_dialled(address, self.net):
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


def may_be_dialled(address: str, net: str) -> bool:
    """An IP literal with a peer id; on `main` a public one, so that no wish can aim at somebody's home network."""
    parts = address.split("/")
    if len(parts) < 7 or parts[0] or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp" or parts[-2] != "p2p":
        return False
    try:
        host = ipaddress.ip_address(parts[2])
        port = int(parts[4])
    except ValueError:
        return False
    if not 0 < port < 65536:
        return False
    return net != "main" or host.is_global


def direct_routes(routes: tuple[Route, ...]) -> tuple[str, ...]:
    return tuple(route.addr for route in routes if route.via == "direct")
