"""`routing: {function: "tests.support.state_probe:choose"}`: each request times state operations in its own thread.

So they are measured where they are used: in real workers, whose threads compete for the interpreter lock, on records
that all workers share. Samples go to a file for each worker in the folder that STATE_PROBE names.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import threading
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from gateway.state import stores
from gateway.state.operations.bucket import TAKE
from gateway.state.operations.sequence import NEXT

ROOM = 2_000_000  # samples of a worker; what comes after is not kept
OPERATIONS = ("sequence.next", "bucket.take", "read", "stamp", "version", "counter")
_SAMPLE = struct.Struct("=ff")  # which operation, microseconds; 0 where nothing was written


class _Probe:
    def __init__(self, folder: Path) -> None:
        assert stores.current is not None
        engine = stores.current.engine
        cursor = engine.record(NEXT, "probe:cursor")
        bucket = engine.record(TAKE, "probe:bucket")
        counters = engine.counters("probe", held=False)
        row, column = counters.row, counters.column("requests")

        def count() -> None:
            row[column] += 1

        operations = (
            lambda: cursor.apply(NEXT),
            lambda: bucket.apply(TAKE, 1e9, 1e9, 1.0),
            bucket.read,
            cursor.stamp,
            lambda: engine.version("registry"),
            count,
        )
        self._operations = list(enumerate(operations, 1))
        self._next = itertools.count().__next__
        path = folder / f"{os.getpid()}.samples"
        with path.open("w+b") as file:
            file.truncate(ROOM * _SAMPLE.size)
            self._map = mmap.mmap(file.fileno(), 0)

    def measure(self) -> None:
        for number, operation in self._operations:
            began = perf_counter_ns()
            operation()
            took = perf_counter_ns() - began
            at = self._next()
            if at < ROOM:
                _SAMPLE.pack_into(self._map, at * _SAMPLE.size, number, took / 1000)


_probes: list[_Probe] = []
_making = threading.Lock()  # guards making the process's one probe, by its first request


def choose(_request: Any) -> None:
    """No service: the routes decide."""
    if not _probes:
        with _making:
            if not _probes:
                _probes.append(_Probe(Path(os.environ["STATE_PROBE"])))
    _probes[0].measure()


def samples(folder: Path) -> dict[str, list[float]]:
    """Microseconds by the operation's name, of all workers so far."""
    found: dict[str, list[float]] = {name: [] for name in OPERATIONS}
    for path in folder.glob("*.samples"):
        for number, micros in _SAMPLE.iter_unpack(path.read_bytes()):
            if not number:
                break
            found[OPERATIONS[int(number) - 1]].append(micros)
    return found
