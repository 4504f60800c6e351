"""The `memory` engine: everything in this process, gone with it. For tests and for a single worker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from threading import Lock
from typing import Any
from zlib import crc32

from gateway.clock import Clock, SystemClock
from gateway.config.model import State as Settings
from gateway.errors import StoreFull
from gateway.state.engines import REUSE_AFTER, topic_of
from gateway.state.operations import Operation, Result, State

_STRIPES = 64
_RECORD_COST = 256  # bytes of `max_size` that one record is counted as
_DOCUMENT_COST = 64  # bytes on top of a document's key and value


class MemoryEngine:
    """`max_size` bounds documents (bytes) and, on its own, records (256 bytes each)."""

    def __init__(self, max_size: int, clock: Clock, columns: int = 16384) -> None:
        self._clock = clock
        self._max_size = max_size
        self._columns = columns
        self._unique = count(1)  # `next` of it is one step, in any thread
        self._versions: dict[str, int] = {}  # topic -> a number never used before; replaced whole, needs no lock
        limit = max(1, max_size // _RECORD_COST // _STRIPES)
        self._stripes = [_Stripe(limit) for _ in range(_STRIPES)]
        self._lock = Lock()  # guards _documents, _used, _counters
        self._documents: dict[str, tuple[bytes, float]] = {}  # key -> value, monotonic deadline
        self._used = 0
        self._counters: dict[str, MemoryCounters] = {}

    def record(self, operation: Operation[Any], key: str) -> MemoryRecord:
        identity = f"{operation.kind}\0{key}"
        return MemoryRecord(self, self._stripes[crc32(identity.encode()) % _STRIPES], operation, identity)

    def counters(self, name: str, *, held: bool) -> MemoryCounters:
        with self._lock:
            found = self._counters.get(name)
            if found is None:
                found = self._counters[name] = MemoryCounters(self._columns, held, self._clock)
        if found.held is not held:
            raise ValueError(f"counters {name!r} are {'held' if found.held else 'totals'} already")
        return found

    def version(self, topic: str) -> int:
        return self._versions.get(topic, 0)

    def bump(self, topic: str) -> None:
        self._versions[topic] = next(self._unique)

    def get(self, key: str) -> bytes | None:
        found = self._documents.get(key)
        return found[0] if found is not None and found[1] > self._clock.monotonic() else None

    def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        topic = topic_of(key)
        now = self._clock.monotonic()
        with self._lock:
            if self._used_with(key, value) > self._max_size:
                for expired in [name for name, (_, deadline) in self._documents.items() if deadline <= now]:
                    self._remove(expired)
            used = self._used_with(key, value)
            if used > self._max_size:
                raise StoreFull(f"no room for {key!r}: {self._used} of {self._max_size} bytes are in use")
            self._documents[key] = (bytes(value), math.inf if ttl is None else now + ttl)
            self._used = used
            self.bump(topic)

    def delete(self, key: str) -> bool:
        topic = topic_of(key)
        now = self._clock.monotonic()
        with self._lock:
            if key not in self._documents:
                return False
            lived = self._documents[key][1] > now
            self._remove(key)
            if lived:
                self.bump(topic)
            return lived

    def scan(self, prefix: str) -> list[tuple[str, bytes]]:
        now = self._clock.monotonic()
        with self._lock:
            found = [(key, value) for key, (value, deadline) in self._documents.items() if deadline > now]
        return sorted((pair for pair in found if pair[0].startswith(prefix)), key=lambda pair: pair[0].encode())

    def close(self) -> None:
        return None

    def _used_with(self, key: str, value: bytes) -> int:
        replaced = _cost(key, self._documents[key][0]) if key in self._documents else 0
        return self._used - replaced + _cost(key, value)

    def _remove(self, key: str) -> None:
        self._used -= _cost(key, self._documents.pop(key)[0])

    def now(self) -> float:
        return self._clock.monotonic()

    def stamp(self) -> int:
        return next(self._unique)


Entry = tuple[bytes, float, int]  # packed state, deadline, stamp


class _Stripe:
    """Some of the records. An entry is replaced whole, so reading one needs no lock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.purge_at = 64
        self.lock = Lock()  # guards writes to entries, and purge_at
        self.entries: dict[str, Entry] = {}

    def replace(self, key: str, before: Entry | None, after: Entry) -> bool:
        """False when the entry is not `before` any more; nothing is done then.

        No call under the lock: a thread that holds it is not switched for another one, which would then wait for it.
        """
        entries = self.entries
        with self.lock:
            try:
                current = entries[key]
            except KeyError:
                current = None
            if current is not before:
                return False
            entries[key] = after
            return True

    def make_room(self, now: float) -> None:
        """Called before an insertion: drop what has expired each time the number of entries has doubled."""
        with self.lock:
            if len(self.entries) >= min(self.purge_at, self.limit):
                for key in [key for key, entry in self.entries.items() if entry[1] <= now]:
                    del self.entries[key]
                self.purge_at = max(64, 2 * len(self.entries))
                if len(self.entries) >= self.limit:
                    raise StoreFull("no room for another record of transient state")


class MemoryRecord:
    """States are kept packed: what does not fit the layout fails here as it would in shared memory."""

    __slots__ = ("_engine", "_initial", "_key", "_layout", "_stripe")

    def __init__(self, engine: MemoryEngine, stripe: _Stripe, operation: Operation[Any], key: str) -> None:
        self._engine = engine
        self._stripe = stripe
        self._layout = operation.layout
        self._initial = operation.initial
        self._key = key

    def apply(self, operation: Operation[Result], *args: Any) -> Result:
        stripe, key = self._stripe, self._key
        while True:
            entry = stripe.entries.get(key)
            now = self._engine.now()
            alive = entry is not None and entry[1] > now
            state = self._layout.unpack(entry[0]) if alive else self._initial  # type: ignore[index]
            after, result, notify = operation.decide(state, now, *args)
            if after is not None:
                if entry is None:
                    stripe.make_room(now)
                changed = (self._layout.pack(*after), now + operation.lifetime(after), self._engine.stamp())
                if not stripe.replace(key, entry, changed):
                    continue
            if notify and operation.topic is not None:
                self._engine.bump(operation.topic)
            return result

    def read(self) -> State:
        entry = self._stripe.entries.get(self._key)
        return self._initial if entry is None or entry[1] <= self._engine.now() else self._layout.unpack(entry[0])

    def stamp(self) -> int:
        entry = self._stripe.entries.get(self._key)
        return 0 if entry is None else entry[2]

    def drop(self) -> None:
        with self._stripe.lock:
            self._stripe.entries.pop(self._key, None)

    def __repr__(self) -> str:
        return f"MemoryRecord({self._key!r}, {self.read()})"


class MemoryCounters:
    """One worker, so one row."""

    def __init__(self, columns: int, held: bool, clock: Clock) -> None:
        self.held = held
        self.row = memoryview(bytearray(8 * columns)).cast("q")
        self._clock = clock
        self._lock = Lock()  # guards the fields below
        self._fresh = 0  # columns from here on were never used
        self._names: dict[str, int] = {}
        self._base: dict[int, int] = {}  # what a column held when its present owner got it
        self._resting: dict[int, float] = {}  # released columns, longest first -> when

    def column(self, key: str) -> int:
        found = self._names.get(key)
        if found is not None:
            return found
        with self._lock:
            if key not in self._names:
                column = self._allocate()
                self._base[column] = self.row[column]
                self._names[key] = column
            return self._names[key]

    def columns(self) -> dict[str, int]:
        with self._lock:
            return dict(self._names)

    def total(self, column: int) -> int:
        value: int = self.row[column]
        return value - self._base.get(column, 0)

    def totals(self, columns: Sequence[int]) -> list[int]:
        row, base = self.row, self._base
        return [row[column] - base.get(column, 0) for column in columns]

    def release(self, key: str) -> None:
        with self._lock:
            column = self._names.pop(key, None)
            if column is not None:
                self._resting[column] = self._clock.monotonic()

    def _allocate(self) -> int:
        if self._fresh < len(self.row):
            self._fresh += 1
            return self._fresh - 1
        rested = self._clock.monotonic() - REUSE_AFTER
        for column, since in self._resting.items():
            # What is still held will be given back: until then the column is not free.
            if since <= rested and not (self.held and self.row[column]):
                del self._resting[column]
                return column
        raise StoreFull(f"all {len(self.row)} counters are in use")


def _cost(key: str, value: bytes) -> int:
    return len(key.encode()) + len(value) + _DOCUMENT_COST


def build(settings: Settings, *, clock: Clock | None = None, **_: Any) -> MemoryEngine:
    """`**_`: what only engines shared by several processes need."""
    return MemoryEngine(settings.max_size, clock or SystemClock())
