"""How long a mesh of whole nodes takes to be ready, homes and sockets and all: seconds and CPU seconds, as JSON."""

import json
import logging
import sys
import time

import structlog
import trio

from node.town.live import Kind, Wanted, open_stage
from node.town.plan import plan
from node.town.play import Play
from node.town.processes import open_folder


async def ready(kind: Kind, nodes: int) -> dict[str, float]:
    wanted = Wanted(plan(nodes, nodes // 4), kind)
    with open_folder(None, "ic-bench-") as folder:
        began, busy = time.monotonic(), time.process_time()
        async with open_stage(wanted, folder) as stage:
            await Play(wanted.scenario, stage).enter_all()
            return {"seconds": time.monotonic() - began, "cpu": time.process_time() - busy}


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(json.dumps(trio.run(ready, Kind(sys.argv[1]), int(sys.argv[2]))))
