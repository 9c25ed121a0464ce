"""Looks out for a neighbourhood that is one person: an eclipse.

Whoever owns all our links decides what we hear, and scores cannot tell: they compare peers with one another. What can
be seen is that all of them live in one subnet, or that all of them are new and came at about the same time. Peers that
come back are not new, so neither a night's sleep nor the first minutes of a node are an alarm.
"""

from collections.abc import Collection

from .events import Alarm, AlarmKind, PeerId
from .mesh import Peer
from .params import Params

_REMEMBERED = 1_000
"""Peers that left whose first arrival is known, oldest out first: several times the links of a node."""


class Watch:
    __slots__ = ("_alarmed", "_begun", "_changed", "_left", "_params")

    def __init__(self, params: Params) -> None:
        self._params = params
        self._begun: float | None = None
        """When the first peer of all came."""
        self._left: dict[PeerId, float] = {}
        self._alarmed: dict[AlarmKind, float] = {}
        self._changed = False

    def came(self, peer: Peer, now: float) -> None:
        if self._begun is None:
            self._begun = now
        peer.since = self._left.pop(peer.id, now)
        self._changed = True

    def went(self, peer: Peer) -> None:
        if len(self._left) >= _REMEMBERED:
            del self._left[next(iter(self._left))]
        self._left[peer.id] = peer.since
        self._changed = True

    @property
    def has_news(self) -> bool:
        """There is something to look at."""
        return self._changed

    def look(self, peers: Collection[Peer], now: float) -> list[Alarm]:
        """At a heartbeat. Costs nothing while nobody comes or goes."""
        if not self._changed:
            return []
        self._changed = False
        if self._begun is None or len(peers) < self._params.alarm_peers:
            return []
        found: list[Alarm] = []
        subnet = next(iter(peers)).subnet
        if subnet and all(peer.subnet == subnet for peer in peers):
            found.append(Alarm(AlarmKind.ONE_SUBNET, f"all {len(peers)} peers are in {subnet}"))
        times = [peer.since for peer in peers]
        oldest, spread = min(times), max(times) - min(times)
        window = self._params.alarm_window
        if spread <= window < oldest - self._begun:
            found.append(Alarm(AlarmKind.ARRIVED_TOGETHER, f"all {len(peers)} peers are new, within {spread:.0f} s"))
        self._changed = bool(found)  # to be said again while it is so
        return [alarm for alarm in found if self._is_due(alarm.kind, now)]

    def _is_due(self, kind: AlarmKind, now: float) -> bool:
        last = self._alarmed.get(kind)
        if last is not None and now - last < self._params.alarm_interval:
            return False
        self._alarmed[kind] = now
        return True
