"""Load and accounting for the benchmarks: start a process, run wrk against it, count the CPU time of its whole tree."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in task.read_text().split())
            except OSError:
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree so far, reaped children included."""
    total = 0
    for member in tree(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
    return total / TICK


@dataclass(frozen=True)
class Load:
    """One wrk run: requests answered, seconds, errors (socket errors and answers outside 2xx/3xx), p50/p99 in ms."""

    requests: int
    seconds: float
    errors: int
    p50: float
    p99: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def micros(self) -> float:
        """CPU microseconds a request of the measured process tree."""
        return self.cpu / self.requests * 1e6 if self.requests else float("inf")


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}[unit]


def wrk(url: str, pid: int, *, seconds: float = 3.0, connections: int = 16, threads: int = 1) -> Load:
    """Run wrk and charge the CPU that the tree of `pid` used meanwhile to its requests."""
    before = cpu_seconds(pid)
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "10s", url]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    used = cpu_seconds(pid) - before
    requests, duration = re.search(r"(\d+) requests in ([\d.]+\w+),", out).groups()  # type: ignore[union-attr]
    errors = sum(int(n) for line in re.findall(r"Socket errors: (.*)", out) for n in re.findall(r"\d+", line))
    errors += sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    p50 = re.search(r"\n\s+50%\s+(\S+)", out).group(1)  # type: ignore[union-attr]
    p99 = re.search(r"\n\s+99%\s+(\S+)", out).group(1)  # type: ignore[union-attr]
    return Load(int(requests), _milliseconds(duration) / 1000, errors, _milliseconds(p50), _milliseconds(p99), used)


class Process:
    """A server under test, in a process group of its own, stopped by `close`.

    Not in a session of its own: Linux shares the CPUs out among sessions (autogroup, sched(7)), and what is over its
    share is interrupted by every other. Then how often wrk and the backend interrupt a server would be measured.
    """

    def __init__(self, name: str, command: Sequence[str], port: int, **environment: str) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}/echo/bench"
        self._child = subprocess.Popen(
            list(command),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
            process_group=0,
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                return
            except OSError:
                if time.monotonic() > deadline or self._child.poll() is not None:
                    self.close()
                    raise RuntimeError(f"{name} does not listen on port {port}") from None
                time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._child.pid

    def close(self) -> None:
        try:
            os.killpg(self._child.pid, signal.SIGTERM)
            self._child.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
