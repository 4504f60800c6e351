"""The breaker of an instance is one for all workers: it opens exactly, and lets a few probes decide when to close."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import Behaviour, Call, FakeBackend, refusing_address
from tests.support.process import Reply, eventually
from tests.support.servers import Gateway, Promise, Server, at_once

WORKERS = 4
FAILURES = 5
PROBES = 3
OPEN_FOR = 1.0


@pytest.fixture(scope="module")
def gateway(server: Server) -> Iterator[Gateway]:
    """Services without instances: each test registers its own at a service that no other uses."""
    breakers: list[tuple[str, Any]] = [
        ("fails refused reset slow pair client partly at-once counted hup broken", {}),
        ("probed reopens closes flood orphans", {"open_for": f"{OPEN_FOR}s"}),
        ("moves leaves", {"failures": 1}),
        ("narrow", {"failure_on": ["connect"]}),
        ("none", None),
        ("steered forced spared orders", {}),
        ("windowed", {"failures": 3, "window": "60s"}),
        ("shares", {"failures": 32, "window": "60s", "failure_ratio": "50%", "minimum_calls": 8}),
        ("doubles", {"failures": 1, "open_for": "500ms", "max_open_for": "1s"}),
        ("bounded", {"failures": 1, "max_ejected": "50%"}),
    ]
    config = {
        "services": {
            name: {
                "retries": {"attempts": 1},
                "breaker": settings,
                "timeouts": {"upstream": "200ms" if name == "slow" else "20s"},
            }
            for names, settings in breakers
            for name in names.split()
        },
        "routes": [{"id": "r", "path": "/{name}/*", "service": "{name}"}],
    }
    with server.serve(config, workers=WORKERS) as started:
        yield started


class Scripted:
    """A backend whose answers the test changes as it goes. status: what it answers; gate: when it does."""

    def __init__(self, status: int = 500) -> None:
        self.status = status
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, call: Call) -> None:
        call.request()
        status = self.status
        self.gate.wait(20)
        call.answer(status, (), b"x")


def ask(gateway: Gateway, service: str) -> Reply:
    """On a connection of its own, which any worker may get."""
    return gateway.get(f"/{service}/", timeout=30)


def reason(answer: Reply) -> Any:
    """None of a backend's own answer."""
    return answer.json()["reason"] if answer.header("Content-Type") == "application/problem+json" else None


def state(gateway: Gateway, service: str) -> list[str]:
    return [one["state"] for one in gateway.call("GET", f"/api/v1/services/{service}").json()["instances"]]


def opened(gateway: Gateway, service: str, backend: FakeBackend) -> None:
    """Register the backend, and let it fail until its breaker is open."""
    gateway.register(service, "one", backend.url)
    for _ in range(FAILURES):
        assert ask(gateway, service).status == 500
    assert state(gateway, service) == ["open"]


# --- opening --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "service, behaviour, status, failure",
    [
        ("fails", behaviours.answer(500), 500, None),
        ("reset", behaviours.reset, 502, "upstream_reset"),
        ("slow", behaviours.hang, 504, "upstream_timeout"),
    ],
)
def test_exactly_five_failing_requests_reach_an_instance(
    gateway: Gateway, service: str, behaviour: Behaviour, status: int, failure: str | None
):
    with FakeBackend(behaviour) as backend:
        gateway.register(service, "one", backend.url)
        answers = [ask(gateway, service) for _ in range(12)]
        assert [(one.status, reason(one)) for one in answers[:FAILURES]] == [(status, failure)] * FAILURES
        assert {(one.status, reason(one)) for one in answers[FAILURES:]} == {(503, "circuit_open")}
        # One that ends its connections at once has read nothing.
        assert (backend.connections if service == "reset" else len(backend.requests)) == FAILURES


@pytest.mark.needs(Promise.SOCKET)
def test_answers_that_the_backend_breaks_off_count(gateway: Gateway):
    with FakeBackend(behaviours.truncated(100, b"only ten b")) as backend:
        gateway.register("broken", "one", backend.url)
        for number in range(FAILURES):
            with gateway.connect() as wire:
                answer = wire.get("/broken/")
                assert (answer.status, answer.complete) == (200, False), number
            gateway.access_line(answer.value("X-Request-ID"))  # written at the body's end
        assert reason(ask(gateway, "broken")) == "circuit_open"
        assert len(backend.requests) == FAILURES


def test_exactly_five_refused_connects_open_it(gateway: Gateway):
    with refusing_address() as (host, port):
        gateway.register("refused", "one", f"http://{host}:{port}")
        reasons = [reason(ask(gateway, "refused")) for _ in range(12)]
        assert reasons == ["connect_refused"] * FAILURES + ["circuit_open"] * 7


def test_at_most_five_and_those_in_flight_reach_it_at_once(gateway: Gateway):
    threads = 16
    with FakeBackend(behaviours.after(0.02, behaviours.answer(500))) as backend:
        gateway.register("at-once", "one", backend.url)
        answers = at_once(threads * 10, lambda _: ask(gateway, "at-once"), threads=threads)
        told = Counter(reason(one) for one in answers)
        assert told == {None: len(backend.requests), "circuit_open": len(answers) - len(backend.requests)}
        assert FAILURES <= len(backend.requests) <= FAILURES + threads - 1


def test_a_success_begins_the_count_anew(gateway: Gateway):
    script = Scripted()
    with FakeBackend(script) as backend:
        gateway.register("counted", "one", backend.url)
        for status in ([500] * (FAILURES - 1) + [200]) * 3 + [500] * FAILURES:
            script.status = status
            assert ask(gateway, "counted").status == status
        assert ask(gateway, "counted").status == 503


def test_an_open_instance_is_passed_over(gateway: Gateway):
    with FakeBackend(behaviours.answer(500)) as bad, FakeBackend(behaviours.answer(200)) as good:
        gateway.register("pair", "bad", bad.url)
        gateway.register("pair", "good", good.url)
        statuses = Counter(ask(gateway, "pair").status for _ in range(30))
        assert statuses == {500: FAILURES, 200: 30 - FAILURES}
        assert state(gateway, "pair") == ["open", "up"]


def test_when_every_instance_is_open_the_answer_comes_at_once_and_tells_when_to_come_back(gateway: Gateway):
    with FakeBackend(behaviours.answer(500)) as backend:
        opened(gateway, "partly", backend)
        began = time.monotonic()
        answer = ask(gateway, "partly")
        assert time.monotonic() - began < 2
        problem = answer.json()
        assert (answer.status, problem["reason"], problem["service"]) == (503, "circuit_open", "partly")
        assert answer.header("Retry-After") == str(problem["retry_after"])
        assert 25 <= problem["retry_after"] <= 30
        one = gateway.call("GET", "/api/v1/breakers/partly/one").json()
        assert (one["state"], one["failures"], one["calls"]) == ("open", FAILURES, FAILURES)
        assert one["opened_at"] < one["half_open_at"]
        line = gateway.access_line(answer.header("X-Request-ID"))
        assert (line["status"], line["reason"], line["attempts"], line["instance"]) == (503, "circuit_open", 0, None)


def test_only_what_the_service_counts_as_failure_counts(gateway: Gateway):
    with FakeBackend(behaviours.answer(500)) as backend:
        gateway.register("narrow", "one", backend.url)
        gateway.register("none", "one", backend.url)
        for service in ("narrow", "none"):
            assert {ask(gateway, service).status for _ in range(FAILURES * 3)} == {500}
        assert gateway.call("GET", "/api/v1/breakers/none/one").status == 404


# --- the client's faults --------------------------------------------------------------------------------------------
def test_what_clients_do_wrong_never_counts(gateway: Gateway):
    with FakeBackend(behaviours.by_path({"/client/403": behaviours.answer(403)}, behaviours.echo)) as backend:
        gateway.register("client", "one", backend.url)
        for _ in range(FAILURES * 2):
            assert gateway.get("/client/403").status == 403
            assert gateway.get("/client/%2f").status == 400
            assert gateway.request("POST", "/client/x", headers={"Content-Length": str(10**12)}).status == 413
        assert ask(gateway, "client").status == 200
        assert gateway.call("GET", "/api/v1/breakers/client/one").json()["failures"] == 0


@pytest.mark.needs(Promise.SOCKET)
def test_clients_that_leave_never_count(gateway: Gateway):
    left = FAILURES * 2
    with FakeBackend(behaviours.stream(30_000_000)) as backend:
        gateway.register("client", "one", backend.url)
        for _ in range(left):
            with gateway.connect() as wire:
                wire.send("GET /client/download HTTP/1.1\r\nHost: h\r\n\r\n")
                wire.head()
            with gateway.connect() as wire:
                wire.send("POST /client/upload HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nhalf of it")
        backend.wait_until(lambda: not backend._sockets)
        eventually(lambda: len(left_early(gateway)) == 2 * left, what="the end of all of them")
        assert gateway.call("GET", "/api/v1/breakers/client/one").json()["failures"] == 0


def left_early(gateway: Gateway) -> list[dict[str, Any]]:
    return [one for one in gateway.events if one.get("reason") == "client_gone"]


# --- half open ------------------------------------------------------------------------------------------------------
def probed(gateway: Gateway, service: str) -> None:
    """Wait until a breaker lets probes through."""
    eventually(lambda: state(gateway, service) == ["half_open"], what="the end of open_for", every=0.01)


def test_after_open_for_a_few_probes_go_at_once(gateway: Gateway):
    script = Scripted()
    with FakeBackend(script) as backend:
        opened(gateway, "probed", backend)
        assert ask(gateway, "probed").status == 503
        probed(gateway, "probed")
        script.gate.clear()
        script.status = 200
        with ThreadPoolExecutor(20) as pool:
            answers = [pool.submit(ask, gateway, "probed") for _ in range(20)]
            refused = eventually(
                lambda: (done := [one for one in answers if one.done()]) and len(done) == 20 - PROBES and done
            )
            assert {reason(one.result()) for one in refused} == {"circuit_open"}
            assert {one.result().header("Retry-After") for one in refused} == {"1"}
            assert len(backend.requests) == FAILURES + PROBES
            script.gate.set()
            statuses = Counter(one.result().status for one in answers)
        assert statuses == {503: 20 - PROBES, 200: PROBES}
        # As many successes close it.
        assert state(gateway, "probed") == ["up"]
        assert {ask(gateway, "probed").status for _ in range(10)} == {200}


@pytest.mark.worker_alone
def test_one_failing_probe_opens_it_again(gateway: Gateway):
    script = Scripted()
    with FakeBackend(script) as backend:
        opened(gateway, "reopens", backend)
        for number in (1, 2):
            probed(gateway, "reopens")
            assert ask(gateway, "reopens").status == 500
            assert reason(ask(gateway, "reopens")) == "circuit_open"
            assert len(backend.requests) == FAILURES + number


def test_successful_probes_close_it_one_by_one(gateway: Gateway):
    script = Scripted()
    with FakeBackend(script) as backend:
        opened(gateway, "closes", backend)
        probed(gateway, "closes")
        script.status = 200
        for number in range(PROBES):
            assert state(gateway, "closes") == ["half_open"]
            assert ask(gateway, "closes").status == 200, number
        assert state(gateway, "closes") == ["up"]
        # Closed means closed: it takes five failures again.
        script.status = 500
        assert [ask(gateway, "closes").status for _ in range(FAILURES + 1)] == [500] * FAILURES + [503]


@pytest.mark.worker_alone
def test_a_flood_of_requests_never_exceeds_the_probes(gateway: Gateway):
    """The backend stays dead: each time the breaker is half open, at most as many get through as may fail at once."""
    with FakeBackend(behaviours.answer(500)) as backend:
        began = time.monotonic()
        opened(gateway, "flood", backend)
        until = time.monotonic() + 2.5 * OPEN_FOR
        at_once(8, lambda _: [ask(gateway, "flood") for _ in iter(lambda: time.monotonic() < until, False)], threads=8)
        probes = len(backend.requests) - FAILURES
        assert 1 <= probes <= PROBES * int((time.monotonic() - began) / OPEN_FOR)


@pytest.mark.needs(Promise.PROCESSES)
def test_probes_of_workers_that_die_do_not_keep_others_away(gateway: Gateway):
    """Long before the timeouts of the requests that died with them."""
    script = Scripted()
    with FakeBackend(script) as backend, ThreadPoolExecutor(PROBES) as pool:
        opened(gateway, "orphans", backend)
        probed(gateway, "orphans")
        script.gate.clear()
        script.status = 200
        cut = [pool.submit(ask, gateway, "orphans") for _ in range(PROBES)]
        eventually(lambda: len(backend.requests) == FAILURES + PROBES, what="the probes are at the backend")
        gateway.kill_workers()
        died = time.monotonic()
        assert all(one.exception() is not None for one in cut)
        script.gate.set()
        eventually(lambda: ask(gateway, "orphans").status == 200, what="a probe")
        assert time.monotonic() - died < 3.0


# --- what lasts -----------------------------------------------------------------------------------------------------
@pytest.mark.needs(Promise.PROCESSES)
def test_failures_and_an_open_breaker_outlive_reloads_and_workers(gateway: Gateway):
    with FakeBackend(behaviours.answer(500)) as backend:
        gateway.register("hup", "one", backend.url)
        for _ in range(FAILURES - 1):
            assert ask(gateway, "hup").status == 500
        gateway.reload()
        assert ask(gateway, "hup").status == 500
        assert reason(ask(gateway, "hup")) == "circuit_open"
        before = gateway.call("GET", "/api/v1/breakers/hup/one").json()
        gateway.reload()
        gateway.kill_workers()
        assert {reason(ask(gateway, "hup")) for _ in range(8)} == {"circuit_open"}
        after = gateway.call("GET", "/api/v1/breakers/hup/one").json()
        assert {**after, "opened_at": 0, "half_open_at": 0} == {**before, "opened_at": 0, "half_open_at": 0}
        assert len(backend.requests) == FAILURES


def test_an_instance_at_another_address_begins_with_a_closed_breaker(gateway: Gateway):
    with FakeBackend(behaviours.answer(500)) as bad, FakeBackend(behaviours.answer(200)) as good:
        gateway.register("moves", "one", bad.url)
        assert [ask(gateway, "moves").status for _ in range(3)] == [500, 503, 503]
        gateway.register("moves", "one", good.url)
        assert ask(gateway, "moves").status == 200


def test_an_instance_that_left_and_came_back_begins_with_a_closed_breaker(gateway: Gateway):
    with FakeBackend(behaviours.answer(500)) as backend:
        for _ in range(3):
            gateway.register("leaves", "one", backend.url)
            assert [ask(gateway, "leaves").status for _ in range(2)] == [500, 503]
            gateway.call("DELETE", "/register", {"service": "leaves", "id": "one"})


# --- other rules ----------------------------------------------------------------------------------------------------
def statuses(gateway: Gateway, service: str, script: Scripted, answers: list[int]) -> list[int]:
    """What is answered while the backend answers these, one after the other."""
    told = []
    for status in answers:
        script.status = status
        told.append(ask(gateway, service).status)
    return told


def test_with_a_window_successes_in_between_do_not_matter(gateway: Gateway):
    script = Scripted()
    with FakeBackend(script) as backend:
        gateway.register("windowed", "one", backend.url)
        assert statuses(gateway, "windowed", script, [500, 200, 500, 200, 500, 200]) == [500, 200, 500, 200, 500, 503]
        line = gateway.wait_event("breaker_opened", service="windowed")
        assert (line["instance"], line["failures"], line["window"], line["cause"]) == ("one", 3, 60.0, "failures")


def test_the_share_of_failures_opens_it_from_the_minimum_of_calls_on(gateway: Gateway):
    script = Scripted()
    with FakeBackend(script) as backend:
        gateway.register("shares", "one", backend.url)
        answers = [500] * 4 + [200] * 4
        assert statuses(gateway, "shares", script, [*answers, 200]) == [*answers, 503]
        line = gateway.wait_event("breaker_opened", service="shares")
        assert (line["cause"], line["calls"], line["failed"]) == ("failure_ratio", 8, 4)
        assert "too many calls failed" in gateway.call("GET", "/api/v1/services/shares").body.decode()


def test_each_reopening_doubles_the_wait_as_far_as_it_may(gateway: Gateway):
    with FakeBackend(behaviours.answer(500)) as backend:
        gateway.register("doubles", "one", backend.url)
        assert ask(gateway, "doubles").status == 500
        for _ in range(2):
            probed(gateway, "doubles")
            assert ask(gateway, "doubles").status == 500
        eventually(lambda: waits(gateway, "doubles") == [0.5, 1.0, 1.0], what="the lines of three openings")


def waits(gateway: Gateway, service: str) -> list[float]:
    told = [event for event in gateway.events if event.get("event") == "breaker_opened"]
    return [event["open_for"] for event in told if event["service"] == service]


def test_no_more_than_a_share_of_the_instances_is_open(gateway: Gateway):
    with FakeBackend(behaviours.answer(500)) as backend:
        for number in range(5):
            gateway.register("bounded", f"i{number}", backend.url)
        assert {ask(gateway, "bounded").status for _ in range(30)} == {500}
        assert Counter(state(gateway, "bounded")) == {"open": 2, "up": 3}
        assert gateway.wait_event("breaker_held", service="bounded")["cause"] == "max_ejected"


# --- steering -------------------------------------------------------------------------------------------------------
def steer(gateway: Gateway, service: str, action: str) -> Any:
    answer = gateway.call("POST", f"/api/v1/breakers/{service}/one", {"action": action})
    assert answer.status == 200, answer.body
    assert answer.json() == gateway.call("GET", f"/api/v1/breakers/{service}/one").json()
    return answer.json()["state"]


def test_every_worker_obeys_an_order_at_once_and_it_is_audited(gateway: Gateway):
    with FakeBackend(behaviours.answer(200)) as backend:
        gateway.register("steered", "one", backend.url)
        assert ask(gateway, "steered").status == 200
        assert steer(gateway, "steered", "force_open") == "forced_open"
        assert {reason(ask(gateway, "steered")) for _ in range(12)} == {"circuit_open"}
        assert state(gateway, "steered") == ["open"]
        assert "forced open by an operator" in gateway.call("GET", "/services").body.decode()
        assert steer(gateway, "steered", "reset") == "closed"
        assert {ask(gateway, "steered").status for _ in range(12)} == {200}
        first, second = (
            gateway.wait_event("audit", action=f"breaker.{action}", service="steered")
            for action in ("force_open", "reset")
        )
        assert (first["who"], first["with_token"], first["instance"]) == ("127.0.0.1", False, "one")
        assert (first["before"], first["after"]) == ("closed", "forced_open")
        assert (second["before"], second["after"]) == ("forced_open", "closed")
        assert first["time"] <= second["time"]
        assert gateway.wait_event("breaker_steered", service="steered", cause="force_open")["to"] == "forced_open"


@pytest.mark.needs(Promise.PROCESSES)
def test_orders_outlive_reloads_and_workers(gateway: Gateway):
    with FakeBackend(behaviours.answer(200)) as backend:
        gateway.register("forced", "one", backend.url)
        steer(gateway, "forced", "force_open")
        gateway.reload()
        gateway.kill_workers()
        assert {reason(ask(gateway, "forced")) for _ in range(8)} == {"circuit_open"}
        steer(gateway, "forced", "reset")
        assert ask(gateway, "forced").status == 200


@pytest.mark.parametrize(("action", "state"), [("force_close", "forced_closed"), ("disable", "disabled")])
def test_an_operator_keeps_it_from_opening(gateway: Gateway, action: str, state: str):
    with FakeBackend(behaviours.answer(500)) as backend:
        opened(gateway, "spared", backend)
        assert steer(gateway, "spared", action) == state
        assert {ask(gateway, "spared").status for _ in range(FAILURES * 4)} == {500}
        assert steer(gateway, "spared", "reset") == "closed"
        assert [ask(gateway, "spared").status for _ in range(FAILURES + 1)] == [500] * FAILURES + [503]
        gateway.call("DELETE", "/register", {"service": "spared", "id": "one"})


@pytest.mark.parametrize("body", [{}, {"action": "open"}, {"action": "reset", "colour": 1}, {"act": "reset"}])
def test_orders_that_nobody_understands_change_nothing(gateway: Gateway, body: Any):
    gateway.register("orders", "one", "http://127.0.0.1:9")
    before = gateway.call("GET", "/api/v1/breakers/orders/one").json()
    answer = gateway.call("POST", "/api/v1/breakers/orders/one", body)
    assert (answer.status, answer.json()["reason"]) == (400, "invalid_body")
    named = next((name for name in body if name != "action"), "action")
    assert named in answer.json()["detail"]
    assert gateway.call("GET", "/api/v1/breakers/orders/one").json() == before
    assert gateway.call("POST", "/api/v1/breakers/orders/none", {"action": "reset"}).status == 404
    assert gateway.call("POST", "/api/v1/breakers/nowhere/one", {"action": "reset"}).status == 404
