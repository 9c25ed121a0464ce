"""A node's figures for Prometheus. What each means, in one line, is its help text; README.md here has them as a table.

All come from `status`, so that a person and a graph never disagree. Nothing in them says who wants what: divisions are
the finest words.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Gauge:
    name: str
    help: str
    read: Callable[[Status], float | None]
    """None: not known now, and left out."""


def _free(status: Status) -> float | None:
    free: int | None = status["disk"].get("free")
    return free


def _outbox_age(status: Status) -> float:
    since = status["outbox_since"]
    return 0 if since is None else max(0, status["now"] - since)


def _is_short(status: Status) -> float:
    return float(status["disk"]["room"] != "enough")


def _ahead(status: Status) -> float | None:
    ahead: float | None = status["clock"].get("ahead")
    return ahead


def _router(name: str) -> Callable[[Status], float]:
    return lambda status: float(status["counters"]["gossip"][name])


GAUGES: Final = (
    Gauge("peers", "Peers this node is linked to", lambda s: s["peers"]),
    Gauge("board_postings", "Wishes and ends that hang on the board, others' and own", lambda s: s["board"]),
    Gauge("wishes_open", "Own wishes that are open", lambda s: s["wishes"]),
    Gauge("threads_open", "Threads with an offer or accept that can still become a contract", lambda s: s["threads"]),
    Gauge("outbox_messages", "Own messages without an acknowledgement", lambda s: s["outbox"]),
    Gauge("outbox_age_seconds", "How long the oldest of them has waited; 0: none waits", _outbox_age),
    Gauge("store_waiting", "Transactions that wait for the store", lambda s: s["disk"]["waiting"]),
    Gauge("disk_free_bytes", "Free on the disk of the home", _free),
    Gauge("disk_is_short", "1 while other people's data is left out for want of room", _is_short),
    Gauge("clock_ahead_seconds", "This machine's clock before its peers'; absent while fewer than three told", _ahead),
    Gauge("alarms", "Reasons to fear that all our peers are one", lambda s: len(s["alarms"])),
    Gauge("uptime_seconds", "Since this node started", lambda s: s["uptime"]),
    Gauge("gossip_queued_bytes", "Gossip that waits to be written to peers", _router("queued_bytes")),
    Gauge("gossip_cached_bytes", "Messages kept for those who ask for them", _router("cached_bytes")),
)

LOOP: Final = "loop_turn_seconds", "One turn of the event loop, measured when asked: how busy the process is"
MESH: Final = "mesh_peers", "Peers in the gossip mesh of a division this node carries"
FRAMES: Final = "frames", "Gossip frames judged: accepted, or the reason why not"
EVENTS: Final = "events", "Everything else that is counted, by the part that counts; node/README.md names the parts"


def metrics_text(status: Status, loop_turn: float) -> str:
    """The figures in Prometheus' text format. `loop_turn`: seconds one turn of the event loop took."""
    registry = CollectorRegistry()
    registry.register(_Figures(status, loop_turn))
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()


class _Figures:
    def __init__(self, status: Status, loop_turn: float) -> None:
        self._status = status
        self._loop_turn = loop_turn

    def collect(self) -> Iterator[Metric]:
        status = self._status
        for gauge in GAUGES:
            value = gauge.read(status)
            if value is not None:
                yield GaugeMetricFamily(f"intentcast_{gauge.name}", gauge.help, float(value))
        yield GaugeMetricFamily(f"intentcast_{LOOP[0]}", LOOP[1], self._loop_turn)
        counters = status["counters"]
        mesh = GaugeMetricFamily(f"intentcast_{MESH[0]}", MESH[1], labels=["division"])
        for topic, size in counters["gossip"]["mesh_sizes"].items():
            mesh.add_metric([topic.rpartition("/")[2]], size)
        yield mesh
        frames = CounterMetricFamily(f"intentcast_{FRAMES[0]}", FRAMES[1], labels=["verdict"])
        for verdict, count in counters["board"].items():
            frames.add_metric([verdict], count)
        yield frames
        events = CounterMetricFamily(f"intentcast_{EVENTS[0]}", EVENTS[1], labels=["part", "what"])
        for part, counted in sorted(counters.items()):
            if part != "board":
                for what, count in sorted((counted["counters"] if part == "gossip" else counted).items()):
                    if isinstance(count, int):
                        events.add_metric([part, what], count)
        yield events
