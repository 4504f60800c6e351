"""The access log: one line for each request, which tells what became of it and no secret."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.process import eventually
from tests.support.servers import IN_PROCESS, Gateway, Promise, Server, at_once

KEYS = [
    "time", "level", "event", "request_id", "method", "path", "query", "listener", "client", "route", "service",
    "instance", "attempts", "status", "reason", "bytes_in", "bytes_out", "duration_ms", "upstream_ms",
]  # fmt: skip
SLOW = 0.15


@pytest.fixture(scope="module")
def backend() -> Iterator[FakeBackend]:
    scripts = {
        "/slow": behaviours.after(SLOW, behaviours.answer(200, (), b"done")),
        "/stream": behaviours.chunked([b"x" * 100_000] * 3),
        "/short": behaviours.truncated(100, b"only ten b"),
        "/long": behaviours.stream(50_000_000),
        "/fails": behaviours.answer(503, (), b"busy"),
        "/empty": behaviours.answer(204),
    }
    with FakeBackend(behaviours.by_path(scripts, behaviours.answer(200, (), b"hello"))) as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(server: Server, backend: FakeBackend) -> Iterator[Gateway]:
    config = {
        "logging": {"mask": ["token", "Password", "x-secret"]},
        "services": {"s": {"instances": [{"id": "one", "url": backend.url}], "breaker": None}},
        "routes": [{"id": "all of it", "path": "/*", "service": "s"}],
    }
    with server.serve(config) as started:
        yield started


def line_of(gateway: Gateway, method: str, target: str, **options: Any) -> dict[str, Any]:
    return gateway.access_line(gateway.request(method, target, **options).header("X-Request-ID"))


def test_a_line_tells_what_became_of_a_request(gateway: Gateway):
    before = datetime.now(UTC)
    line = line_of(gateway, "POST", "/%61/b?q=1", body=b"12345")
    assert list(line) == KEYS
    told = {
        name: value for name, value in line.items() if name not in ("time", "request_id", "duration_ms", "upstream_ms")
    }
    assert told == {
        "level": "info", "event": "request", "method": "POST", "path": "/%61/b", "query": "q=1", "listener": "external",
        "client": "127.0.0.1", "route": "all of it", "service": "s", "instance": "one", "attempts": 1, "status": 200,
        "reason": None, "bytes_in": 5, "bytes_out": 5,
    }  # fmt: skip
    assert re.fullmatch(r"[0-9a-f]{32}", line["request_id"])
    assert line["time"].endswith("Z")
    assert abs((datetime.fromisoformat(line["time"]) - before).total_seconds()) < 30
    assert 0 < line["upstream_ms"] <= line["duration_ms"] < 30_000


def test_durations_hold_the_backends_time(gateway: Gateway):
    line = line_of(gateway, "GET", "/slow")
    assert SLOW * 1000 <= line["upstream_ms"] <= line["duration_ms"]


def test_a_request_without_a_query_has_none(gateway: Gateway):
    assert line_of(gateway, "GET", "/x")["query"] is None


@pytest.mark.parametrize(
    "query, told",
    [
        ("token=secret", "token=***"),
        ("a=1&token=secret&b=2", "a=1&token=***&b=2"),
        ("TOKEN=secret&password=secret&PassWord=secret", "TOKEN=***&password=***&PassWord=***"),
        ("%74oken=secret&t%6Fken=secret", "%74oken=***&t%6Fken=***"),
        ("x=1;token=secret;y=2&z", "x=1;token=***;y=2&z"),
        ("token=secret=secret", "token=***"),
        ("tokens=shown&my_token=shown", "tokens=shown&my_token=shown"),
        ("token", "token"),
        ("token=", "token=***"),
    ],
)
def test_the_values_of_masked_parameters_are_hidden(gateway: Gateway, query: str, told: str):
    line = line_of(gateway, "GET", f"/x?{query}")
    assert line["query"] == told
    assert "secret" not in str(line)


@pytest.mark.needs(Promise.SOCKET, Promise.OWN_REFUSALS)
@pytest.mark.parametrize("scheme, password", [("http", "hunter2"), ("ftp", "hunter2/?@")])
def test_a_user_in_the_target_is_hidden(gateway: Gateway, scheme: str, password: str):
    with gateway.connect() as wire:
        wire.send(f"GET {scheme}://user:{password}@h/with-a-user HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = wire.answer()
    assert answer.json()["reason"] == "malformed_request"
    assert gateway.access_line(answer.value("X-Request-ID"))["path"] == f"{scheme}://***@h/with-a-user"
    assert "hunter2" not in answer.body.decode() + gateway.log_text


def test_headers_are_not_told(gateway: Gateway):
    gateway.get("/x", headers={"Authorization": "Bearer in-a-header", "Cookie": "in-a-cookie=1", "X-Secret": "in-one"})
    line_of(gateway, "GET", "/x")
    for text in ("in-a-header", "in-a-cookie", "in-one"):
        assert text not in gateway.log_text


def test_a_client_cannot_write_lines_of_its_own(gateway: Gateway):
    line = line_of(gateway, "GET", '/x%0a{"event":"request"}"\\', headers={"X-Request-ID": 'a"b'})
    assert line["path"] == '/x%0a{"event":"request"}"\\'
    assert re.fullmatch(r"[0-9a-f]{32}", line["request_id"])


@pytest.mark.parametrize(
    "method, path, status, out",
    [("GET", "/stream", 200, 300_000), ("HEAD", "/x", 200, 0), ("GET", "/empty", 204, 0), ("GET", "/fails", 503, 4)],
)
def test_bytes_out_are_those_of_the_body(gateway: Gateway, method: str, path: str, status: int, out: int):
    line = line_of(gateway, method, path)
    assert (line["status"], line["bytes_out"], line["reason"]) == (status, out, None)
    assert line["level"] == ("error" if status >= 500 else "info")


def test_bytes_in_are_counted_in_chunks(gateway: Gateway):
    assert line_of(gateway, "PUT", "/x", body=[b"x" * 100_000] * 3)["bytes_in"] == 300_000


def test_a_refused_request_has_its_reason(gateway: Gateway):
    line = line_of(gateway, "GET", "/x/../y")
    assert (line["status"], line["reason"], line["route"], line["attempts"]) == (400, "bad_path", None, 0)


def test_an_admin_call_has_its_line(gateway: Gateway):
    line = line_of(gateway, "GET", "/api/v1/services/s?token=x", internal=True)
    assert (line["listener"], line["route"]) == ("internal", "admin:/api/v1/services/{service}")
    assert (line["service"], line["query"]) == (None, "token=***")


# --- answers that do not come to their end --------------------------------------------------------------------------
@pytest.mark.needs(Promise.SOCKET)
def test_an_answer_that_the_backend_breaks_off_has_its_reason(gateway: Gateway):
    with gateway.connect() as wire:
        answer = wire.get("/short")
    line = gateway.access_line(answer.value("X-Request-ID"))
    assert (line["status"], line["reason"], line["bytes_out"]) == (200, "upstream_reset", 10)


@pytest.mark.needs(Promise.SOCKET)
def test_a_client_that_leaves_is_told(gateway: Gateway):
    with gateway.connect() as wire:
        wire.send("GET /long HTTP/1.1\r\nHost: h\r\nX-Request-ID: left-download\r\n\r\n")
        wire.head()
    line = gateway.access_line("left-download")
    assert (line["status"], line["reason"]) == (200, "client_gone")
    assert 0 < line["bytes_out"] < 50_000_000


@pytest.mark.needs(Promise.SOCKET)
def test_a_line_is_written_when_the_last_byte_has_gone(gateway: Gateway):
    with gateway.connect() as wire:
        wire.send("GET /long HTTP/1.1\r\nHost: h\r\nX-Request-ID: whole-download\r\n\r\n")
        wire.head()
        assert "whole-download" not in gateway.log_text
        received = len(wire.buf)
        while received < 50_000_000:
            received += len(wire.sock.recv(1_000_000))
    line = gateway.access_line("whole-download")
    assert (line["reason"], line["bytes_out"]) == (None, 50_000_000)


# --- counting -------------------------------------------------------------------------------------------------------
def with_instance(backend: FakeBackend, **more: Any) -> dict[str, Any]:
    service = {"instances": [{"id": "one", "url": backend.url}], "breaker": None}
    return {"services": {"s": service}, "routes": [{"id": "r", "path": "/*", "service": "s"}], **more}


def requests(gateway: Gateway) -> list[dict[str, Any]]:
    """The lines of the external listener."""
    return [one for one in gateway.events if one.get("event") == "request" and one["listener"] == "external"]


def test_there_is_exactly_one_line_for_each_request(server: Server, backend: FakeBackend, tmp_path: Path):
    targets = ["/x", "/stream", "/fails", "/x/../y", "/empty", "/x?token=secret"]
    with server.serve(with_instance(backend), folder=tmp_path) as gateway:
        ids = at_once(300, lambda number: gateway.get(targets[number % 6]).header("X-Request-ID"))
    lines = requests(gateway)  # when it has ended, so that nothing is still to come
    assert len(set(ids)) == 300
    assert Counter(one["request_id"] for one in lines) == Counter(ids)
    assert Counter(one["status"] for one in lines) == {200: 150, 503: 50, 400: 50, 204: 50}


@pytest.mark.needs(Promise.SOCKET)
def test_a_request_under_way_when_the_gateway_stops_has_its_line(server: Server, backend: FakeBackend, tmp_path: Path):
    with server.serve(with_instance(backend), folder=tmp_path) as gateway, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(gateway.get, "/slow?stopping")
        backend.wait_until(lambda: backend.requests[-1].target == "/slow?stopping")
        gateway.signal(signal.SIGTERM)
        assert slow.result().status == 200
        gateway.wait_exit()
    assert [one["query"] for one in requests(gateway)] == ["stopping"]


HELD = {"/held": behaviours.slow_body([b"x" * 1000] * 1000, 0.02), "/waits": behaviours.hang}


def cut_off(gateway: Gateway) -> dict[str, tuple[Any, ...]]:
    """What the lines of the requests that were cut off tell, by path."""
    lines = [one for one in requests(gateway) if one["reason"] == "cut_off"]
    assert len({one["request_id"] for one in lines}) == len(lines)
    assert all(one["duration_ms"] > 900 and one["instance"] == "one" for one in lines)
    return {one["path"]: (one["status"], one["bytes_out"] > 1000, one["bytes_in"] > 0) for one in lines}


@pytest.mark.needs(Promise.SOCKET, Promise.PROCESSES, Promise.CUTS_OFF)
def test_requests_that_a_stop_cuts_off_have_their_lines(server: Server, tmp_path: Path):
    with FakeBackend(behaviours.by_path(HELD, behaviours.hang_unread)) as backend:
        config = with_instance(backend, server={"graceful_timeout": "1s"})
        with server.serve(config, folder=tmp_path) as gateway, ExitStack() as clients:
            download, waiting, upload = (clients.enter_context(gateway.connect()) for _ in range(3))
            download.send("GET /held HTTP/1.1\r\nHost: h\r\n\r\n")
            waiting.send("GET /waits HTTP/1.1\r\nHost: h\r\n\r\n")
            upload.send(b"PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n" + b"x" * 100_000)
            backend.wait_until(lambda: len(backend.requests) == 3)
            gateway.signal(signal.SIGTERM)
            gateway.wait_exit()
        told = {"/held": (200, True, False), "/waits": (503, False, False), "/upload": (503, False, True)}
        assert cut_off(gateway) == told
        assert len(requests(gateway)) == 3
        assert "Traceback" not in gateway.log_text


@pytest.mark.needs(Promise.SOCKET, Promise.PROCESSES, Promise.CUTS_OFF)
def test_requests_that_a_reload_cuts_off_are_told_and_counted(server: Server, tmp_path: Path):
    with FakeBackend(behaviours.by_path(HELD)) as backend:
        config = with_instance(backend, server={"reload_drain": "1s"})
        with server.serve(config, folder=tmp_path) as gateway:
            with gateway.connect() as download, gateway.connect() as waiting:
                download.send("GET /held HTTP/1.1\r\nHost: h\r\n\r\n")
                waiting.send("GET /waits HTTP/1.1\r\nHost: h\r\n\r\n")
                backend.wait_until(lambda: len(backend.requests) == 2)
                before = set(gateway.worker_pids)
                gateway.reload()
                eventually(lambda: not before & set(gateway.worker_pids))
                assert waiting.ended() == "reset"
            assert cut_off(gateway) == {"/held": (200, True, False), "/waits": (503, False, False)}
            metrics = gateway.get("/metrics", internal=True).body.decode().splitlines()
            counted = [one for one in metrics if 'reason="cut_off"' in one]
            assert sorted(one.rpartition(" ")[2] for one in counted) == ["1.0", "1.0"]
            assert [one for one in metrics if one.startswith("gateway_in_flight{") and not one.endswith(" 0.0")] == []
            assert "Traceback" not in gateway.log_text


# --- settings, the same with every server ---------------------------------------------------------------------------
@pytest.mark.parametrize("setting, lines", [({"access": False}, 1), ({"sample": "0%"}, 1), ({"sample": "100%"}, 5)])
def test_fewer_lines_may_be_asked_for_but_failures_are_always_told(
    backend: FakeBackend, setting: dict[str, Any], lines: int
):
    with IN_PROCESS.serve(with_instance(backend, logging=setting)) as gateway:
        for _ in range(4):
            gateway.get("/x")
        gateway.access_line(gateway.get("/fails").header("X-Request-ID"))
        assert len(requests(gateway)) == lines


def test_lines_for_human_eyes(backend: FakeBackend):
    with IN_PROCESS.serve(with_instance(backend, logging={"format": "console"})) as gateway:
        request_id = gateway.get("/x?token=secret").header("X-Request-ID")
        line = gateway.wait_line(f"request_id={request_id}")
        assert "GET /x?token=*** 200 " in line
        assert " instance=one " in line
