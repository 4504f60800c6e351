"""A connection to an instance, its other end in the test's hands."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from gateway.errors import AnswerTooLarge, BadAnswer
from gateway.forward.connection import Closed, Connection
from tests.support.timing import ends_after

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@pytest.fixture
def ends():
    """(the connection, the backend's socket): TCP over loopback, where what was sent is there at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        backend, _ = listener.accept()
    connection = Connection(sock)
    yield connection, backend
    connection.close()
    backend.close()


def soon(seconds=10.0):
    return time.monotonic() + seconds


def reset(backend):
    backend.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    backend.close()


def test_the_head_is_taken_and_what_is_behind_it_left(ends):
    connection, backend = ends
    backend.send(HEAD + b"ok")
    assert connection.head(soon()).status == 200
    assert connection.buffer == b"ok"
    assert connection.answered


def test_interim_heads_are_skipped_also_in_the_buffer(ends):
    connection, backend = ends
    connection.buffer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early"
    backend.send(b" Hints\r\n\r\n" + HEAD)
    assert connection.head(soon()).status == 200


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_an_end_before_the_head_is_told(ends, sent):
    connection, backend = ends
    backend.send(sent)
    backend.close()
    with pytest.raises(Closed):
        connection.head(soon())
    assert connection.answered is bool(sent)


def test_what_does_not_begin_like_an_answer_is_not_waited_for(ends):
    connection, backend = ends
    backend.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    with pytest.raises(BadAnswer):
        connection.head(soon())


def test_a_head_without_end_is_too_large(ends):
    connection, _ = ends
    connection.buffer = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 65536
    with pytest.raises(AnswerTooLarge):
        connection.head(soon())


def test_a_limit_that_is_over_or_runs_out_is_told(ends):
    connection, _ = ends
    for seconds in (-1.0, 0.05, 0.3, 0.1):
        with ends_after(max(seconds, 0)), pytest.raises(TimeoutError):
            connection.receive(soon(seconds))


def test_a_longer_limit_after_a_shorter_one_is_waited_for(ends):
    connection, _ = ends
    with pytest.raises(TimeoutError):
        connection.receive(soon(0.01))
    with ends_after(0.3), pytest.raises(TimeoutError):
        connection.receive(soon(0.3))


def test_more_waits_a_moment_and_no_longer(ends):
    connection, backend = ends
    assert connection.more(0) is None
    assert connection.more(0.01) is None
    backend.send(b"x")
    assert connection.more(0.01) == b"x"
    backend.close()
    assert connection.more(0.01) == b""


def test_an_idle_connection_is_stale_when_it_ended_or_spoke(ends):
    connection, backend = ends
    assert not connection.is_stale()
    backend.send(b"x")
    assert connection.is_stale()
    connection.receive(soon())
    assert not connection.is_stale()
    backend.close()
    assert connection.is_stale()


def test_a_connection_that_was_reset_is_stale(ends):
    connection, backend = ends
    reset(backend)
    assert connection.is_stale()


def test_a_send_that_is_not_taken_ends_at_its_limit(ends):
    connection, _ = ends
    with ends_after(0.2), pytest.raises(TimeoutError):
        connection.send(bytes(50_000_000), soon(0.2))


def test_a_send_stops_when_the_answer_begins(ends):
    connection, backend = ends
    backend.send(HEAD)
    assert 0 < len(connection.send(bytes(50_000_000), soon())) < 50_000_000
    assert connection.head(soon()).status == 200


def test_an_answer_behind_which_the_connection_was_reset_is_found_but_its_end_not_trusted(ends):
    connection, backend = ends
    connection.send(b"x", soon())
    backend.send(HEAD)
    reset(backend)
    assert connection.send(b"y", soon()) == b"y"
    assert connection.broken
    assert connection.head(soon()).status == 200


def test_a_send_to_a_connection_that_was_reset_is_told(ends):
    connection, backend = ends
    reset(backend)
    with pytest.raises(ConnectionError):
        connection.send(b"x", soon())


@pytest.mark.parametrize(
    "sent, begins",
    [
        (b"HTTP/1.1 ", False),
        (b"HTTP/1.1 1", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2", True),
        (b"HTTP/1.1 2", True),
        (b"HTTP/1.0 401 X", True),
        (b"220 mail.test\r\n", True),
    ],
)
def test_whether_a_final_answer_begins(ends, sent, begins):
    connection, backend = ends
    assert connection.answer_begins() is False
    backend.send(sent)
    assert connection.answer_begins() is begins
    assert connection.answer_begins() is begins
    assert connection.buffer == sent
