"""The load generator notices what scenarios rely on it to notice."""

from __future__ import annotations

import time

import pytest

from tests.support import behaviours
from tests.support.backend import Call as Received
from tests.support.backend import FakeBackend, refusing_address
from tests.support.load import Call, Load, run
from tests.support.scenario_backend import BackendProcess

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CALL = Call("get", "/x", answer=b"ok")


def test_good_answers_are_counted_over_kept_connections() -> None:
    with FakeBackend(behaviours.raw(OK)) as backend:
        report = run(backend.port, [CALL], 0.3, connections=4)
        assert report.failures == []
        assert len(report.records) == len(backend.requests) > 8
        assert report.connections == backend.connections == 4
        assert 0 < report.latency(0.5) <= report.latency(1.0) < 1.0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nok", "status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", "the body is b'no'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "ended after 40 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "ended after"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore", "more than the answer"),
        (b"", "ended after 0 bytes"),
    ],
    ids=["status", "body", "short", "chunked and short", "long", "nothing"],
)
def test_another_answer_is_a_failure(answer: bytes, error: str) -> None:
    with FakeBackend(behaviours.raw(answer, close=True)) as backend:
        report = run(backend.port, [CALL], 0.1, connections=1)
    assert len(report.failures) == len(report.records) > 0
    assert error in str(report.failures[0].error)


def test_a_chunked_answer_is_read_whole() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
    with FakeBackend(behaviours.raw(chunked)) as backend:
        report = run(backend.port, [CALL], 0.1, connections=1)
    assert (report.failures, len(report.records) > 1) == ([], True)


def test_a_connection_that_ends_under_a_request_is_a_failure_and_an_announced_end_is_none() -> None:
    def every_other(call: Received) -> None:
        if call.number == 1:
            call.head()
            call.close()
        else:
            behaviours.raw(OK)(call)

    with FakeBackend(every_other) as backend:
        report = run(backend.port, [CALL], 0.2, connections=1)
        assert 0 < len(report.failures) <= len(report.records) / 2 + 1
    closing = OK.replace(b"Content", b"Connection: close\r\nContent")
    with FakeBackend(behaviours.raw(closing, close=True)) as backend:
        report = run(backend.port, [CALL], 0.2, connections=2)
        assert report.failures == []
        assert report.connections == len(report.records) > 2


def test_a_refused_connection_and_silence_are_failures() -> None:
    with refusing_address() as (_, port):
        refused = run(port, [CALL], 0.1, connections=1)
    assert refused.errors == {"get: ConnectionRefusedError": len(refused.records)}
    with FakeBackend(lambda call: call.until_ended()) as backend:
        silent = run(backend.port, [CALL], 0.1, connections=1, timeout=0.3)
    assert silent.errors == {"get: no answer within 0.3 s": 1}


def test_the_rate_is_kept_and_calls_can_be_added() -> None:
    with BackendProcess("a") as backend:
        with Load(backend.port, [Call("get", "/x")], connections=8, rate=100) as load:
            time.sleep(0.5)
            load.add(Call("post", "/y", "POST", b"z" * 100_000))
            time.sleep(1.0)
        report = load.report
        assert report.failures == []
        assert 90 <= report.rate <= 110
        assert len(report.only("post").records) >= 30
        assert backend.total == len(report.records)


def test_several_processes_share_the_connections() -> None:
    with BackendProcess("a") as backend:
        report = run(backend.port, [Call("get", "/x")], 0.3, connections=5, processes=2)
        assert (report.failures, report.connections) == ([], 5)
        assert backend.total == len(report.records)
