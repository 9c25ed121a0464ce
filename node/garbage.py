"""How often Python looks for garbage in cycles.

Every look at the oldest generation walks all that lives: what was imported, and every link, table and message since.
By default that happens so often that it sets the 99th percentile of everything. A node makes few cycles, so it looks
rarely, and never again at what was there when it started.
"""

import gc

_ALLOCATIONS = 50_000
"""Containers made, less those freed, between two looks at the youngest; by default 700."""


def look_rarely() -> None:
    """To be called before anything large is imported: a fifth of that, and of reading a full store, was looking."""
    gc.set_threshold(_ALLOCATIONS, 20, 100)


def settle() -> None:
    """To be called once, when a node is up: what lives now is taken to live as long as the process. Nothing is looked
    for first: of a quarter of a million objects some ninety are garbage, and to find them takes 0.2 s."""
    gc.freeze()
    look_rarely()
