"""Metrics in single-writer counter cells, summed over all workers when they are asked for.

A request adds to three cells of this worker's row: its label set's count, its histogram bucket, the histogram's sum.
prometheus_client writes the text (`expose`), but counts nothing: its own counters cost five times as much a request and
know one process only.

Keys of columns are label values joined by the unit separator, behind the family: so any worker can name what another
one counted.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


class RequestMetrics:
    """Counts requests. counters: of the state engine, kept over a worker's death. now: monotonic seconds.

    max_label_values: how many routes and how many services have a label value of their own; the rest is "other". They
    come from outside (a service's name out of a path), so without a cap a client could fill the store. The cap is one
    for all workers, each of which looks once a second what the others count. All metrics together take at most half of
    the engine's columns: the rest is for what serving needs.
    """

    def __init__(self, counters: Counters, max_label_values: int, now: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._row = counters.row
        self._most_values = max_label_values
        self._most_columns = len(counters.row) // 2
        self._now = now
        self._lock = threading.Lock()  # guards all below, and that a label set is resolved once
        self._look_at = -math.inf
        self._known: set[str] = set()  # keys of all workers' columns, as last seen
        self._values: dict[str, set[str]] = {"route": set(), "service": set()}  # label values in these keys
        # Read without the lock: an entry never changes. Bounded: label sets beyond the caps are many, so when it is
        # full it is forgotten and built up again.
        self._cells: dict[tuple[str, str, str, int, str], Cells] = {}
        self._capacity = 4 * max_label_values + 1000
        # Taken now, while there surely are columns: for what comes when there are none left.
        self._overflow = {
            plane: self._take(_request_key(plane, OTHER, OTHER, OTHER, ""), _duration_keys(plane, OTHER))
            for plane in ("external", "internal")
        }

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
            self._look()
            route, service = self._admit("route", route), self._admit("service", service)
            request, durations = _request_key(plane, route, service, str(status), reason), _duration_keys(plane, route)
            missing = {request, *durations} - self._known
            cells = self._overflow[plane]
            if not missing or len(self._known) + len(missing) <= self._most_columns:
                with contextlib.suppress(StoreFull):  # others took what was left
                    cells = self._take(request, durations)
            if len(self._cells) >= self._capacity:
                self._cells.clear()
            self._cells[key] = cells
            return cells

    def _look(self) -> None:
        """See what all workers count, at most once a second: it is a walk over all columns."""
        now = self._now()
        if now >= self._look_at:
            self._look_at = now + 1.0
            for key in self._counters.columns().keys() - self._known:
                self._note(key)

    def _note(self, key: str) -> None:
        self._known.add(key)
        family, *labels = key.split(_SEPARATOR)
        if family == "r":
            self._values["route"].add(labels[1])
            self._values["service"].add(labels[2])

    def _admit(self, label: str, value: str) -> str:
        values = self._values[label]
        return value if value in values or len(values) < self._most_values else OTHER

    def _take(self, request: str, durations: Sequence[str]) -> Cells:
        """The columns of a label set. StoreFull when there are none left."""
        *buckets, total = map(self._counters.column, durations)
        cells = Cells(self._counters.column(request), tuple(buckets), total)
        for key in (request, *durations):
            self._note(key)
        return cells

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


def _request_key(plane: str, route: str, service: str, status: str, reason: str) -> str:
    return _SEPARATOR.join(("r", plane, route, service, status, reason))


def _duration_keys(plane: str, route: str) -> list[str]:
    """Of the buckets, then of the sum."""
    return [_SEPARATOR.join(("d", plane, route, part)) for part in (*map(str, range(len(BUCKETS) + 1)), "sum")]


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
