"""What Linux says of a process: its processor time, its sockets. Elsewhere nothing is known, and the figures say so."""

import os
from pathlib import Path
from typing import Final

IS_LINUX: Final = Path("/proc/self/fd").exists()


def cpu_seconds(pid: int) -> float:
    """Used since it began, in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sockets_at(port: int) -> int:
    """File descriptors of this process that are sockets of a port it listens on: its own ends, not those of who dialled
    it from within the same process. 0 where there is no /proc."""
    if not IS_LINUX:
        return 0
    ends = (line.split() for line in Path("/proc/self/net/tcp").read_text("ascii").splitlines()[1:])
    inodes = {f"socket:[{end[9]}]" for end in ends if int(end[1].rpartition(":")[2], 16) == port}
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}") in inodes
        except FileNotFoundError:
            continue  # the one we read the directory with
    return found
