"""What /proc tells about a process."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_ESTABLISHED = "01"


def rss_anon(pid: int) -> int:
    """Bytes of anonymous resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no RssAnon")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connections(pid: int) -> set[tuple[int, int]]:
    """(own port, peer's port) of the process's established IPv4 connections."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            inodes.add(os.readlink(descriptor))
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == _ESTABLISHED and f"socket:[{fields[9]}]" in inodes:
            own, peer = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
            found.add((own, peer))
    return found


def load_average() -> str:
    """Of the last minute; it tells how quiet the machine was."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
