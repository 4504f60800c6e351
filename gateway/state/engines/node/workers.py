"""Which workers live: each holds a kernel lock on the byte of the segment that is its slot's number.

The kernel lets go of it however the worker ends. The locks are open file description locks (fcntl(2)), which a closed
descriptor or a second engine in the same process does not disturb.
"""

from __future__ import annotations

import fcntl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from gateway.state.engines import StateError
from gateway.state.engines.node.segment import ROSTER, WORD, WORKERS, Segment

_FLOCK = struct.Struct("hhqqi4x")  # struct flock on the 64-bit platforms: type, whence, start, length, pid
_EXCLUSIVE = WORKERS  # the byte behind the workers': who holds it may change who is present, and columns


class Workers:
    def __init__(self, segment: Segment, slot: int) -> None:
        if not 0 <= slot < WORKERS:
            raise StateError(f"worker slot {slot}; there are 0 to {WORKERS - 1}")
        self.slot = slot
        self._descriptor = segment.descriptor
        self._words = segment.words
        self._present = segment.layout.present // WORD
        self._lock = Lock()  # guards the exclusive byte among the threads of this process
        self._roster: tuple[int, tuple[int, ...]] = (-1, ())  # the roster's number, the slots of that roster

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One thread of one process at a time. May wait, without the GIL, for another process's few milliseconds."""
        with self._lock:
            self._set(fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, _EXCLUSIVE)
            try:
                yield
            finally:
                self._set(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _EXCLUSIVE)

    def mark(self) -> bool:
        """Take this worker's byte; under `exclusive`. True when its slot still holds a dead worker's row."""
        try:
            self._set(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, self.slot)
        except BlockingIOError:
            raise StateError(f"worker slot {self.slot} belongs to a process that is still running") from None
        return bool(self._words[self._present + self.slot])

    def enter(self) -> None:
        """Let this worker's row count; under `exclusive`."""
        self._words[self._present + self.slot] = 1
        self._words[ROSTER] += 1

    def leave(self, slot: int) -> None:
        """A slot's row is empty; under `exclusive`."""
        self._words[self._present + slot] = 0
        self._words[ROSTER] += 1

    def present(self) -> tuple[int, ...]:
        """The slots whose rows count: of live workers, and of dead ones that were not swept yet."""
        number = self._words[ROSTER]
        known, slots = self._roster
        if known != number:
            first = self._present
            slots = tuple(slot for slot in range(WORKERS) if self._words[first + slot])
            self._roster = (number, slots)
        return slots

    def dead(self) -> list[int]:
        """The slots in use whose worker is gone."""
        return [slot for slot in self.present() if slot != self.slot and not self._held(slot)]

    def _held(self, byte: int) -> bool:
        query = _FLOCK.pack(fcntl.F_WRLCK, 0, byte, 1, 0)
        kind = _FLOCK.unpack(fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, query))[0]
        return bool(kind != fcntl.F_UNLCK)

    def _set(self, command: int, kind: int, byte: int) -> None:
        fcntl.fcntl(self._descriptor, command, _FLOCK.pack(kind, 0, byte, 1, 0))
