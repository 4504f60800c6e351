"""Counted in cells, told as Prometheus text, bounded whatever clients send."""

from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.clock import FakeClock
from gateway.exchange import Exchange
from gateway.state.engines.memory import MemoryEngine
from gateway.telemetry.metrics import Gauge, Metrics, RequestMetrics


def exchange(route="echo", service="echo", plane="external"):
    made = Exchange({"REQUEST_METHOD": "GET"}, plane)
    made.route = None if route is None else SimpleNamespace(id=route)
    made.service_name = service
    return made


def counters(columns=4096):
    return MemoryEngine(1 << 20, FakeClock(), columns).counters("requests", held=False)


def samples(metrics, *gauges):
    """{(name, label values in order of their names)}: value, without what is zero."""
    text = Metrics(metrics, gauges).expose().decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.value
    }


def requests(metrics):
    """{(route, service, status, reason): count}"""
    return {
        (labels[2], labels[3], labels[4], labels[1]): value
        for (name, labels), value in samples(metrics).items()
        if name == "gateway_requests_total"
    }


def test_requests_are_counted_by_their_labels():
    metrics = RequestMetrics(counters(), 100)
    for _ in range(3):
        metrics.observe(exchange(), 200, None, 0.01)
    metrics.observe(exchange(), 503, "circuit_open", 0.01)
    metrics.observe(exchange(route=None, service=None), 404, "no_route", 0.01)
    assert requests(metrics) == {
        ("echo", "echo", "200", ""): 3,
        ("echo", "echo", "503", "circuit_open"): 1,
        ("", "", "404", "no_route"): 1,
    }


def test_durations_fall_into_cumulative_buckets():
    metrics = RequestMetrics(counters(), 100)
    for seconds in (0.001, 0.005, 0.03, 60.0):
        metrics.observe(exchange(), 200, None, seconds)
    found = {
        labels[0]: value
        for (name, labels), value in samples(metrics).items()
        if name == "gateway_request_duration_seconds_bucket"
    }
    assert (found["0.005"], found["0.025"], found["0.1"], found["10.0"], found["+Inf"]) == (2, 2, 3, 3, 4)
    told = samples(metrics)
    assert told["gateway_request_duration_seconds_count", ("external", "echo")] == 4
    assert told["gateway_request_duration_seconds_sum", ("external", "echo")] == pytest.approx(60.036)


def test_what_another_worker_counted_is_told_too():
    shared = counters()
    RequestMetrics(shared, 100).observe(exchange(route="theirs"), 200, None, 0.01)
    assert requests(RequestMetrics(shared, 100)) == {("theirs", "echo", "200", ""): 1}


def test_label_values_beyond_the_cap_are_counted_as_other():
    metrics = RequestMetrics(counters(), 3)
    for number in range(50):
        metrics.observe(exchange(service=f"service-{number}"), 200, None, 0.01)
    services = {key[1]: value for key, value in requests(metrics).items()}
    assert services["other"] == 48
    assert len(services) == 3
    assert sum(services.values()) == 50


def test_the_cap_counts_the_values_of_all_workers():
    shared = counters()
    seconds = iter(range(1000))
    first, second = (RequestMetrics(shared, 5, lambda: float(next(seconds))) for _ in range(2))
    for number in range(10):
        first.observe(exchange(service=f"first-{number}"), 200, None, 0.01)
        second.observe(exchange(service=f"second-{number}"), 200, None, 0.01)
    assert len({key[1] for key in requests(first)}) == 5


def test_what_others_count_is_looked_up_at_most_once_a_second():
    looks = 0

    class Counting:
        def __init__(self, of):
            self.row, self.column, self.total, self._of = of.row, of.column, of.total, of

        def columns(self):
            nonlocal looks
            looks += 1
            return self._of.columns()

    now = 0.0
    metrics = RequestMetrics(Counting(counters()), 1000, lambda: now)
    for number in range(50):
        metrics.observe(exchange(service=f"service-{number}"), 200, None, 0.01)
    assert looks == 1
    now = 1.0
    metrics.observe(exchange(service="late"), 200, None, 0.01)
    assert looks == 2


def test_metrics_leave_half_of_the_columns_to_others():
    shared = counters(columns=400)
    metrics = RequestMetrics(shared, 1000)
    for number in range(100):
        metrics.observe(exchange(route=f"route-{number}"), 200, None, 0.01)
    assert len(shared.columns()) <= 200
    assert sum(requests(metrics).values()) == 100


def test_label_sets_that_are_counted_already_need_no_room():
    shared = counters(columns=120)
    first = RequestMetrics(shared, 1000)
    for number in range(20):
        first.observe(exchange(route=f"route-{number}"), 200, None, 0.01)
    second = RequestMetrics(shared, 1000)
    second.observe(exchange(route="route-0"), 200, None, 0.01)
    assert requests(second)["route-0", "echo", "200", ""] == 2


def test_a_service_that_does_not_exist_takes_no_label_value():
    metrics = RequestMetrics(counters(), 100)
    metrics.observe(exchange(service="made-up"), 404, "unknown_service", 0.01)
    assert requests(metrics) == {("echo", "", "404", "unknown_service"): 1}


def test_when_no_columns_are_left_requests_are_still_counted():
    shared = counters(columns=400)
    metrics = RequestMetrics(shared, 1000)
    for number in range(370):
        shared.column(f"somebody else's {number}")
    for number in range(20):
        metrics.observe(exchange(route=f"route-{number}"), 200, None, 0.01)
    assert sum(requests(metrics).values()) == 20


def test_the_cache_of_label_sets_is_bounded():
    metrics = RequestMetrics(counters(), 2)
    for number in range(5000):
        metrics.observe(exchange(service=f"service-{number}"), 200, None, 0.01)
    assert len(metrics._cells) <= metrics._capacity
    assert sum(requests(metrics).values()) == 5000


def test_gauges_are_read_when_they_are_asked_for():
    value = 1.0
    gauge = Gauge("gateway_in_flight", "Requests under way.", ("service", "instance"), lambda: [(("s", "i"), value)])
    failures = Gauge("gateway_config_reload_failures", "Refused reloads.", (), lambda: [((), 2.0)], counter=True)
    metrics = RequestMetrics(counters(), 100)
    assert samples(metrics, gauge)["gateway_in_flight", ("i", "s")] == 1
    value = 5.0
    told = samples(metrics, gauge, failures)
    assert told["gateway_in_flight", ("i", "s")] == 5
    assert told["gateway_config_reload_failures_total", ()] == 2
