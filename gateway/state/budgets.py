"""The retry budget of each service, one for all workers of the node; the arithmetic is `operations/budget.py`.

A request adds to a cell of this worker's row. Only a retry, and a look every quarter of a second that keeps the record
up to date, take the record.
"""

from __future__ import annotations

from collections.abc import Collection

from gateway.errors import StoreFull

from .engines import Engine
from .operations.budget import OBSERVE, SPEND

LOOK_EVERY = 0.25  # seconds; half of what the budget remembers


class RetryBudgets:
    """All budgets of the node."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._requests = engine.counters("service_requests", held=False)
        self._retries = engine.counters("retries", held=False)

    def of(self, service: str, share: float, floor: float) -> RetryBudget | None:
        """The budget of a service: share of its requests, at least `floor` a second. None: no room to count them, so
        there are no retries."""
        try:
            requests, made, denied = (
                self._requests.column(service),
                self._retries.column(f"made/{service}"),
                self._retries.column(f"denied/{service}"),
            )
        except StoreFull:
            return None
        return RetryBudget(self, service, (requests, made, denied), share, floor)

    def retain(self, services: Collection[str]) -> None:
        """Give back the columns of all services but these."""
        for service in self._requests.columns().keys() - services:
            self._requests.release(service)
            for kind in ("made", "denied"):
                self._retries.release(f"{kind}/{service}")

    def told(self) -> dict[str, tuple[int, int]]:
        """Retries made and denied so far, by service."""
        columns, total = self._retries.columns(), self._retries.total
        return {
            name: (total(columns[f"made/{name}"]), total(columns[f"denied/{name}"]))
            for name in self._requests.columns()
            if f"made/{name}" in columns and f"denied/{name}" in columns
        }


class RetryBudget:
    """One service's. Safe in every thread."""

    __slots__ = ("_column", "_counts", "_denied", "_due", "_floor", "_made", "_record", "_requests", "_share", "_total")

    def __init__(
        self, owner: RetryBudgets, service: str, columns: tuple[int, int, int], share: float, floor: float
    ) -> None:
        self._column, self._made, self._denied = columns
        self._requests = owner._requests.row
        self._counts = owner._retries.row
        self._total = owner._requests.total
        self._record = owner._engine.record(SPEND, f"retries/{service}")
        self._share = share
        self._floor = floor
        self._due = 0.0

    def note(self, now: float) -> None:
        """One request of a client has come. now: monotonic seconds."""
        self._requests[self._column] += 1
        if now >= self._due:
            self._due = now + LOOK_EVERY
            try:
                self._record.apply(OBSERVE, self._total(self._column), self._share, self._floor)
            except StoreFull:  # without a record there is no credit, and no retry
                return

    def spend(self) -> bool:
        """Whether one more retry may be made; it is paid for then."""
        try:
            granted = self._record.apply(SPEND, self._total(self._column), self._share, self._floor)
        except StoreFull:
            granted = False
        self._counts[self._made if granted else self._denied] += 1
        return granted
