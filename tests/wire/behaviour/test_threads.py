"""Each listener has threads of its own, and nobody waits for one for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import behaviours
from tests.support.backend import Call, FakeBackend
from tests.support.servers import Gateway, Promise, Server, at_once

pytestmark = pytest.mark.needs(Promise.OWN_THREADS)

THREADS = 4


class Caller:
    """A backend that calls the internal listener before it answers, once every external thread waits for it."""

    def __init__(self) -> None:
        self.gateway: Gateway
        self._everyone = threading.Barrier(THREADS)

    def __call__(self, call: Call) -> None:
        request = call.request()
        if request.path.startswith("/call"):
            self._everyone.wait(10)
            answer = self.gateway.get(request.target.replace("/call", "/leaf"), internal=True)
            call.answer(answer.status, (), b"called " + answer.body)
        else:
            call.answer(200, (), b"leaf")


@pytest.fixture
def caller() -> Caller:
    return Caller()


@pytest.fixture
def gateway(server: Server, caller: Caller) -> Iterator[Gateway]:
    with FakeBackend(caller) as backend:
        config = {
            "server": {"threads": THREADS, "internal_threads": 2},
            "services": {"s": {"instances": [{"id": "a", "url": backend.url}]}},
            "routes": [
                {"id": "call", "path": "/call", "service": "s"},
                {"id": "leaf", "path": "/leaf", "service": "s", "listeners": ["internal"]},
            ],
        }
        with server.serve(config, workers=1) as started:
            caller.gateway = started
            yield started


def test_backends_that_call_back_in_are_answered_while_they_hold_every_external_thread(gateway: Gateway):
    for _ in range(5):
        answers = at_once(THREADS, lambda _: gateway.get("/call"), threads=THREADS)
        assert [(one.status, one.body) for one in answers] == [(200, b"called leaf")] * THREADS


def test_the_admin_api_answers_while_every_external_thread_waits(server: Server):
    gate = threading.Event()
    with FakeBackend(behaviours.held(gate)) as backend, held_up(server, backend) as gateway:
        waiting = Waiting(gateway, backend)
        assert gateway.get("/healthz", internal=True).status == 200
        assert gateway.call("POST", "/register", {"service": "x", "id": "y", "addr": backend.url}).status == 204
        gate.set()
        assert waiting.statuses() == [200] * THREADS


def test_a_request_that_finds_no_thread_in_time_is_refused_as_overloaded(server: Server):
    gate = threading.Event()
    with FakeBackend(behaviours.held(gate)) as backend, held_up(server, backend) as gateway:
        waiting = Waiting(gateway, backend)
        with gateway.connect() as wire:
            answer = wire.get("/late?token=x")
            problem = answer.json()
            assert (answer.status, problem["status"], problem["reason"]) == (503, 503, "overloaded")
            assert answer.value("Retry-After") == str(problem["retry_after"])
            assert answer.value("Content-Type") == "application/problem+json"
            assert answer.value("X-Request-ID") == problem["request_id"]
            assert wire.ended() == "closed"
        gate.set()
        assert waiting.statuses() == [200] * THREADS
        line = gateway.access_line(problem["request_id"])
        told = ("method", "path", "query", "listener", "client", "status", "reason", "attempts")
        assert [line[name] for name in told] == [
            "GET",
            "/late",
            "token=***",
            "external",
            "127.0.0.1",
            503,
            "overloaded",
            0,
        ]
        assert line["duration_ms"] >= 250  # it waited for 300
        assert gateway.get("/afterwards").status == 200
        assert [one.target for one in backend.requests] == ["/held"] * THREADS + ["/afterwards"]


def test_a_request_that_finds_a_thread_in_time_is_served(server: Server):
    gate = threading.Event()
    with FakeBackend(behaviours.held(gate)) as backend, held_up(server, backend, backlog_wait="20s") as gateway:
        waiting = Waiting(gateway, backend)
        with gateway.connect() as wire:
            wire.send("GET /patient HTTP/1.1\r\nHost: h\r\n\r\n")
            assert wire.silent(0.6)
            gate.set()
            answer = wire.answer()
            assert answer.status == 200
        assert waiting.statuses() == [200] * THREADS
        assert gateway.access_line(answer.value("X-Request-ID"))["duration_ms"] >= 300


def test_waiting_for_a_thread_is_part_of_a_requests_time(server: Server):
    gate = threading.Event()
    with FakeBackend(behaviours.held(gate)) as backend, held_up(server, backend, backlog_wait="20s") as gateway:
        waiting = Waiting(gateway, backend)
        with gateway.connect() as wire:
            wire.send("GET /hurried HTTP/1.1\r\nHost: h\r\n\r\n")
            assert wire.silent(1.2)  # more than its 600 ms
            gate.set()
            answer = wire.answer()
            assert (answer.status, answer.json()["reason"]) == (504, "deadline_exceeded")
        assert waiting.statuses() == [200] * THREADS


def held_up(server: Server, backend: FakeBackend, backlog_wait: str = "300ms") -> Gateway:
    return server.serve(
        {
            "server": {"threads": THREADS, "backlog_wait": backlog_wait},
            "services": {"s": {"instances": [{"id": "a", "url": backend.url}]}},
            "routes": [
                {"id": "r", "path": "/*", "service": "s"},
                {"id": "hurried", "path": "/hurried", "service": "s", "timeouts": {"request": "600ms"}},
            ],
        },
        workers=1,
    )


class Waiting:
    """As many requests as there are external threads, all of them with the backend."""

    def __init__(self, gateway: Gateway, backend: FakeBackend) -> None:
        self._pool = ThreadPoolExecutor(THREADS)
        self._answers = [self._pool.submit(gateway.get, "/held", timeout=30) for _ in range(THREADS)]
        backend.wait_until(lambda: len(backend.requests) == THREADS)

    def statuses(self) -> list[int]:
        self._pool.shutdown()
        return [one.result().status for one in self._answers]
