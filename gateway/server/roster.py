"""Who works where: generations of workers, the slot and the seat of each, and what is due next.

A generation is one accepted load. At any time one is `current`: its workers are kept at their number. A reload proposes
a `candidate`; its workers start beside the current ones, and only when all of them are ready it becomes current and the
workers before it are told to drain. A candidate that cannot start is withdrawn, and nothing has happened to those that
serve. Decisions only: no process is forked, signalled or reaped here, and `now` (monotonic seconds) is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.config.model import Config
from gateway.server.tls import Contexts
from gateway.state.control import SLOTS, Cell, ControlPage

BOOT_LIMIT: Final = 60.0  # a worker that is not ready after so long is killed
KILL_GRACE: Final = 5.0  # a worker ends its drain by itself; so long after its end it is killed
HANDOVER: Final = 0.5  # seconds that the workers before have to stop accepting, until the new ones are told as in force
STEADY: Final = 5.0  # seconds; a worker that dies younger is replaced ever more slowly
BACKOFF_FIRST: Final = 0.1
BACKOFF_LAST: Final = 5.0


class NoSlot(Exception):
    """Every slot is taken, by workers that drain or serve."""


@dataclass(slots=True, eq=False)
class Generation:
    """One accepted load. cfg: gunicorn's settings for its workers. size: how many there are to be. contexts: TLS.

    A candidate that is withdrawn leaves its number to the next.
    """

    number: int
    config: Config
    cfg: Any
    size: int
    accepted_at: float  # Unix seconds
    contexts: Contexts = field(default_factory=Contexts)
    failures: int = 0  # workers that died young, in a row
    not_before: float = 0.0  # no fork before, after a failure

    def failed(self, now: float) -> float:
        """A worker died young: replace it at once, the next ones ever later. Returns the seconds to wait."""
        pause = min(BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(self.failures - 1, 16)) if self.failures else 0.0
        self.failures += 1
        self.not_before = now + pause
        return pause


@dataclass(slots=True, eq=False)
class Post:
    """One worker's place. slot: over all generations. seat: 0, 1, 2… within its own, which spreads it over CPUs."""

    slot: int
    seat: int
    generation: Generation
    cell: Cell
    since: float
    pid: int = 0
    leave_by: float | None = None  # monotonic seconds; None: it is to serve

    @property
    def stays(self) -> bool:
        return self.leave_by is None

    @property
    def ready(self) -> bool:
        return self.cell.ready


class Roster:
    """Every post there is. The master's main loop alone uses it."""

    def __init__(self, page: ControlPage, first: Generation, now: float) -> None:
        self.page = page
        self.current = first
        self.candidate: Generation | None = None
        self.unsettled_since = now  # when the last generation was proposed
        self._posts: dict[int, Post] = {}  # by slot
        self._before: list[Post] = []  # whose connections the current generation is taking over
        self._handover_until = now
        page.accept(first.number)

    def __iter__(self) -> Iterator[Post]:
        return iter(list(self._posts.values()))

    def __contains__(self, post: Post) -> bool:
        return self._posts.get(post.slot) is post

    def staying(self, generation: Generation) -> list[Post]:
        """The workers of a generation that are to serve, by seat."""
        found = [post for post in self._posts.values() if post.generation is generation and post.stays]
        return sorted(found, key=lambda post: post.seat)

    @property
    def unsettled(self) -> bool:
        """Something is about to become ready, or to be in force."""
        return self.candidate is not None or self.page.generation != self.current.number

    def waits(self) -> bool:
        """Something is about to be due that no signal tells: look again soon."""
        return self.unsettled or len(self.staying(self.current)) < self.current.size

    # --- workers come and go ---
    def missing(self, now: float) -> Generation | None:
        """The generation that needs one more worker at once, the current one first."""
        for generation in (self.current, self.candidate):
            if generation and now >= generation.not_before and len(self.staying(generation)) < generation.size:
                return generation
        return None

    def appoint(self, generation: Generation, age: int, now: float) -> Post:
        """Give a worker that is about to be forked the lowest free slot and seat. `age` is gunicorn's number for it."""
        slot = next((slot for slot in range(SLOTS) if slot not in self._posts), None)
        if slot is None:
            raise NoSlot(f"all {SLOTS} worker slots are taken")
        taken = {post.seat for post in self.staying(generation)}
        seat = next(seat for seat in range(SLOTS) if seat not in taken)
        cell = self.page.cell(slot)
        cell.take(age, generation.number)
        post = self._posts[slot] = Post(slot, seat, generation, cell, now)
        return post

    def discharge(self, post: Post, now: float) -> None:
        """The worker is gone (reaped, or never forked): its slot is free."""
        if post.ready and now >= post.since + STEADY:
            post.generation.failures = 0
        self._posts.pop(post.slot, None)
        post.cell.free()

    def surplus(self) -> list[Post]:
        """Workers of the current generation above its size, highest seats first to go."""
        return self.staying(self.current)[self.current.size :]

    def overdue(self, now: float) -> list[Post]:
        """Workers to kill: they did not leave in time, or did not become ready in time."""
        return [
            post
            for post in self._posts.values()
            if (post.leave_by is not None and now > post.leave_by + KILL_GRACE)
            or (post.stays and not post.ready and now > post.since + BOOT_LIMIT)
        ]

    # --- generations come and go ---
    @property
    def next_number(self) -> int:
        """Of the load that is proposed next."""
        return self.current.number + 1

    def propose(self, candidate: Generation, now: float) -> list[Post]:
        """A reload was accepted. Returns the workers of a candidate that it overtakes: they are to leave."""
        overtaken = self.withdraw()
        self.candidate, self.unsettled_since = candidate, now
        self.page.accept(candidate.number)
        return overtaken

    def withdraw(self) -> list[Post]:
        """Give the candidate up. Returns its workers: they are to leave.

        That they leave is what tells them from the workers of the next candidate, which gets the same number.
        """
        candidate, self.candidate = self.candidate, None
        self.page.accept(self.current.number)
        return self.staying(candidate) if candidate else []

    def take_over(self, now: float) -> list[Post] | None:
        """Make the candidate current once all of it is ready. Returns the workers before it: they are to leave."""
        candidate = self.candidate
        if candidate is None:
            return None
        started = self.staying(candidate)
        if len(started) < candidate.size or not all(post.ready for post in started):
            return None
        self._before = [post for post in self._posts.values() if post.stays and post.generation is not candidate]
        self._handover_until = now + HANDOVER
        self.current, self.candidate = candidate, None
        return self._before

    def put_in_force(self, now: float) -> bool:
        """Tell the current generation as the one that serves, once it does and no other takes new connections."""
        current = self.current
        if self.page.generation == current.number or not any(post.ready for post in self.staying(current)):
            return False
        if now < self._handover_until and any(not post.cell.closed for post in self._before if post in self):
            return False
        self._before = []
        self.page.serve(current.number, current.accepted_at)
        return True

    def __repr__(self) -> str:
        posts = ", ".join(
            f"{post.slot}: generation {post.generation.number} seat {post.seat} pid {post.pid}"
            f"{'' if post.stays else ' leaving'}"
            for post in self
        )
        candidate = self.candidate.number if self.candidate else None
        return f"Roster(current={self.current.number}, candidate={candidate}, {{{posts}}})"
