"""Documents: durable bytes in an LMDB environment, written synchronously, shared by all workers.

Opened after the fork, once per process. Values are copied out, so no snapshot outlives a call. A change and the version
of its topic are one transaction: whoever sees the document sees the version, also when the writer was killed right
after the commit.

To see that nothing changed must cost next to nothing and not give up the GIL, as every call of LMDB does. So a writer
stores a number in the segment before it commits (BEGUN) and the same one afterwards (ENDED). While they are the same,
what was read under that number is current; when they differ, somebody is writing or died writing, and LMDB is asked.

The map never grows, as LMDB cannot do that while others have transactions open. LMDB also needs free pages to delete,
so documents have a budget that ends well before the map does, by a cautious estimate of the pages that they fill.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import Any

import lmdb

from gateway.clock import Clock
from gateway.errors import StoreFull, StoreUnavailable
from gateway.state.engines import StateError, topic_of
from gateway.state.engines.node.folder import DOCUMENTS, READERS
from gateway.state.engines.node.notices import Notices
from gateway.state.engines.node.segment import BEGUN, ENDED, Segment

_DEADLINES = Struct("<dd")  # before each value: monotonic deadline, Unix deadline; inf without a ttl
_NUMBER = Struct("<q")
_USED, _BOOT, _VERSION = b"used", b"boot", b"version/"  # keys of the notes, beside the documents
_PURGE_EVERY = 60.0  # seconds between looks for expired documents, when something is written
_PAGE = 4096
_INLINE = 2000  # bytes; LMDB gives a longer value pages of its own
_SPARSEST = 4  # LMDB merges pages that are less than a quarter full
_RESERVE = 64 * _PAGE  # for LMDB's own pages, its copies while writing, and the notes


class Documents:
    def __init__(
        self, folder: Path, max_size: int, clock: Clock, *, boot_id: str, segment: Segment, notices: Notices
    ) -> None:
        self._clock = clock
        self._words = segment.words
        self._notices = notices
        self._budget = max_size - _RESERVE
        self._purge_at = 0.0
        try:
            self._env = lmdb.open(
                str(folder / DOCUMENTS),
                subdir=False,
                map_size=max_size,
                max_readers=READERS,
                max_dbs=2,
                max_spare_txns=32,
                mode=0o600,
                readahead=False,
            )
            self._documents = self._env.open_db(b"documents")
            self._notes = self._env.open_db(b"notes")
            self._env.reader_check()
        except lmdb.Error as error:
            raise StateError(f"{folder / DOCUMENTS} cannot be opened: {error}; restore it, or remove it") from error
        self._topics: tuple[int, dict[str, int]] = (-1, {})  # versions as of BEGUN or a transaction; replaced whole
        self._adopt(boot_id)

    def get(self, key: str) -> bytes | None:
        now = self._clock.monotonic()
        with self._transaction(write=False) as txn:
            stored = txn.get(key.encode(), db=self._documents)
        return None if stored is None or _DEADLINES.unpack_from(stored)[0] <= now else stored[_DEADLINES.size :]

    def put(self, key: str, value: bytes, ttl: float | None) -> None:
        topic, name = topic_of(key), key.encode()
        now, wall = self._clock.monotonic(), self._clock.wall()
        deadlines = (math.inf, math.inf) if ttl is None else (now + ttl, wall + ttl)
        stored = _DEADLINES.pack(*deadlines) + value
        with self._transaction(write=True) as txn:
            self._purge_if_due(txn, now)
            used = self._used_with(txn, name, stored)
            if used > self._budget:
                self._purge(txn, now)
                used = self._used_with(txn, name, stored)
            fits = used <= self._budget
            if fits:
                txn.put(name, stored, db=self._documents)
                self._note(txn, _USED, used)
                self._note(txn, _VERSION + topic.encode(), txn.id())
        if not fits:  # raised out here: what was purged stays purged
            raise StoreFull(f"no room for {key!r}: the documents fill their {self._budget} bytes")

    def delete(self, key: str) -> bool:
        topic, name = topic_of(key), key.encode()
        now = self._clock.monotonic()
        with self._transaction(write=True) as txn:
            self._purge_if_due(txn, now)
            stored = txn.get(name, db=self._documents)
            if stored is None:
                return False
            self._note(txn, _USED, self._noted(txn, _USED) - _cost(name, stored))
            txn.delete(name, db=self._documents)
            lived = bool(_DEADLINES.unpack_from(stored)[0] > now)
            if lived:
                self._note(txn, _VERSION + topic.encode(), txn.id())
        return lived

    def scan(self, prefix: str) -> list[tuple[str, bytes]]:
        start, now = prefix.encode(), self._clock.monotonic()
        found: list[tuple[str, bytes]] = []
        with self._transaction(write=False) as txn, txn.cursor(db=self._documents) as cursor:
            more = cursor.set_range(start) if start else cursor.first()
            while more:
                name, stored = cursor.item()
                if not name.startswith(start):
                    break
                if _DEADLINES.unpack_from(stored)[0] > now:
                    found.append((name.decode(), stored[_DEADLINES.size :]))
                more = cursor.next()
        return found

    def version(self, topic: str) -> int:
        """The transaction that last changed a document of the topic."""
        words = self._words
        number: int = words[BEGUN]
        if number != words[ENDED]:
            number = ~self._env.info()["last_txnid"]
        known, versions = self._topics
        if known != number:
            versions = {}
            self._topics = (number, versions)
        version = versions.get(topic)
        if version is None:
            with self._transaction(write=False) as txn:
                version = versions[topic] = self._noted(txn, _VERSION + topic.encode())
        return version

    def forget_dead_readers(self) -> None:
        """A process that was killed while it read would otherwise keep old pages from being used again."""
        self._env.reader_check()

    def close(self) -> None:
        self._env.close()

    def _adopt(self, boot_id: str) -> None:
        """After a reboot monotonic time began anew: what is left to documents with a ttl is told by wall clock."""
        with self._transaction(write=False) as txn:
            if txn.get(_BOOT, db=self._notes) == boot_id.encode():
                return
        with self._transaction(write=True) as txn:
            if txn.get(_BOOT, db=self._notes) == boot_id.encode():
                return  # another worker was faster
            shift = self._clock.monotonic() - self._clock.wall()
            for name, stored in txn.cursor(db=self._documents):
                _, wall = _DEADLINES.unpack_from(stored)
                if wall != math.inf:
                    txn.put(name, _DEADLINES.pack(wall + shift, wall) + stored[_DEADLINES.size :], db=self._documents)
            txn.put(_BOOT, boot_id.encode(), db=self._notes)

    def _purge_if_due(self, txn: Any, now: float) -> None:
        if now >= self._purge_at:
            self._purge_at = now + _PURGE_EVERY
            self._purge(txn, now)

    def _purge(self, txn: Any, now: float) -> None:
        expired = [
            (name, _cost(name, stored))
            for name, stored in txn.cursor(db=self._documents)
            if _DEADLINES.unpack_from(stored)[0] <= now
        ]
        for name, _ in expired:
            txn.delete(name, db=self._documents)
        if expired:
            self._note(txn, _USED, self._noted(txn, _USED) - sum(cost for _, cost in expired))

    def _used_with(self, txn: Any, name: bytes, stored: bytes) -> int:
        replaced = txn.get(name, db=self._documents)
        return self._noted(txn, _USED) + _cost(name, stored) - (0 if replaced is None else _cost(name, replaced))

    def _noted(self, txn: Any, name: bytes) -> int:
        stored = txn.get(name, db=self._notes)
        return 0 if stored is None else int(_NUMBER.unpack(stored)[0])

    def _note(self, txn: Any, name: bytes, number: int) -> None:
        txn.put(name, _NUMBER.pack(number), db=self._notes)

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Any]:
        try:
            with self._writing() if write else self._env.begin() as txn:
                yield txn
        except lmdb.MapFullError as error:
            raise StoreFull(f"the documents fill the map: {error}") from error
        except lmdb.Error as error:
            raise StoreUnavailable(f"the documents cannot be {'written' if write else 'read'}: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        words, number = self._words, 0
        try:
            with self._env.begin(write=True) as txn:
                number = self._notices.give(BEGUN)  # as the only writer: LMDB lets the next one in after the commit
                yield txn
        finally:
            if number and words[BEGUN] == number:  # otherwise the next one has begun, and will end it
                words[ENDED] = number


def _cost(name: bytes, stored: bytes) -> int:
    """The bytes of the map that a document takes at most."""
    if len(name) + len(stored) > _INLINE:
        return _SPARSEST * (len(name) + 32) + -(-(len(stored) + 16) // _PAGE) * _PAGE
    return _SPARSEST * (len(name) + len(stored) + 16)
