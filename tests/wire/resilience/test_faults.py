"""The fault-injection backend does what the other tests here rely on it to do, seen through a plain socket."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.faults import (
    GARBAGE,
    HANG,
    OK,
    REFUSE,
    FaultBackend,
    Stage,
    answer,
    drip,
    reset,
    truncated,
)
from tests.support.wire import eventually, request

pytestmark = pytest.mark.xdist_group("resilience-faults")

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"


@pytest.fixture(scope="module")
def process() -> Iterator[FaultBackend]:
    with FaultBackend("a") as started:
        yield started


@pytest.fixture
def backend(process: FaultBackend) -> FaultBackend:
    process.behave(OK)
    process.release()
    process.drop()
    process.wait_for(in_flight=0)
    process.forget()
    return process


@contextlib.contextmanager
def connection(backend: FaultBackend) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", backend.port), timeout=5) as sock:
        yield sock


def to_the_end(sock: socket.socket) -> tuple[bytes, str]:
    """What comes, and how it ends: fin or reset."""
    data = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return data, "reset"
        if not piece:
            return data, "fin"
        data += piece


def status(backend: FaultBackend) -> int:
    return request(backend.port, "GET", "/x").status


def test_an_answer_tells_what_arrived_and_the_tally_counts_it(backend: FaultBackend):
    body = b"\0\xff" * 5000
    reply = request(backend.port, "PUT", "/a?b=c", headers={"X-Some": "value"}, body=body)
    told = reply.json()
    assert (reply.status, reply.header("X-Instance")) == (200, "a")
    assert (told["method"], told["target"], told["length"]) == ("PUT", "/a?b=c", 10_000)
    assert told["sha256"] == hashlib.sha256(body).hexdigest()
    assert ["X-Some", "value"] in told["headers"]
    (seen,) = backend.seen()
    assert (seen.method, seen.target, seen.length, seen.ended) == ("PUT", "/a?b=c", 10_000, "whole")
    assert seen.values("x-some") == ["value"]
    assert 0 <= time.monotonic() - seen.at < 5
    assert backend.times() == [seen.at]
    tally = backend.tally()
    assert (tally.total, tally.in_flight, tally.most_in_flight, tally.connections) == (1, 0, 1, 1)


def test_a_script_goes_on_over_all_connections_and_its_last_step_stays(backend: FaultBackend):
    backend.behave(answer(503), answer(503), answer(503), OK)
    assert [status(backend) for _ in range(6)] == [503, 503, 503, 200, 200, 200]


def test_a_connection_is_kept_and_can_be_dropped(backend: FaultBackend):
    with connection(backend) as sock:
        for _ in range(2):
            sock.sendall(GET)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        backend.drop()
        assert to_the_end(sock) == (b"", "fin")
    assert (backend.tally().total, backend.tally().connections) == (2, 1)


def test_refusing_ends_what_is_connected_and_returns_on_the_same_port(backend: FaultBackend):
    for _ in range(3):
        with connection(backend) as sock:
            sock.sendall(GET)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
            backend.behave(REFUSE)
            assert to_the_end(sock)[0] == b""
        with pytest.raises(ConnectionRefusedError), connection(backend):
            pass
        backend.behave(OK)
        assert status(backend) == 200
    assert backend.total == 6


def test_a_reset_of_a_new_connection(backend: FaultBackend):
    backend.behave(reset("accept"), OK)
    with contextlib.suppress(ConnectionResetError), connection(backend) as sock:  # it may overtake the connect
        assert to_the_end(sock) == (b"", "reset")
    assert backend.tally().total == 0
    assert status(backend) == 200
    assert backend.tally().connections == 2


@pytest.mark.parametrize(("stage", "sent"), [("head", POST), ("body", POST + b"12345")])
def test_a_reset_before_an_answer(backend: FaultBackend, stage: Stage, sent: bytes):
    backend.behave(reset(stage), OK)
    with connection(backend) as sock:
        sock.sendall(sent)
        assert to_the_end(sock) == (b"", "reset")
    assert backend.wait_for(in_flight=0).total == 1
    assert status(backend) == 200


def test_a_reset_of_connections_meets_those_that_are_kept(backend: FaultBackend):
    with connection(backend) as sock:
        sock.sendall(GET)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        backend.behave(reset("accept"))
        sock.sendall(GET)
        assert to_the_end(sock) == (b"", "reset")
    assert backend.total == 1


@pytest.mark.parametrize(("stage", "has_head"), [("answer_head", False), ("answer_body", True)])
def test_a_reset_within_the_answer(backend: FaultBackend, stage: Stage, has_head: bool):
    backend.behave(reset(stage))
    with connection(backend) as sock:
        sock.sendall(GET)
        data, end = to_the_end(sock)
    assert data.startswith(b"HTTP/1.1 200 ")
    assert (b"\r\n\r\n" in data, end) == (has_head, "reset")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_truncated_body(backend: FaultBackend, framing: str):
    backend.behave(truncated(framing, 700))  # type: ignore[arg-type]
    with connection(backend) as sock:
        sock.sendall(GET)
        data, end = to_the_end(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    assert end == "fin"
    if framing == "length":
        assert b"Content-Length: 1401" in head
        assert body == b"x" * 700
    else:
        assert body == b"2bc\r\n" + b"x" * 700 + b"\r\n"


def test_garbage(backend: FaultBackend):
    backend.behave(GARBAGE)
    with connection(backend) as sock:
        sock.sendall(GET)
        data, end = to_the_end(sock)
    assert data
    assert not data.startswith(b"HTTP/")
    assert end == "fin"


def test_an_answer_after_some_seconds(backend: FaultBackend):
    backend.behave(answer(201, after=0.3))
    began = time.monotonic()
    assert status(backend) == 201
    assert time.monotonic() - began >= 0.3


def test_a_body_drips(backend: FaultBackend):
    backend.behave(drip(1000, 0.4))
    began, pieces, data = time.monotonic(), 0, b""
    with connection(backend) as sock:
        sock.sendall(GET)
        while data.partition(b"\r\n\r\n")[2] != b"x" * 1000:
            data += sock.recv(65536)
            pieces += 1
    assert pieces > 2
    assert time.monotonic() - began >= 0.4


def test_those_that_hang_are_in_flight_until_released(backend: FaultBackend):
    backend.behave(HANG)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connection(backend)) for _ in range(3)]
        for sock in socks:
            sock.sendall(GET)
        assert backend.wait_for(total=3).most_in_flight == 3
        socks[0].close()
        assert backend.wait_for(in_flight=2).total == 3
        backend.behave(OK)
        assert status(backend) == 200
        assert backend.tally().in_flight == 2
        backend.release()
        for sock in socks[1:]:
            answered = sock.recv(65536)
            assert json.loads(answered.partition(b"\r\n\r\n")[2])["instance"] == "a"
        assert (backend.tally().in_flight, backend.tally().most_in_flight) == (0, 3)


def test_what_hangs_ends_when_the_backend_refuses(backend: FaultBackend):
    backend.behave(HANG)
    with connection(backend) as sock:
        sock.sendall(GET)
        backend.wait_for(in_flight=1)
        backend.behave(REFUSE)
        assert to_the_end(sock)[0] == b""
    assert backend.tally().in_flight == 0


def test_flapping_changes_by_itself_until_told_otherwise(backend: FaultBackend):
    def up() -> bool:
        try:
            return status(backend) == 200
        except OSError:
            return False

    backend.flap(0.2, OK, REFUSE)
    for expected in (True, False, True, False):
        eventually(lambda: up() is expected, 2.0, what="its turn")  # noqa: B023
    backend.behave(OK)
    assert all(up() for _ in range(5))
