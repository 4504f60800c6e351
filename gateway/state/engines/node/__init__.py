"""The `node` engine: what every worker of this machine shares.

Durable documents are in LMDB (documents.py), transient records and counters in a shared memory segment (segment.py,
records.py, counters.py). The master calls `prepare` and `create_segment` once, before it forks; each worker makes a
`NodeEngine` of the inherited descriptor after the fork. A process without a master leaves the descriptor out.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gateway.clock import Clock, SystemClock
from gateway.config.model import State as Settings
from gateway.state.engines import Version
from gateway.state.engines.node.counters import Cells, NodeCounters
from gateway.state.engines.node.documents import Documents
from gateway.state.engines.node.folder import Folder, prepare
from gateway.state.engines.node.notices import Notices
from gateway.state.engines.node.records import NodeRecord, Table
from gateway.state.engines.node.segment import Segment
from gateway.state.engines.node.segment import create as create_segment
from gateway.state.engines.node.workers import Workers
from gateway.state.operations import Operation

__all__ = ["Folder", "NodeEngine", "build", "create_segment", "prepare"]

_SWEEP_EVERY = 0.5  # seconds between looks for dead workers; design: their part is gone within a second
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class NodeEngine:
    """One per process, made after the fork, closed by `close`.

    segment_fd: from `create_segment`, inherited; None: this process is alone, prepares the folder and makes its own.
    slot: this worker's, 0 to 511; no two processes have the same one at the same time. boot_id: tells whether monotonic
    times in the documents are of this boot. Raises StateError.
    """

    def __init__(
        self,
        path: Path,
        max_size: int,
        clock: Clock,
        segment_fd: int | None = None,
        slot: int = 0,
        *,
        boot_id: str | None = None,
    ) -> None:
        with ExitStack() as stack:
            if segment_fd is None:
                stack.callback(prepare(path, max_size).close)
                segment_fd = create_segment(max_size)
                segment = Segment(segment_fd)
                os.close(segment_fd)
            else:
                segment = Segment(segment_fd)
            stack.callback(segment.close)
            self._clock = clock
            self._workers = Workers(segment, slot)
            self._notices = Notices(segment, slot)
            self._cells = Cells(segment, self._workers, clock)
            stack.callback(self._cells.row.release)
            self._tables = [Table(segment, layout, self._notices, clock) for layout in segment.layout.tables]
            self._records = [layout.record for layout in segment.layout.tables]
            self._words = segment.words
            self._enter(slot)
            boot_id = boot_id or _BOOT_ID.read_text().strip()
            self._documents = Documents(
                Path(path), max_size, clock, boot_id=boot_id, segment=segment, notices=self._notices
            )
            stack.callback(self._documents.close)
            self._sweep_at = 0.0
            self._closing = stack.pop_all()

    def record(self, operation: Operation[Any], key: str) -> NodeRecord:
        small = operation.layout.size <= self._records[0]
        return NodeRecord(self._tables[0 if small else 1], operation, key, self._words, self._notices)

    def counters(self, name: str, *, held: bool) -> NodeCounters:
        return NodeCounters(self._cells, name, held, self.sweep_if_due)

    def version(self, topic: str) -> Version:
        self.sweep_if_due()
        return self._documents.version(topic), self._notices.version(topic)

    def get(self, key: str) -> bytes | None:
        return self._documents.get(key)

    def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self._documents.put(key, value, ttl)

    def delete(self, key: str) -> bool:
        return self._documents.delete(key)

    def scan(self, prefix: str) -> list[tuple[str, bytes]]:
        return self._documents.scan(prefix)

    def close(self) -> None:
        self._closing.close()

    def sweep(self) -> None:
        """Take dead workers out of the sums."""
        if self._workers.dead():
            with self._workers.exclusive():
                for slot in self._workers.dead():
                    self._cells.fold(slot)
            self._notices.death()
            self._documents.forget_dead_readers()

    def sweep_if_due(self) -> None:
        now = self._clock.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_EVERY
            self.sweep()

    def _enter(self, slot: int) -> None:
        with self._workers.exclusive():
            self._cells.settle()
            if self._workers.mark():
                self._cells.fold(slot)
                self._notices.death()
            self._workers.enter()

    def __repr__(self) -> str:
        return f"NodeEngine(slot={self._workers.slot}, present={self._workers.present()})"


def build(
    settings: Settings, *, clock: Clock | None = None, segment_fd: int | None = None, slot: int = 0, **_: Any
) -> NodeEngine:
    return NodeEngine(settings.path, settings.max_size, clock or SystemClock(), segment_fd, slot)
