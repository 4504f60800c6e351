"""Operations on shared records: each is a pure function, so every engine comes to the same result.

An operation decides from a record's state, the time and its arguments what the next state is and what the caller gets
to know. It has no side effects: an engine may call `decide` several times for one `apply` (a lost race is decided
anew) and keeps the state of the last call only. One file a kind; the kind is the part of the name before the dot, and
all operations of a kind share one record, so they share `layout` and `initial`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any, Generic, NamedTuple, TypeVar

State = tuple[Any, ...]
Result = TypeVar("Result")

LARGEST_RECORD = 480  # bytes; what one slot of shared memory holds


class Decision(NamedTuple, Generic[Result]):
    """state: the record's next state, None to leave it untouched. notify: bump the version of the operation's topic."""

    state: State | None
    result: Result
    notify: bool = False


@dataclass(frozen=True, slots=True)
class Operation(Generic[Result]):
    """One named operation.

    name: "kind.verb", such as "bucket.take"; a cluster-wide twin carries the same name.
    layout: the record, a fixed number of numbers, at most `LARGEST_RECORD` bytes.
    initial: the state of a record that does not exist (never written, expired or dropped).
    decide: `decide(state, now, *args) -> Decision`, pure; `now` in monotonic seconds.
    lifetime: `lifetime(state)`, seconds after the write of `state` for which the record must be kept when nothing
        writes it again (`inf`: until dropped). Afterwards it reads as `initial`.
    topic: the version that a Decision with `notify` bumps.
    """

    name: str
    layout: Struct
    initial: State
    decide: Callable[..., Decision[Result]]
    lifetime: Callable[[State], float]
    topic: str | None = None

    def __post_init__(self) -> None:
        if self.layout.size > LARGEST_RECORD:
            raise ValueError(f"{self.name}: a record of {self.layout.size} bytes; at most {LARGEST_RECORD} fit")
        self.layout.pack(*self.initial)

    @property
    def kind(self) -> str:
        """What its record is, shared by all operations on it: "bucket" of "bucket.take"."""
        return self.name.partition(".")[0]


class Allowance(NamedTuple):
    """What a limiter answers.

    allowed: whether the request may pass. remaining: how much more would be let through now.
    retry_after: seconds until the same cost would be let through (0 when allowed; inf: never, the cost exceeds the
    limit). reset_after: seconds until the whole limit is there again, if nothing else comes.
    """

    allowed: bool
    remaining: float
    retry_after: float
    reset_after: float
