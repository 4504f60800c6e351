"""Metrics: what all workers did, whichever of them is asked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.process import eventually
from tests.support.servers import Gateway, Promise, Server, at_once


@pytest.fixture(scope="module")
def gate() -> threading.Event:
    """What requests for /held wait for."""
    return threading.Event()


@pytest.fixture(scope="module")
def backend(server: Server, gate: threading.Event) -> Iterator[FakeBackend]:
    with FakeBackend(behaviours.by_path({"/held": behaviours.held(gate)})) as fake:
        yield fake


def config(backend: FakeBackend) -> dict[str, Any]:
    return {
        "services": {"s": {"instances": [{"id": "one", "url": backend.url}]}, "bad": {}},
        "routes": [
            {"id": "all", "path": "/*", "service": "s"},
            {"id": "bad", "path": "/*", "hosts": ["bad.example"], "service": "bad"},
        ],
    }


@pytest.fixture(scope="module")
def gateway(server: Server, backend: FakeBackend) -> Iterator[Gateway]:
    with server.serve(config(backend)) as started:
        yield started


def instance(gateway: Gateway) -> dict[str, Any]:
    (found,) = gateway.call("GET", "/api/v1/services/s").json()["instances"]
    return dict(found)


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def metrics(gateway: Gateway) -> Samples:
    answer = gateway.call("GET", "/metrics")
    assert answer.status == 200
    assert (answer.header("Content-Type") or "").startswith("text/plain")
    families = text_string_to_metric_families(answer.body.decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def requests(samples: Samples, **labels: str) -> float:
    return sum(
        value
        for (name, found), value in samples.items()
        if name == "gateway_requests_total" and labels.items() <= dict(found).items()
    )


def test_requests_are_counted_over_all_workers(gateway: Gateway):
    before = metrics(gateway)
    at_once(60, lambda _: gateway.get("/x"))
    at_once(20, lambda _: gateway.get("/x/../y"))
    seen = at_once(12, lambda _: metrics(gateway))  # whichever worker is asked
    labels = {"listener": "external", "route": "all", "service": "s", "status": "200", "reason": ""}
    for one in seen:
        assert requests(one, **labels) - requests(before, **labels) == 60
        assert requests(one, reason="bad_path", status="400") - requests(before, reason="bad_path", status="400") == 20
        count = "gateway_request_duration_seconds_count", (("listener", "external"), ("route", "all"))
        assert one[count] - before.get(count, 0) == 60


@pytest.mark.needs(Promise.PROCESSES)
def test_counts_outlive_workers_and_reloads(gateway: Gateway):
    before = requests(metrics(gateway), listener="external")
    at_once(30, lambda _: gateway.get("/x"))
    gateway.kill_workers()
    gateway.reload()
    gateway.get("/x")
    assert requests(metrics(gateway), listener="external") - before == 31


def test_requests_in_flight_are_told_by_instance(gateway: Gateway, backend: FakeBackend, gate: threading.Event):
    gate.clear()
    label = (("instance", "one"), ("service", "s"))
    asked, before = len(backend.requests), instance(gateway)["requests"]
    with ThreadPoolExecutor(6) as pool:
        held = [pool.submit(gateway.get, "/held", timeout=30) for _ in range(6)]
        backend.wait_until(lambda: len(backend.requests) == asked + 6)
        in_flight = metrics(gateway)["gateway_in_flight", label], instance(gateway)["in_flight"]
        gate.set()
        assert [one.result().status for one in held] == [200] * 6
    assert in_flight == (6, 6)
    eventually(lambda: metrics(gateway)["gateway_in_flight", label] == 0, what="the end of them")
    assert instance(gateway)["requests"] == before + 6


@pytest.mark.needs(Promise.PROCESSES)
def test_what_a_dead_worker_had_in_flight_is_in_flight_no_more(
    gateway: Gateway, backend: FakeBackend, gate: threading.Event
):
    gate.clear()
    asked = len(backend.requests)
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(gateway.connect()).send("GET /held HTTP/1.1\r\nHost: h\r\n\r\n")
        backend.wait_until(lambda: len(backend.requests) == asked + 6)
        assert instance(gateway)["in_flight"] == 6
        gateway.kill_workers()
        eventually(lambda: instance(gateway)["in_flight"] == 0, 3, what="their end")
    gate.set()


def test_the_state_of_breakers_is_told(gateway: Gateway):
    label = (("instance", "one"), ("service", "s"))
    assert metrics(gateway)["gateway_breaker_state", label] == 0
    with FakeBackend(behaviours.answer(500)) as backend:
        gateway.register("bad", "two", backend.url)
        for _ in range(5):
            assert gateway.get("/x", headers={"Host": "bad.example"}).status == 500
        assert metrics(gateway)["gateway_breaker_state", (("instance", "two"), ("service", "bad"))] == 2


@pytest.mark.needs(Promise.PROCESSES)
def test_reloads_are_told(gateway: Gateway, backend: FakeBackend):
    before = metrics(gateway)
    assert gateway.reload() == before["gateway_config_generation", ()] + 1
    gateway.write({"services": {}, "routes": [{"id": "bad"}]})
    gateway.hup()
    eventually(lambda: gateway.readyz["last_reload"]["ok"] is False, what="the refusal")
    after = metrics(gateway)
    assert after["gateway_config_generation", ()] == before["gateway_config_generation", ()] + 1
    assert after["gateway_config_last_reload_successful", ()] == 0
    failures = "gateway_config_reload_failures_total", ()
    assert after[failures] == before[failures] + 1
    gateway.reload(config(backend))
    assert metrics(gateway)["gateway_config_last_reload_successful", ()] == 1


@pytest.mark.parametrize("listeners", [["external"], []])
def test_metrics_have_a_path_and_listeners_of_their_own(server: Server, listeners: list[str]):
    settings = {"path": "/internal/metrics", "listeners": listeners}
    with server.serve({"metrics": settings, "services": {}, "routes": []}, workers=1) as gateway:
        assert gateway.get("/metrics", internal=True).status == 404
        assert gateway.get("/internal/metrics", internal=True).status == 404
        assert gateway.get("/internal/metrics").status == (200 if listeners else 404)
