"""A node in one process: workers that share one memory engine, and die as by SIGKILL.

Each worker has rows of its own in the counters, as on the node engine. What a dead one held is gone from the sums; what
it does from then on (unwinding a thread that a real kill would have ended) reaches nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.clock import FakeClock
from gateway.state.engines.memory import MemoryEngine, MemoryRecord
from gateway.state.operations import Operation, Result, State

COLUMNS = 64


class Killed(BaseException):
    """Ends the thread of a dead worker."""


class _Shared:
    """The counters of one name: columns and every worker's row."""

    def __init__(self, held: bool) -> None:
        self.held = held
        self.names: dict[str, int] = {}
        self.fresh = 0
        self.rows: list[tuple[WorkerEngine, memoryview]] = []

    def total(self, column: int) -> int:
        return sum(row[column] for worker, row in self.rows if worker.alive or not self.held)


class Node:
    def __init__(self, clock: FakeClock) -> None:
        self.engine = MemoryEngine(1 << 22, clock)
        self.shared: dict[str, _Shared] = {}

    def worker(self) -> WorkerEngine:
        return WorkerEngine(self)

    def held(self) -> dict[str, list[int]]:
        """The sums of all held counters, columns that were given back included."""
        return {
            name: [counters.total(column) for column in range(counters.fresh)]
            for name, counters in self.shared.items()
            if counters.held
        }


class WorkerEngine:
    """The engine as one worker sees it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._engine = node.engine
        self.alive = True
        self.version = self._engine.version
        self.get = self._engine.get
        self.put = self._engine.put
        self.delete = self._engine.delete
        self.scan = self._engine.scan
        self.close = self._engine.close

    def record(self, operation: Operation[Any], key: str) -> WorkerRecord:
        return WorkerRecord(self, self._engine.record(operation, key))

    def counters(self, name: str, *, held: bool) -> WorkerCounters:
        shared = self._node.shared.setdefault(name, _Shared(held))
        assert shared.held is held
        return WorkerCounters(self, shared)


class WorkerRecord:
    def __init__(self, worker: WorkerEngine, record: MemoryRecord) -> None:
        self._worker = worker
        self._record = record
        self.stamp = record.stamp

    def apply(self, operation: Operation[Result], *args: Any) -> Result:
        if not self._worker.alive:
            raise Killed
        return self._record.apply(operation, *args)

    def read(self) -> State:
        return self._record.read()

    def drop(self) -> None:
        if self._worker.alive:
            self._record.drop()

    def __repr__(self) -> str:
        return repr(self._record)


class WorkerCounters:
    def __init__(self, worker: WorkerEngine, shared: _Shared) -> None:
        self._shared = shared
        self.held = shared.held
        self.total = shared.total
        self.row = next((row for owner, row in shared.rows if owner is worker), None)
        if self.row is None:
            self.row = memoryview(bytearray(8 * COLUMNS)).cast("q")
            shared.rows.append((worker, self.row))

    def column(self, key: str) -> int:
        shared = self._shared
        if key not in shared.names:
            shared.names[key] = shared.fresh  # never one that was given back: columns rest for longer than a schedule
            shared.fresh += 1
        return shared.names[key]

    def columns(self) -> dict[str, int]:
        return dict(self._shared.names)

    def totals(self, columns: Sequence[int]) -> list[int]:
        return [self.total(column) for column in columns]

    def release(self, key: str) -> None:
        self._shared.names.pop(key, None)
