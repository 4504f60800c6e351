"""Metrics in single-writer counter cells, summed over all workers when they are asked for.

A request adds to three cells of this worker's row: its label set's count, its histogram bucket, the histogram's sum.
prometheus_client writes the text (`expose`), but counts nothing: its own counters cost five times as much a request and
know one process only.

Keys of columns are label values joined by the unit separator, behind the family: so any worker can name what another
one counted.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from gateway.errors import StoreFull, UnknownService
from gateway.exchange import Exchange

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # upper bounds in seconds; one more cell holds what is over
OTHER = "other"

_SEPARATOR = "\x1f"
_REQUESTS = ("listener", "route", "service", "status", "reason")
_DURATION = ("listener", "route")


class Counters(Protocol):
    """What is needed of the state engine's counters: one row of cells a worker, one column a key."""

    row: memoryview

    def column(self, key: str) -> int: ...

    def columns(self) -> Mapping[str, int]: ...

    def total(self, column: int) -> int: ...


class Cells(NamedTuple):
    """Where one label set counts: its requests, and the histogram of its listener and route."""

    requests: int
    buckets: tuple[int, ...]
    microseconds: int


class Caps:
    """At most `limit` values a label over all workers; the rest is counted as "other".

    Label values come from outside (a service's name out of a path), so without a cap a client could fill the store.
    """

    def __init__(self, limit: int, known: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._limit = limit
        self._known = known  # (label, value) pairs that any worker counts already
        self._values: dict[str, set[str]] = {}

    def admit(self, label: str, value: str) -> str:
        values = self._values.setdefault(label, set())
        if value in values:
            return value
        if len(values) < self._limit:
            for other, seen in self._known():
                self._values.setdefault(other, set()).add(seen)
        if value not in values:
            if len(values) >= self._limit:
                return OTHER
            values.add(value)
        return value


class RequestMetrics:
    """Counts requests. `counters`: of the state engine, kept over a worker's death. max_label_values: see Caps."""

    def __init__(self, counters: Counters, max_label_values: int) -> None:
        self._counters = counters
        self._row = counters.row
        self._lock = threading.Lock()  # guards _caps, and that a label set is resolved once
        self._caps = Caps(max_label_values, self._known)
        # Read without the lock: an entry never changes. Bounded: label sets beyond the caps are many, so when it is
        # full it is forgotten and built up again.
        self._cells: dict[tuple[str, str, str, int, str], Cells] = {}
        self._capacity = 4 * max_label_values + 1000
        # Taken now, while there surely are columns: for what comes when there are none left.
        self._overflow = {plane: self._columns(plane, OTHER, OTHER, OTHER, "") for plane in ("external", "internal")}

    def observe(self, exchange: Exchange, status: int, reason: str | None, seconds: float) -> None:
        """One request is over, `seconds` after its head was whole."""
        route = exchange.route
        key = (exchange.plane, route.id if route is not None else "", exchange.service_name or "", status, reason or "")
        cells = self._cells.get(key)
        if cells is None:
            cells = self._resolve(key)
        row = self._row
        row[cells.requests] += 1
        row[cells.buckets[bisect_left(BUCKETS, seconds)]] += 1
        row[cells.microseconds] += int(seconds * 1e6)

    def _resolve(self, key: tuple[str, str, str, int, str]) -> Cells:
        plane, route, service, status, reason = key
        if reason == UnknownService.reason:
            service = ""  # a name out of a client's path: as a label value it would take a service's place
        with self._lock:
            route = self._caps.admit("route", route)
            service = self._caps.admit("service", service)
            try:
                cells = self._columns(plane, route, service, str(status), reason)
            except StoreFull:
                cells = self._overflow[plane]
            if len(self._cells) >= self._capacity:
                self._cells.clear()
            self._cells[key] = cells
            return cells

    def _columns(self, plane: str, route: str, service: str, status: str, reason: str) -> Cells:
        """The columns of a label set. StoreFull when there are none left."""
        column = self._counters.column
        duration = _SEPARATOR.join(("d", plane, route))
        return Cells(
            column(_SEPARATOR.join(("r", plane, route, service, status, reason))),
            tuple(column(f"{duration}{_SEPARATOR}{index}") for index in range(len(BUCKETS) + 1)),
            column(f"{duration}{_SEPARATOR}sum"),
        )

    def _known(self) -> Iterator[tuple[str, str]]:
        for key in self._counters.columns():
            family, *labels = key.split(_SEPARATOR)
            if family == "r":
                yield "route", labels[1]
                yield "service", labels[2]

    def families(self) -> Iterator[Any]:
        """What prometheus_client writes: both families, summed over all workers."""
        requests = CounterMetricFamily("gateway_requests", "Requests answered.", labels=_REQUESTS)
        duration = HistogramMetricFamily(
            "gateway_request_duration_seconds", "From the request's head to the end of its answer.", labels=_DURATION
        )
        histograms: dict[tuple[str, str], dict[str, int]] = {}
        for key, column in self._counters.columns().items():
            total = self._counters.total(column)
            if not total:
                continue  # taken ahead of its need
            family, *labels = key.split(_SEPARATOR)
            if family == "r":
                requests.add_metric(labels, total)
            elif family == "d":
                histograms.setdefault((labels[0], labels[1]), {})[labels[2]] = total
        for (plane, route), cells in histograms.items():
            duration.add_metric([plane, route], _cumulative(cells), cells.get("sum", 0) / 1e6)
        yield requests
        yield duration


def _cumulative(cells: Mapping[str, int]) -> list[tuple[str, float]]:
    """Buckets as the format wants them: each holds all that is at most its bound, the last one everything."""
    count = 0
    buckets: list[tuple[str, float]] = []
    for index, bound in enumerate((*map(str, BUCKETS), "+Inf")):
        count += cells.get(str(index), 0)
        buckets.append((bound, count))
    return buckets


class Gauge(NamedTuple):
    """A value that is read when asked for. labels: their names. read: label values and value of each sample."""

    name: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[], Iterable[tuple[tuple[str, ...], float]]]
    counter: bool = False  # it only ever grows; the name is given without _total

    def family(self) -> Any:
        kind = CounterMetricFamily if self.counter else GaugeMetricFamily
        family = kind(self.name, self.help, labels=self.labels)
        for values, value in self.read():
            family.add_metric(values, value)
        return family


class Metrics(Collector):
    """All that /metrics shows: the request families and the given gauges."""

    def __init__(self, requests: RequestMetrics, gauges: Iterable[Gauge]) -> None:
        self._requests = requests
        self._gauges = tuple(gauges)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def describe(self) -> Iterable[Any]:
        """Nothing ahead of time: registering must not read the store."""
        return ()

    def collect(self) -> Iterator[Any]:
        yield from self._requests.families()
        for gauge in self._gauges:
            yield gauge.family()

    def expose(self) -> bytes:
        """The text, in the format that CONTENT_TYPE names."""
        return generate_latest(self._registry)
