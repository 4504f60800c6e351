"""Counters in shared memory: a row of cells per worker, which that worker alone writes, and a column per key.

A column's total is the sum of its cells in the rows of the workers present, plus what dead ones left in the retired
row, minus what the column held when its present owner got it (its base).

Folding a dead worker's row into the retired one must happen once, whoever does it and whenever that one dies. So there
are two retired rows. The sum is written into the idle one; then a single word, FOLD, is stored: it names the retired
row that counts and the slot whose row no longer does. Only then is that row emptied, and the slot taken out of FOLD. A
sweeper that dies before the store has changed nothing; after it, the next one empties the row.

The retired row plays no part in the total of a held column: what a worker held ends with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b

from gateway.clock import Clock
from gateway.errors import StoreFull
from gateway.state.engines import REUSE_AFTER
from gateway.state.engines.node.segment import ALLOCATED, COLUMNS, DIGEST, FOLD, NAME, RELEASES, WORD, Segment
from gateway.state.engines.node.workers import Workers

# What a column is; 0 is one that was never used.
_TOTAL, _HELD, _RELEASED_TOTAL, _RELEASED_HELD = 1, 2, 3, 4
_RELEASE = {_TOTAL: _RELEASED_TOTAL, _HELD: _RELEASED_HELD}
_NOBODY = bytes(DIGEST)
_LENGTH = 2  # bytes in front of a name


class Cells:
    """All columns and rows. Whatever changes columns or rows of others does so under `workers.exclusive`."""

    def __init__(self, segment: Segment, workers: Workers, clock: Clock) -> None:
        layout = segment.layout
        self._memory = segment.memory
        self._words = segment.words
        self._workers = workers
        self._clock = clock
        self._digests = layout.digests
        self._names = layout.names
        self._kinds = layout.kinds // WORD
        self._bases = layout.bases // WORD
        self._released = layout.released // WORD
        self._doubles = segment.doubles
        self._retired = layout.retired // WORD
        self._rows = layout.rows // WORD
        own = self._rows + workers.slot * COLUMNS
        self.row = segment.words[own : own + COLUMNS]

    def total(self, column: int, held: bool) -> int:
        words = self._words
        while True:
            fold = words[FOLD]
            folded = (fold & 0xFFFF) - 1
            total: int = 0 if held else words[self._retired + ((fold >> 16) & 1) * COLUMNS + column]
            for slot in self._workers.present():
                if slot != folded:
                    total += words[self._rows + slot * COLUMNS + column]
            if words[FOLD] == fold:
                return total - int(words[self._bases + column])

    def totals(self, columns: Sequence[int], held: bool) -> list[int]:
        words, bases = self._words, self._bases
        while True:
            fold = words[FOLD]
            folded = (fold & 0xFFFF) - 1
            rows = [self._rows + slot * COLUMNS for slot in self._workers.present() if slot != folded]
            if not held:
                rows.append(self._retired + ((fold >> 16) & 1) * COLUMNS)
            if len(rows) == 1:
                (row,) = rows
                found = [words[row + column] - words[bases + column] for column in columns]
            else:
                found = [sum([words[row + column] for row in rows]) - words[bases + column] for column in columns]
            if words[FOLD] == fold:
                return found

    def releases(self) -> int:
        """Changes whenever a column that was known may belong to another key."""
        return int(self._words[RELEASES])

    def column(self, name: bytes, held: bool) -> int:
        digest = _digest(name)
        with self._workers.exclusive():
            found = self._find(digest)
            return self._allocate(name, digest, held) if found is None else found

    def columns(self, prefix: bytes) -> dict[bytes, int]:
        """The names that begin with `prefix`, and their columns.

        Without the lock, which a walk over all columns would hold for milliseconds: a name counts when it has the
        digest that stands for its column, so one that is just being written, or left by a former owner, does not.
        """
        found: dict[bytes, int] = {}
        memory = self._memory
        for column in range(self._words[ALLOCATED]):
            at = self._names + column * NAME + _LENGTH
            if memory[at : at + len(prefix)] == prefix:
                name = memory[at : at + int.from_bytes(memory[at - _LENGTH : at], "little")]
                digest = self._digests + column * DIGEST
                if _digest(name) == memory[digest : digest + DIGEST]:
                    found[name] = column
        return found

    def release(self, name: bytes) -> None:
        digest = _digest(name)
        with self._workers.exclusive():
            column = self._find(digest)
            if column is not None:
                words = self._words
                # First: should this process die here, no other one trusts what it remembers of the column.
                words[RELEASES] += 1
                self._doubles[self._released + column] = self._clock.monotonic()
                words[self._kinds + column] = _RELEASE[words[self._kinds + column]]
                self._own(column, _NOBODY)

    def fold(self, slot: int) -> None:
        """Take a dead worker's row out of the sums and let its slot go; under `workers.exclusive`."""
        words = self._words
        self.settle()
        generation = words[FOLD] >> 16
        old = self._retired + (generation & 1) * COLUMNS
        new = self._retired + ((generation + 1) & 1) * COLUMNS
        row = self._rows + slot * COLUMNS
        for column in range(words[ALLOCATED]):
            words[new + column] = words[old + column] + words[row + column]
        words[FOLD] = (generation + 1) << 16 | (slot + 1)
        self.settle()

    def settle(self) -> None:
        """Finish a fold whose sweeper died: empty the row; under `workers.exclusive`, before its slot is used again."""
        words = self._words
        fold = words[FOLD]
        slot = (fold & 0xFFFF) - 1
        if slot >= 0:
            start = (self._rows + slot * COLUMNS) * WORD
            self._memory[start : start + COLUMNS * WORD] = bytes(COLUMNS * WORD)
            self._workers.leave(slot)
            words[FOLD] = fold & ~0xFFFF

    def _find(self, digest: bytes) -> int | None:
        end = self._digests + self._words[ALLOCATED] * DIGEST
        at = self._memory.find(digest, self._digests, end)
        while at >= 0:
            column, rest = divmod(at - self._digests, DIGEST)
            if rest == 0 and self._words[self._kinds + column] in (_TOTAL, _HELD):
                return column
            at = self._memory.find(digest, at + 1, end)
        return None

    def _allocate(self, name: bytes, digest: bytes, held: bool) -> int:
        """Each step leaves a column that is either nobody's or wholly its new owner's, should this process die."""
        words = self._words
        column: int = words[ALLOCATED]
        fresh = column < COLUMNS
        if not fresh:
            column = self._rested(held)
        words[self._bases + column] = 0
        words[self._bases + column] = 0 if held else self.total(column, held)
        if len(name) <= NAME - _LENGTH:
            text = len(name).to_bytes(_LENGTH, "little") + name
            at = self._names + column * NAME
            self._memory[at : at + len(text)] = text
        self._own(column, digest)
        words[self._kinds + column] = _HELD if held else _TOTAL
        if fresh:
            words[ALLOCATED] = column + 1
        return column

    def _rested(self, held: bool) -> int:
        """The column that was released longest ago. Held and other ones do not mix: their cells end differently."""
        words = self._words
        kind = _RELEASED_HELD if held else _RELEASED_TOTAL
        best, since = -1, math.inf
        for column in range(COLUMNS):
            if words[self._kinds + column] == kind and self._doubles[self._released + column] < since:
                # What is still held will be given back: until then the column is not free.
                if held and any(words[self._rows + slot * COLUMNS + column] for slot in self._workers.present()):
                    continue
                best, since = column, self._doubles[self._released + column]
        if since > self._clock.monotonic() - REUSE_AFTER:
            raise StoreFull(f"all {COLUMNS} counters are in use")
        return best

    def _own(self, column: int, digest: bytes) -> None:
        at = self._digests + column * DIGEST
        self._memory[at : at + DIGEST] = digest


class NodeCounters:
    """The columns of one name."""

    def __init__(self, cells: Cells, name: str, held: bool, sweep_if_due: Callable[[], None]) -> None:
        self.held = held
        self.row = cells.row
        self._cells = cells
        self._prefix = f"{name}\0".encode()
        self._sweep_if_due = sweep_if_due
        self._known: tuple[int, dict[str, int]] = (-1, {})  # columns as of a number of releases; replaced whole

    def column(self, key: str) -> int:
        releases = self._cells.releases()
        at, known = self._known
        if at != releases:
            known = {}
            self._known = (releases, known)
        found = known.get(key)
        if found is None:
            # Read before the look-up: a release since then makes this entry void.
            found = known[key] = self._cells.column(self._prefix + key.encode(), self.held)
        return found

    def columns(self) -> dict[str, int]:
        start = len(self._prefix)
        return {name[start:].decode(): column for name, column in self._cells.columns(self._prefix).items()}

    def total(self, column: int) -> int:
        self._sweep_if_due()
        return self._cells.total(column, self.held)

    def totals(self, columns: Sequence[int]) -> list[int]:
        self._sweep_if_due()
        return self._cells.totals(columns, self.held)

    def release(self, key: str) -> None:
        self._cells.release(self._prefix + key.encode())


def _digest(name: bytes) -> bytes:
    return blake2b(name, digest_size=DIGEST).digest()
