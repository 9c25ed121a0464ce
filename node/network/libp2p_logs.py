"""libp2p's logging, made fit to live with: errors only, each kind once a minute, through our own logger.

As delivered, importing libp2p cuts its loggers off (`propagate = False`) and leaves WARNING and above to reach the
terminal raw, every failed dial is an ERROR, one hostile frame can write ten thousand lines, and one module logs through
the root logger, which makes `logging` install a terminal handler of its own.
"""

import logging
import time
from collections.abc import Callable

REPEAT_SECONDS = 60.0
"""One line of libp2p's source is reported once in this time; the next report says how many were swallowed."""

_OURS = "node.network.libp2p.library"


class ForwardOnce(logging.Handler):
    """Hands records to our logger; of those from one line of source, one per REPEAT_SECONDS."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.ERROR)
        self._clock = clock
        self._reported: dict[tuple[str, int], tuple[float, int]] = {}  # bounded by the lines of libp2p's source

    def emit(self, record: logging.LogRecord) -> None:
        line, now = (record.pathname, record.lineno), self._clock()
        since, swallowed = self._reported.get(line, (-REPEAT_SECONDS, 0))
        if now - since < REPEAT_SECONDS:
            self._reported[line] = (since, swallowed + 1)
            return
        self._reported[line] = (now, 0)
        again = f" ({swallowed} more like this were not shown)" if swallowed else ""
        logging.getLogger(_OURS).log(record.levelno, "%s: %s%s", record.name, record.getMessage(), again)


def route_libp2p_logs(clock: Callable[[], float] = time.monotonic) -> None:
    """Safe to call again: there is never more than one of our handlers, so never a duplicate."""
    from libp2p.network.connection import swarm_connection

    library = logging.getLogger("libp2p")
    library.handlers[:] = [ForwardOnce(clock)]
    library.setLevel(logging.ERROR)
    library.propagate = False  # the handler forwards; propagation as well would say everything twice
    # This module calls logging.debug(...) and so on; a logger has the same methods and a name.
    swarm_connection.logging = logging.getLogger(swarm_connection.__name__)
