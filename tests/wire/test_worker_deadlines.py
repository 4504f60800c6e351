"""Slow clients and too many of them, against a real gunicorn with the worker class.

The deadlines are those of `tests.support.worker.PLAN`: request_head_timeout 0.5, client_idle 1, backlog_wait 1.5,
keepalive 3 s, on 6 threads. Upper bounds leave room for a busy machine; lower bounds are exact.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.process import eventually
from tests.support.worker import WorkerProcess

LATE = 8.0  # seconds that a busy machine may add


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess(planes=("external", "internal")) as process:
        yield process


# --- heads
def test_a_head_that_is_not_complete_in_time_is_refused(worker: WorkerProcess) -> None:
    started = time.monotonic()
    with worker.connect() as wire:
        wire.send("GET /hello HTTP/1.1\r\nHos")
        heard = wire.answer()
        assert (heard.status, heard.value("X-Reason")) == (408, "client_timeout")
        assert wire.ended() == "closed"
    assert 0.5 <= time.monotonic() - started < 0.5 + LATE
    assert worker.events("refused")[-1] == ["client_timeout", "external", "127.0.0.1", "GET /hello HTTP/1.1\r\nHos"]


def test_dribbling_does_not_move_the_deadline(worker: WorkerProcess) -> None:
    started = time.monotonic()
    with worker.connect() as wire:
        wire.send("GET /hello HTTP/1.1\r\n")
        while wire.silent(0.05):
            wire.send("A")
        assert wire.answer().status == 408
    assert 0.5 <= time.monotonic() - started < 0.5 + LATE


def test_a_connection_that_says_nothing_is_closed_silently(worker: WorkerProcess) -> None:
    started = time.monotonic()
    with worker.connect() as wire:
        assert wire.ended() == "closed"
    assert 0.5 <= time.monotonic() - started < 0.5 + LATE


def test_a_head_on_a_kept_connection_has_its_time_from_its_first_byte(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        assert wire.get("/hello").status == 200
        time.sleep(0.6)  # longer than a head may take, shorter than the connection is kept
        began = time.monotonic()
        wire.send("GET /hello HTTP/1.1\r\n")
        assert wire.answer().status == 408
        assert 0.5 <= time.monotonic() - began < 0.5 + LATE


def test_an_idle_connection_is_closed_when_its_time_is_over(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        assert wire.get("/hello").status == 200
        began = time.monotonic()
        assert wire.ended() == "closed"
        assert 2.9 <= time.monotonic() - began < 3.0 + LATE


def test_each_request_renews_the_time_of_its_connection(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        for _ in range(3):
            assert wire.get("/hello").status == 200
            time.sleep(1.2)
        assert wire.get("/hello").status == 200


def test_half_sent_heads_hold_no_thread() -> None:
    with WorkerProcess({"request_head_timeout": 60.0}) as worker:
        slow = [worker.connect() for _ in range(50)]
        for wire in slow:
            wire.send("GET /hello HTTP/1.1\r\nHo")
        assert worker.get("/hello").status == 200
        assert all(wire.silent(0) for wire in slow)  # they were there all the time
        for wire in slow:
            wire.sock.close()


# --- bodies and answers
def test_a_body_that_stops_coming_is_refused(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n7 bytes")
        began = time.monotonic()
        heard = wire.answer()
        assert (heard.status, heard.value("X-Reason")) == (408, "client_timeout")
        assert wire.ended() == "closed"
    assert 0.9 <= time.monotonic() - began < 1.0 + LATE


def test_a_body_that_comes_slowly_is_read(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n")
        for octet in b"dribbled":
            time.sleep(0.15)
            wire.send(bytes([octet]))
        assert wire.answer().body == b"dribbled"


@pytest.mark.parametrize(
    "path", ["/hello?size=30000000", "/stream?pieces=100&size=300000", "/stream?pieces=1&size=30000000"]
)
def test_a_client_that_does_not_read_is_let_go(worker: WorkerProcess, path: str) -> None:
    closed = len(worker.events("closed"))
    with worker.connect() as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
        began = time.monotonic()
        eventually(lambda: worker.counts[0] > 0, what="the worker has the client")
        eventually(lambda: worker.counts[0] == 0, what="the worker has let the client go")
        assert 0.9 <= time.monotonic() - began < 1.0 + LATE
        assert not wire.answer().complete
    if path.startswith("/stream"):
        assert len(worker.events("closed")) == closed + 1


def test_a_client_that_reads_slowly_gets_everything(worker: WorkerProcess) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(10)
    with sock:
        sock.connect(("127.0.0.1", worker.ports[0]))
        sock.sendall(b"GET /hello?size=6000000 HTTP/1.0\r\n\r\n")
        received, until = 0, time.monotonic() + 1.5
        while data := sock.recv(2048 if time.monotonic() < until else 1 << 20):
            received += len(data)
            if time.monotonic() < until:
                time.sleep(0.02)
    assert received > 6_000_000


# --- threads
def occupy(worker: WorkerProcess, threads: int, plane: int = 0) -> list[threading.Thread]:
    """Hold that many threads until /open is asked."""
    worker.get("/shut", 1)
    waiting = len(worker.events("waiting", 1))
    found = [threading.Thread(target=worker.get, args=("/wait", plane)) for _ in range(threads)]
    for thread in found:
        thread.start()
    eventually(lambda: len(worker.events("waiting", 1)) == waiting + threads, what="the threads wait")
    return found


def release(worker: WorkerProcess, held: list[threading.Thread]) -> None:
    worker.get("/open", 1)
    for thread in held:
        thread.join()


def test_a_request_that_finds_no_thread_in_time_is_refused(worker: WorkerProcess) -> None:
    held = occupy(worker, 6)
    try:
        with worker.connect() as wire, worker.connect() as silent:
            wire.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
            began = time.monotonic()
            heard = wire.answer()
            assert (heard.status, heard.value("X-Reason"), heard.value("Retry-After")) == (503, "overloaded", "1")
            assert wire.ended() == "closed"
            assert 1.4 <= time.monotonic() - began < 1.5 + LATE
            silent._until_end()
            assert silent.buf == b""  # who asked for nothing is refused nothing
    finally:
        release(worker, held)
    assert worker.events("refused", 1)[-1][:1] == ["overloaded"]
    assert worker.get("/hello").body == b"hello"


def test_a_request_that_finds_a_thread_in_time_is_served(worker: WorkerProcess) -> None:
    held = occupy(worker, 6)
    try:
        with worker.connect() as wire:
            wire.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
            assert wire.silent(0.3)
            release(worker, held)
            assert wire.answer().body == b"hello"
    finally:
        release(worker, held)


def test_a_request_that_waits_for_a_thread_is_not_late() -> None:
    """Its head came in time: that nobody has read it yet is not the client's fault."""
    plan = {"threads": 1, "request_head_timeout": 0.2, "backlog_wait": 5.0}
    with WorkerProcess(plan) as narrow, narrow.connect() as first, narrow.connect() as second:
        first.send("GET /sleep?seconds=1 HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.1)
        second.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
        assert second.answer().body == b"hello"


def test_requests_wait_for_a_thread_first_come_first_served() -> None:
    plan = {"threads": 1, "request_head_timeout": 5.0, "backlog_wait": 5.0}
    with WorkerProcess(plan) as narrow, narrow.connect() as first:
        first.send("GET /sleep?seconds=0.6 HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.1)
        wires = [narrow.connect() for _ in range(10)]
        for wire in wires:
            wire.send("GET /environ HTTP/1.1\r\nHost: h\r\n\r\n")
            time.sleep(0.01)
        received = [wire.answer().json()["gateway.received"] for wire in wires]
        assert received == sorted(received)
        for wire in wires:
            wire.sock.close()


def test_the_internal_listener_has_threads_of_its_own(worker: WorkerProcess) -> None:
    held = occupy(worker, 6)
    try:
        assert worker.get("/hello", 1).body == b"hello"
    finally:
        release(worker, held)


def test_the_internal_listeners_threads_do_not_serve_the_external_one(worker: WorkerProcess) -> None:
    with worker.connect(0) as external, worker.connect(1) as internal:
        seen = [{wire.get("/environ").json()["thread"] for _ in range(20)} for wire in (external, internal)]
    assert not seen[0] & seen[1]


def test_a_stalled_close_stalls_nobody(worker: WorkerProcess) -> None:
    """A client that ignores the end of its connection is lingered on, apart from everything else."""
    stuck = [worker.connect() for _ in range(20)]
    try:
        for wire in stuck:
            wire.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999\r\n\r\n" + "x" * 1000)
        time.sleep(0.1)
        began = time.monotonic()
        for _ in range(10):
            assert worker.get("/hello").status == 200
        assert time.monotonic() - began < 10  # one after the other they would have stalled it for 40 s
    finally:
        for wire in stuck:
            wire.sock.close()
