"""Requests of a schedule, and what backends do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.errors import ConnectRefused, Refusal, UpstreamReset, UpstreamTimeout
from gateway.exchange import Answer, Exchange
from tests.simulation.model import Attempt
from tests.simulation.tasks import Task
from tests.unit.upstream.support import World, answer

Outcome = Answer | BaseException


class Body:
    """A streamed body: each step says what comes next. over: called when it has ended or was closed."""

    def __init__(self) -> None:
        self.next: bytes | BaseException = b"x"
        self.over: Callable[[], None] = lambda: None
        self.is_over = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if isinstance(self.next, bytes):
            return self.next
        self.close()
        raise self.next

    def close(self) -> None:
        self.is_over = True
        self.over()


class Request:
    """One request and the task that it runs in. attempt: the one under way; body: the one that is streamed."""

    def __init__(self, worker: World, exchange: Exchange) -> None:
        self.worker = worker
        self.exchange = exchange
        self.task: Task
        self.attempt: Attempt | None = None
        self.body: Body | None = None

    @property
    def is_waiting(self) -> bool:
        return self.body is None and self.attempt is not None


def made(kind: str) -> Outcome:
    """The outcome of an attempt: a status, with + when its body is streamed, or an error."""
    if kind in FAILURES:
        return FAILURES[kind]()
    return answer(int(kind.rstrip("+")), Body() if kind.endswith("+") else None)


FAILURES: dict[str, Callable[[], Refusal]] = {
    "refused": ConnectRefused,
    "reset": UpstreamReset,
    "slow": UpstreamTimeout,
}
OUTCOMES: dict[str, tuple[str, ...]] = {
    "good": ("200", "200", "200", "200+", "200+", "404"),
    "bad": ("refused", "reset", "slow", "500", "503", "503+"),
    "mixed": ("200", "200+", "404", "refused", "reset", "503"),
    "silent": (),
}
MOODS = tuple(OUTCOMES)
