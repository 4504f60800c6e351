"""A group of threads on real connections, in this process."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.server import groups
from gateway.server.client import prepare
from gateway.server.connection import AGAIN, READABLE, Connection
from gateway.server.groups import ThreadGroup
from gateway.server.handover import Handover
from gateway.server.linger import Lingerer
from gateway.server.plan import WorkerPlan
from gateway.server.service import Service
from tests.support.process import eventually
from tests.support.worker import Wire

HELLO = b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


@contextmanager
def group(application: Any = hello, *, started: bool = True, **plan: Any) -> Iterator[ThreadGroup]:
    lingerer = Lingerer(silence=0.2, total=0.5)
    service = Service(
        WorkerPlan(**{"threads": 4, **plan}),
        "external",
        application=application,
        log=logging.getLogger("test"),
        lingerer=lingerer,
    )
    one = ThreadGroup(service)
    lingerer.start()
    if started:
        one.start()
    yield one
    if started:
        one.stop()
        one.abort()
    else:
        for connection in list(service.connections.values()):
            connection.close()
        service.epoll.close()
    lingerer.stop()


def connect(one: ThreadGroup) -> tuple[Wire, Connection]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), timeout=5)
        theirs, _ = listener.accept()
    prepare(theirs)
    connection = Connection(one.service, theirs, {}, "unix", time.monotonic())
    one.add(connection)
    return Wire(ours), connection


def test_a_connection_is_served_and_put_back() -> None:
    with group() as one:
        wire, connection = connect(one)
        with wire:
            for _ in range(3):
                wire.send(HELLO)
                assert wire.answer().body == b"hello"
            eventually(lambda: one.waiting.get(connection.fd) is connection)
            assert list(one.service.connections) == [connection.fd]
        eventually(lambda: not one.service.connections and not one.waiting)


def test_every_thread_serves() -> None:
    barrier = threading.Barrier(4)

    def meet(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        barrier.wait(5)
        return hello(environ, start_response)

    with group(meet) as one:
        wires = [connect(one)[0] for _ in range(4)]
        for wire in wires:
            wire.send(HELLO)
        assert [wire.answer().body for wire in wires] == [b"hello"] * 4
        for wire in wires:
            wire.sock.close()


def test_what_fails_in_a_connection_costs_that_connection_and_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "respond", lambda *_: 1 / 0)
    with group() as one:
        for _ in range(6):  # more often than there are threads
            wire, _ = connect(one)
            wire.send(HELLO)
            wire._until_end()
            wire.sock.close()
        monkeypatch.undo()
        wire, _ = connect(one)
        with wire:
            wire.send(HELLO)
            assert wire.answer().body == b"hello"
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError] * 6


def test_connections_without_a_thread_are_refused_in_the_order_they_came() -> None:
    with group(started=False, backlog_wait=5.0) as one:
        pairs = [connect(one) for _ in range(3)]
        for number, (wire, _) in enumerate(pairs):
            one.refuse_overdue(100.0 + number)  # nothing is ready yet, or those before
            wire.send(HELLO)
        now = max(connection.since for _, connection in pairs) + 1
        one.refuse_overdue(now)
        assert all(connection.ready_since for _, connection in pairs)
        pairs[1][1].ready_since = now + 2  # it came later
        one.refuse_overdue(now + 6)
        assert list(one.waiting) == [pairs[1][1].fd]
        for number in (0, 2):
            assert pairs[number][0].answer().status == 503
        assert pairs[1][0].silent(0)
        one.refuse_overdue(now + 7.1)
        assert pairs[1][0].answer().status == 503
        for wire, _ in pairs:
            wire.sock.close()


def test_looking_for_the_overdue_takes_nothing_from_the_threads() -> None:
    with group(backlog_wait=60.0) as one:
        stop = threading.Event()

        def look() -> None:
            while not stop.is_set():
                one.refuse_overdue(time.monotonic())

        thread = threading.Thread(target=look)
        thread.start()
        wires = [connect(one)[0] for _ in range(8)]
        for _ in range(50):
            for wire in wires:
                wire.send(HELLO)
            assert [wire.answer().body for wire in wires] == [b"hello"] * 8
        stop.set()
        thread.join()
        for wire in wires:
            wire.sock.close()


def test_a_connection_that_was_served_meanwhile_is_not_overdue() -> None:
    with group(started=False, backlog_wait=1.0) as one:
        wire, connection = connect(one)
        with wire:
            wire.send(HELLO)
            one.refuse_overdue(connection.since + 1)
            connection.since += 10  # a thread had it and put it back
            one.refuse_overdue(connection.since + 5)
            assert wire.silent(0)
            assert connection.ready_since == connection.since + 5


def test_who_left_while_waiting_is_closed_without_a_word() -> None:
    with group(started=False, backlog_wait=1.0) as one:
        wire, connection = connect(one)
        wire.sock.shutdown(socket.SHUT_WR)
        one.refuse_overdue(connection.since + 1)
        one.refuse_overdue(connection.since + 3)
        assert wire.ended() == "closed"
        wire.sock.close()


@pytest.mark.parametrize("unread", [False, True])
def test_a_late_connection_is_let_go_unless_its_bytes_wait_for_a_thread(unread: bool) -> None:
    with group(started=False, request_head_timeout=1.0) as one:
        wire, connection = connect(one)
        with wire:
            one.sweep(connection.deadline - 0.1)
            assert one.waiting
            if unread:
                wire.send(HELLO)
            one.sweep(connection.deadline)
            assert bool(one.waiting) is unread
            if not unread:
                assert wire.ended() == "closed"


def test_idle_connections_have_less_time_when_the_worker_leaves() -> None:
    with group(started=False) as one:
        wire, connection = connect(one)
        begun, half = connect(one)
        half.buf = b"GET"
        with wire, begun:
            one.sweep(connection.since + 2.0, idle_until=connection.since + 2.1)
            assert len(one.waiting) == 2
            one.sweep(connection.since + 2.2, idle_until=connection.since + 2.1)
            assert list(one.waiting.values()) == [half]


def test_a_descriptor_that_changed_hands_is_not_taken_for_the_old_connection() -> None:
    with group(started=False) as one:
        wire, connection = connect(one)
        newer = Connection(one.service, connection.sock, {}, "unix", time.monotonic())
        one.waiting[connection.fd] = newer
        with wire:
            assert not one._claim(connection)
            assert one.waiting == {connection.fd: newer}
            assert one._claim(newer)
            assert not one.waiting


def test_many_short_connections_over_few_descriptors_lose_nothing() -> None:
    """Descriptors are reused at once while threads, sweep and the look for the overdue run."""
    errors: list[BaseException] = []

    def client(one: ThreadGroup) -> None:
        try:
            for number in range(150):
                wire, _ = connect(one)
                with wire:
                    wire.send(HELLO if number % 2 else HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                    assert wire.answer().body == b"hello"
        except BaseException as error:
            errors.append(error)

    with group(backlog_wait=60.0) as one:
        threads = [threading.Thread(target=client, args=(one,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            one.sweep(time.monotonic())
            one.refuse_overdue(time.monotonic())
        eventually(lambda: not one.service.connections and not one.waiting)
    assert not errors


def test_a_busy_thread_lets_the_others_run_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(groups, "sleep", rests.append)
    with group(threads=1) as one:
        wire, _ = connect(one)
        with wire:
            for _ in range(40):
                wire.send(HELLO)
                assert wire.answer().body == b"hello"
        eventually(lambda: not one.service.connections)
    assert len(rests) == 2


class CountingSocket:
    """Gives one request, then nothing; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def fileno(self) -> int:
        return 0

    def recv(self, size: int) -> bytes:
        self.asked += 1
        if self.asked == 1:
            return HELLO
        raise BlockingIOError

    def send(self, data: bytes) -> int:
        return len(data)


@pytest.mark.parametrize(("connections", "asked"), [(2, 2), (3, 1)])
def test_a_thread_waits_on_its_connection_only_while_they_are_few(connections: int, asked: int) -> None:
    """Asked again, the socket waits for PARK; not asked again, the thread is free for others."""
    with group(threads=4, started=False) as one:
        wires = [connect(one)[0] for _ in range(connections)]
        sock = CountingSocket()
        assert Connection(one.service, sock, {}, "unix", 0.0).serve() == READABLE  # type: ignore[arg-type]
        assert sock.asked == asked
        for wire in wires:
            wire.sock.close()


@pytest.mark.parametrize(("rest", "events"), [(b"", READABLE), (HELLO, AGAIN), (b"GET /", READABLE)])
def test_a_request_that_was_received_already_queues_behind_the_others(rest: bytes, events: int) -> None:
    with group(threads=1, started=False) as one:
        wire, connection = connect(one)
        with wire:
            wire.send(HELLO + rest)
            assert connection.serve() == events
            assert connection.buf == rest
            left = connection.deadline - time.monotonic()
            assert {b"": 60 < left < 76, HELLO: left == float("inf"), b"GET /": 5 < left < 11}[rest]


def test_stopping_resets_what_is_open() -> None:
    gate = threading.Event()

    def wait(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        gate.wait(5)
        yield b"never seen whole"

    with group(wait) as one:
        wire, _ = connect(one)
        wire.send(b"GET / HTTP/1.0\r\n\r\n")
        wire.head()
        one.stop(patience=0.1)
        one.abort()
        gate.set()
        eventually(lambda: not one.service.connections)
        assert wire._until_end()
        wire.sock.close()


# --- making way for the next generation
@contextmanager
def making_way(one: ThreadGroup) -> Iterator[Handover]:
    handover = Handover()
    one.service.closing = float("inf")
    one.service.handover = handover
    try:
        yield handover
    finally:
        one.service.handover = None
        handover.close()


def received(handover: Handover, count: int) -> list[bytes]:
    """What arrived with the next connections."""
    found = []
    for _ in range(count):
        moved = eventually(handover.take)
        moved.sock.close()
        found.append(moved.received)
    assert handover.take() is None
    return found


@pytest.mark.parametrize("ended", [False, True])
def test_what_fails_in_a_thread_that_the_worker_ends_under_is_no_news(
    ended: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its application is closed meanwhile, so that anything may fail."""
    closes, aborted = threading.Event(), threading.Event()

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"begun"
            aborted.wait(5)
            yield b"x" * 10

        def close(self) -> None:
            closes.set()
            raise ValueError("it is closed already")

    def streams(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "1000")])
        return Body()

    with group(streams) as one:
        wire, _ = connect(one)
        with wire:
            wire.send(HELLO)
            eventually(lambda: not one.waiting and one.service.connections)
            time.sleep(0.05)  # until it is in its body
            if ended:
                one.stop(patience=0.0)
                one.abort()
            aborted.set()
            assert closes.wait(5)
    assert any("Error handling" in record.getMessage() for record in caplog.records) is not ended


def test_connections_that_no_thread_holds_move_with_what_was_received() -> None:
    with group() as one:
        wires = [connect(one) for _ in range(3)]
        wires[2][0].send("GET / HT")
        eventually(lambda: one.waiting.get(wires[2][1].fd) is wires[2][1] and wires[2][1].buf)
        with making_way(one) as handover:
            one.hand_over()
            assert not one.waiting
            assert not one.service.connections
            for wire, _ in wires:
                assert wire.silent(0.05)  # neither answered nor closed
            assert sorted(received(handover, 3)) == [b"", b"", b"GET / HT"]
        for wire, _ in wires:
            wire.sock.close()


def test_a_request_that_comes_while_making_way_moves_unanswered() -> None:
    served: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        served.append("here")
        return hello(environ, start_response)

    with group(application) as one:
        wire, _ = connect(one)
        with wire, making_way(one) as handover:
            wire.send(HELLO + b"GET /ne")
            assert received(handover, 1) == [HELLO + b"GET /ne"]
    assert served == []


def test_a_connection_moves_once_the_answer_on_it_is_complete() -> None:
    begun, gate = threading.Event(), threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "10")])

        def pieces() -> Iterator[bytes]:
            yield b"first"
            begun.set()
            gate.wait(5)
            yield b"later"

        return pieces()

    with group(application) as one:
        wire, _ = connect(one)
        with wire:
            wire.send(HELLO)
            assert begun.wait(5)
            with making_way(one) as handover:
                one.hand_over()
                assert handover.take() is None
                gate.set()
                assert wire.answer().body == b"firstlater"
                wire.send(HELLO)
                assert received(handover, 1) == [HELLO]


def test_what_cannot_move_is_answered_here_and_ended() -> None:
    with group() as one:
        wire, _ = connect(one)
        with wire, making_way(one) as handover:
            handover.close()  # as good as full
            one.hand_over()
            assert len(one.waiting) == 1
            wire.send(HELLO)
            assert wire.answer().value("Connection") == "close"
