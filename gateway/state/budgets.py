"""The retry budget of each service, one for all workers of the node; the arithmetic is `operations/budget.py`.

A request adds to a cell of this worker's row. Only a retry, and a look every quarter of a second that keeps the record
up to date, take the record. That look also asks anew where the service is counted: its columns are given back when it
is gone, and another one may have them later.
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
        self._absent: frozenset[str] = frozenset()  # services that were not there at the last sweep

    def of(self, service: str, share: float, floor: float) -> RetryBudget:
        """The budget of a service: share of its requests, at least `floor` a second."""
        return RetryBudget(self, service, share, floor)

    def columns(self, service: str) -> tuple[int, int, int]:
        """Where a service's requests, retries made and retries denied are counted. Raises StoreFull."""
        retries = self._retries.column
        return self._requests.column(service), retries(f"made/{service}"), retries(f"denied/{service}")

    def sweep(self, services: Collection[str]) -> None:
        """Forget the services that were not among `services` this time and the time before."""
        absent = self._requests.columns().keys() - services
        for service in absent & self._absent:
            self._requests.release(service)
            for kind in ("made", "denied"):
                self._retries.release(f"{kind}/{service}")
            self._engine.record(SPEND, _record(service)).drop()
        self._absent = frozenset(absent)

    def told(self) -> dict[str, tuple[int, int]]:
        """Retries made and denied so far, by service."""
        columns, total = self._retries.columns(), self._retries.total
        return {
            name: (total(columns[f"made/{name}"]), total(columns[f"denied/{name}"]))
            for name in self._requests.columns()
            if f"made/{name}" in columns and f"denied/{name}" in columns
        }


class RetryBudget:
    """One service's. Safe in every thread: the fields that change are replaced whole.

    Where there is no room to count its requests or for its record, there are no retries.
    """

    __slots__ = ("_columns", "_counts", "_due", "_floor", "_owner", "_record", "_requests", "_service", "_share")

    def __init__(self, owner: RetryBudgets, service: str, share: float, floor: float) -> None:
        self._owner = owner
        self._service = service
        self._share = share
        self._floor = floor
        self._requests = owner._requests.row
        self._counts = owner._retries.row
        self._record = owner._engine.record(SPEND, _record(service))
        self._columns: tuple[int, int, int] | None = None
        self._due = 0.0

    def note(self, now: float) -> None:
        """One request of a client has come. now: monotonic seconds."""
        if now >= self._due:
            self._due = now + LOOK_EVERY
            self._look()
        columns = self._columns
        if columns is not None:
            self._requests[columns[0]] += 1

    def spend(self) -> bool:
        """Whether one more retry may be made; it is paid for then."""
        columns = self._columns
        if columns is None:
            return False
        requests, made, denied = columns
        try:
            total = self._owner._requests.total(requests)
            granted = self._record.apply(SPEND, total, self._share, self._floor)
        except StoreFull:
            granted = False
        self._counts[made if granted else denied] += 1
        return granted

    def _look(self) -> None:
        try:
            self._columns = columns = self._owner.columns(self._service)
            self._record.apply(OBSERVE, self._owner._requests.total(columns[0]), self._share, self._floor)
        except StoreFull:
            self._columns = None


def _record(service: str) -> str:
    return f"retries/{service}"
