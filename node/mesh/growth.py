"""What becomes of a node when the network grows: the same messages, ever more nodes, nobody attacks."""

from typing import Final

from .figures import MEMORY, SPARE_HOPS, Figures, log_hops
from .scenarios import Plan

SIZES: Final = (100, 300, 1_000, 3_000, 10_000)
SECONDS: Final = 30.0
"""Messages are said for so long."""
DIALS: Final = 4
"""What a node dials (`node/peering.py`): eight links, four of them dialled by others."""
TAPES: Final = 20
"""Routers whose CPU is measured alone."""
FLAT: Final = 1.25
"""Times what the smallest network needs, in bytes, and in CPU of a router alone."""
FLAT_IN_THE_WORLD: Final = 1.5
"""The same for all the CPU of the process, by node: looser, for the caches of a computer hold 100 nodes and not 10,000.
It is missed at 10,000 all the same; README.md says what was tried."""


def plan_of(nodes: int, rate: float, seed: int) -> Plan:
    return Plan("baseline", nodes, 0, rate=rate, seed=seed, dials=DIALS, time_scale=SECONDS / 60, tapes=TAPES)


def missed_growth(rows: list[Figures]) -> list[str]:
    """Goals: hops grow like log N, bytes and CPU per node stay flat, everything arrives, and a node fits in 50 kB."""
    found = []
    least = rows[0]
    for row in rows:
        if row.good < 0.99:
            found.append(f"N = {row.honest}: {row.good:.1%} of the messages reached 99% within 10 s")
        if row.hops_mean > log_hops(row.honest) + SPARE_HOPS:
            found.append(f"N = {row.honest}: {row.hops_mean:.1f} hops, log N is {log_hops(row.honest):.1f}")
        if row.bytes_per_second > FLAT * least.bytes_per_second:
            found.append(
                f"N = {row.honest}: {row.bytes_per_second:.0f} B/s a node, at first {least.bytes_per_second:.0f}"
            )
        if row.cpu_alone > FLAT * least.cpu_alone:
            found.append(f"N = {row.honest}: {row.cpu_alone:.3f} ms/s a node, at first {least.cpu_alone:.3f}")
        if row.cpu_per_node > FLAT_IN_THE_WORLD * least.cpu_per_node:
            found.append(
                f"N = {row.honest}: {row.cpu_per_node:.3f} ms/s a node in the world, at first {least.cpu_per_node:.3f}"
            )
        if row.honest >= 1_000 and row.memory_per_node > MEMORY:
            found.append(f"N = {row.honest}: {row.memory_per_node / 1000:.0f} kB a node")
    return found
