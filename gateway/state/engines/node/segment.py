"""The shared memory segment: what lies where, made once by the master and mapped by every worker.

Made before the first fork and inherited as a descriptor, it outlives every worker and every reload, and ends with the
last process that has it. All of it but the mutexes starts as zeros, and memory is used only where something is written.

    header    words: see the constants                                   counters, workers, notices, documents
    topics    a word per topic hash: changes when the topic's version does
    present   a word per worker slot: 1 while its row is in use
    notices   a word per worker slot: how many notices it has given; never falls
    digests, kinds, bases, released, names    one each per column
    retired   twice a word per column: what dead workers counted
    rows      a word per column, per worker slot
    tables    per table: sets' heads (mutex, word), then slots
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from dataclasses import dataclass

from gateway.state.engines import StateError
from gateway.state.engines.node import mutex
from gateway.state.operations import LARGEST_RECORD

WORD = 8
WORKERS = 512  # worker slots; a reload needs two per worker
COLUMNS = 16384
TOPICS = 1024  # two topics that share a word only cause a look for nothing
DIGEST = 16
NAME = 512  # bytes of a column's name with its length; a longer one counts like any other, only no report lists it

# Words of the header.
MAGIC, MAX_SIZE, ROSTER, FOLD, ALLOCATED, RELEASES, DEATHS, BEGUN, ENDED = range(9)
_MAGIC = 0x6774_7761_7901
_PAGE = 4096

WAYS = 128  # slots in a set; a key lives in one set, and sets this large fill evenly to two thirds of the table
SMALL_RECORD = 64  # bytes


@dataclass(frozen=True, slots=True)
class TableLayout:
    """record: bytes of a record's state. heads, slots: byte offsets. A head is a mutex and, behind it, a word."""

    record: int
    slot: int
    sets: int
    heads: int
    slots: int

    HEAD = mutex.SIZE + WORD * 8


class Layout:
    """Byte offsets of everything, for one `max_size`."""

    def __init__(self, max_size: int) -> None:
        self.size = _PAGE
        self.topics = self._take(TOPICS * WORD)
        self.present = self._take(WORKERS * WORD)
        self.notices = self._take(WORKERS * WORD)
        self.digests = self._take(COLUMNS * DIGEST)
        self.kinds = self._take(COLUMNS * WORD)
        self.bases = self._take(COLUMNS * WORD)
        self.released = self._take(COLUMNS * WORD)
        self.names = self._take(COLUMNS * NAME)
        self.retired = self._take(2 * COLUMNS * WORD)
        self.rows = self._take(WORKERS * COLUMNS * WORD)
        # Limits by client make many small records; everything larger comes by the instance.
        self.tables = (self._table(SMALL_RECORD, max_size * 3 // 4), self._table(LARGEST_RECORD, max_size // 4))

    def _take(self, size: int) -> int:
        at = self.size
        self.size += -(-size // _PAGE) * _PAGE
        return at

    def _table(self, record: int, room: int) -> TableLayout:
        slot = slot_size(record)
        sets = max(1, room // (slot * WAYS))
        return TableLayout(record, slot, sets, self._take(sets * TableLayout.HEAD), self._take(sets * WAYS * slot))


def slot_size(record: int) -> int:
    """A slot: its sequence word, a spare one, and two banks of digest, deadline and state."""
    return 2 * WORD + 2 * (DIGEST + WORD + record)


def create(max_size: int) -> int:
    """Make the segment and return its descriptor: for the master, before it forks. Up to `max_size` bytes of memory
    are used for records as they come, and a little for counters. Raises StateError."""
    layout = Layout(max_size)
    try:
        descriptor = os.memfd_create("gateway-state", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, layout.size)
        # Nobody can shrink it under a mapping (that would be a SIGBUS).
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    except AttributeError:
        raise StateError("the node engine needs Linux; set state.engine to memory") from None
    except OSError as error:
        raise StateError(f"no shared memory for the state: {error.strerror}") from error
    with mmap.mmap(descriptor, layout.size) as memory:
        pinned = ctypes.c_char.from_buffer(memory)
        base = ctypes.addressof(pinned)
        for table in layout.tables:
            start = base + table.heads
            mutex.initialise(range(start, start + table.sets * TableLayout.HEAD, TableLayout.HEAD))
        words = memoryview(memory).cast("q")
        words[MAX_SIZE] = max_size
        words[MAGIC] = _MAGIC
        words.release()
        del pinned
    return descriptor


class Segment:
    """One process's mapping. `words` and `doubles` are the same memory in units of 8 bytes, `base` is its address.

    An aligned word is read and written as a whole.
    """

    def __init__(self, descriptor: int) -> None:
        try:
            size = os.fstat(descriptor).st_size
            self.memory = mmap.mmap(descriptor, size)
            # A description of its own: kernel locks taken through it are this process's, not the master's.
            self.descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise StateError(f"the shared memory of the state cannot be mapped: {error}") from error
        self._view = memoryview(self.memory)
        self.words = self._view.cast("q")
        self.doubles = self._view.cast("d")
        self._pinned: ctypes.c_char | None = ctypes.c_char.from_buffer(self.memory)
        self.base = ctypes.addressof(self._pinned)
        if self.words[MAGIC] != _MAGIC:
            raise StateError("the descriptor of the state's shared memory is something else")
        self.layout = Layout(self.words[MAX_SIZE])

    def close(self) -> None:
        """Idempotent. What still uses the mapping fails with ValueError afterwards."""
        if self._pinned is not None:
            self._pinned = None
            for view in (self.words, self.doubles, self._view):
                view.release()
            self.memory.close()
            os.close(self.descriptor)
