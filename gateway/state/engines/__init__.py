"""State engines: where shared state lives. A plug point: one file an engine, its name is `state.engine`.

Three kinds of state, each with the cheapest means that is exact for it:

- **records**: small and transient (buckets, windows, cursors, breakers, leases), changed by an `Operation` whose
  decision and write are one step for every thread and worker. They survive reloads, not the gateway's end.
- **counters**: sums over workers of cells that one worker each writes. No lock.
- **documents**: durable bytes under a path-like key (`registrations/echo/inst-1`), with a version per first segment.

Times are seconds of the engine's clock.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from gateway.state.operations import Operation, Result, State

REUSE_AFTER = 900.0  # seconds; a released column rests that long, so that late writers cannot reach its next owner
LONGEST_KEY = 480  # bytes of a document's key in UTF-8

Version = Hashable  # good for comparing with `==` only


class StateError(Exception):
    """The engine cannot start. The text is one sentence for the operator: what was found and what to do."""


class Record(Protocol):
    """A handle on one record. Cheap to make, cheaper to keep; safe to use from every thread."""

    def apply(self, operation: Operation[Result], *args: Any) -> Result:
        """Decide and write as one step, exact over all threads and workers; what `operation.decide` found is returned.

        `operation` must be of the kind the handle was made for. Raises errors.StoreFull when the record does not exist
        and there is no room for another one.
        """

    def read(self) -> State:
        """A consistent state; `initial` when the record does not exist."""

    def stamp(self) -> int:
        """A number that differs after each write of the state: keep what was computed from `read` while it stands.

        Take it before reading. Good for comparing with `==` only. Expiry alone does not change it.
        """

    def drop(self) -> None:
        """Forget the state: the record reads as `initial` again. Nothing happens when there is none."""


class Counters(Protocol):
    """Sums over workers. `counters.row[column] += 1` counts; only this worker writes the cells of its row.

    CPython switches threads only at calls and jumps, of which the statement has none, so all threads of a worker may
    use it without a lock. Keep `row` and the column in local variables or slots where it is hot.
    """

    row: memoryview  # format 'q'

    def column(self, key: str) -> int:
        """The column of `key`, the same in all workers; allocated, with a total of 0, when there is none.

        Raises errors.StoreFull when every column is taken or was released within `REUSE_AFTER`.
        """

    def columns(self) -> dict[str, int]:
        """Every key that has a column, whichever worker asked for it, and the column. For reports, not for requests."""

    def total(self, column: int) -> int:
        """The sum over all workers; of held counters over those that live (a dead one counts for a second at most)."""

    def totals(self, columns: Sequence[int]) -> list[int]:
        """`total` of each, read one after the other: cheaper than one call a column, and as exact."""

    def release(self, key: str) -> None:
        """Give the column back. What is still added to it reaches nobody: it rests before it is used again."""


class Engine(Protocol):
    def record(self, operation: Operation[Any], key: str) -> Record:
        """A handle on the record `key` of the operation's kind. Creates nothing: `apply` does."""

    def counters(self, name: str, *, held: bool) -> Counters:
        """The counters of a name. held: they count what is held now, and a dead worker holds nothing any more;
        otherwise they count what happened, and a dead worker's part stays. One name is always one or the other."""

    def version(self, topic: str) -> Version:
        """Something that differs after each change of a document under `topic/` and each `notify` of an operation with
        that topic. Cheap. Take it before reading what it covers. A document's expiry does not change it."""

    def get(self, key: str) -> bytes | None:
        """The document's value, None when it does not exist or has expired."""

    def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Store durably: on return it survives the death of every process and, without `ttl`, a reboot.

        ttl: seconds until it is gone; they run on during a reboot, by wall clock. Raises errors.StoreFull when there is
        no room even after removing what has expired, errors.StoreUnavailable when it cannot be written.
        """

    def delete(self, key: str) -> bool:
        """True when the document was there."""

    def scan(self, prefix: str) -> list[tuple[str, bytes]]:
        """All documents whose key starts with `prefix`, one consistent snapshot, sorted by the key's UTF-8."""

    def close(self) -> None:
        """Let go of files and memory. Records and counters must not be used afterwards."""


def topic_of(key: str) -> str:
    """The topic of a document: its key's first segment. ValueError when the key has none or is too long."""
    topic, slash, rest = key.partition("/")
    if not (topic and slash and rest):
        raise ValueError(f"a document's key is topic/name, not {key!r}")
    if len(key.encode()) > LONGEST_KEY:
        raise ValueError(f"a document's key has at most {LONGEST_KEY} bytes, not {len(key.encode())}: {key[:60]!r}…")
    return topic
