"""A request on its way beside its answer, over a connection whose other end is in the test's hands."""

from __future__ import annotations

import random
import select
import socket
import threading
import time

import pytest

from gateway.errors import ClientGone
from gateway.forward.answers import Head
from gateway.forward.connection import Connection
from gateway.forward.sending import NOTHING, Sending
from gateway.forward.upload import PIECE, Upload
from tests.support.timing import ends_after

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Backend:
    """The other end: TCP over loopback, where what was sent is there at once."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.connection = Connection(socket.create_connection(listener.getsockname()))
            self.sock, _ = listener.accept()
        self.send = self.sock.sendall

    def took(self):
        """All that was sent to it so far."""
        data = b""
        self.sock.settimeout(0.05)
        try:
            while more := self.sock.recv(2**20):
                data += more
        except TimeoutError:
            pass
        return data


class Client:
    """wsgi.input over a socket, which the test holds the other end of."""

    def __init__(self):
        self.ours, self.sock = socket.socketpair()
        self.send = self.sock.sendall

    def read1(self, size):
        return self.ours.recv(size)

    read = None

    def wait(self, other):
        poll = select.poll()
        poll.register(self.ours, select.POLLIN)
        poll.register(other, select.POLLIN)
        return any(fd == self.ours.fileno() for fd, _ in poll.poll(10_000))


@pytest.fixture
def backend():
    made = Backend()
    yield made
    made.connection.close()
    made.sock.close()


@pytest.fixture
def client():
    made = Client()
    yield made
    made.ours.close()
    made.sock.close()


def begun(backend, body, length, timeout=10.0):
    """An upload whose answer has begun."""
    sending = Sending(backend.connection, Upload(body, length), timeout, time.monotonic)
    backend.send(HEAD)
    sending.until_answer(time.monotonic() + 10)
    assert backend.connection.head(time.monotonic() + 10).status == 200
    return sending


def test_what_was_read_when_the_answer_began_is_not_lost(backend, client):
    client.send(b"hello")
    sending = begun(backend, client, 10)
    assert not sending.whole
    backend.send(b"x")
    assert sending.receive() == b"x"
    assert backend.took() == b"hello"
    client.send(b"world")
    backend.send(b"y")
    assert sending.receive() == b"y"
    assert backend.took() == b"world"
    assert sending.whole


def test_what_a_backend_does_not_take_goes_on_where_it_stopped(backend):
    size = 30_000_000
    data = random.Random(1).randbytes(size)
    sending = Sending(backend.connection, NOTHING, 10.0, time.monotonic, memoryview(data))
    assert not sending.whole
    took = []

    def take():
        left = size
        while left:
            took.append(backend.sock.recv(2**20))
            left -= len(took[-1])
        backend.send(b"done")

    backend.send(b"begin")
    assert sending.receive() == b"begin"
    thread = threading.Thread(target=take)
    thread.start()
    assert sending.receive() == b"done"
    thread.join()
    assert (b"".join(took), sending.whole) == (data, True)


def test_chunks_end_with_the_clients_end(backend, client):
    client.send(b"hello")
    sending = begun(backend, client, None)
    for data, sent in ((b"world!", b"5\r\nhello\r\n6\r\nworld!\r\n"), (b"?", b"1\r\n?\r\n")):
        client.send(data)
        backend.send(b"x")
        if data == b"world!":
            assert sending.receive() == b"x"
            backend.send(b"x")
        assert sending.receive() == b"x"
        assert backend.took() == sent
        assert not sending.whole
    client.sock.close()  # here the end of the chunks
    backend.send(b"x")
    assert sending.receive() == b"x"
    assert sending.whole
    assert backend.took() == b"0\r\n\r\n"


def test_a_backend_that_always_has_something_to_say_gets_the_request_all_the_same(backend, client):
    client.send(bytes(100_000))
    sending = begun(backend, client, 100_000)
    backend.send(b"x" * 1_000_000)
    received = 0
    while not sending.whole:
        received += len(sending.receive())
    assert received < 1_000_000
    assert backend.took() == bytes(100_000)


def test_a_client_that_breaks_off_is_raised(backend, client):
    client.send(b"hello")
    sending = begun(backend, client, 10)
    client.sock.close()
    backend.send(b"x")
    with pytest.raises(ClientGone):
        while True:
            sending.receive()
    assert backend.took() == b"hello"
    assert not sending.whole


def test_a_backend_that_takes_no_more_may_answer_to_its_end(backend, client):
    client.send(b"hello")
    sending = begun(backend, client, 10**9)
    backend.send(b"the end")
    backend.sock.close()
    client.send(bytes(100_000))
    received = b""
    while data := sending.receive():
        received += data
        client.send(bytes(100_000))
    assert received == b"the end"
    assert not sending.whole


@pytest.mark.parametrize("size", [PIECE, 50_000_000])
def test_a_backend_that_stands_still_has_the_timeout(backend, size):
    sending = Sending(backend.connection, NOTHING, 0.2, time.monotonic, memoryview(bytes(size)))
    with ends_after(0.2), pytest.raises(TimeoutError):
        sending.receive()


def test_while_the_client_is_waited_for_the_backend_has_time(backend, client):
    client.send(b"hello")
    sending = begun(backend, client, 10, timeout=0.1)
    timer = threading.Timer(0.4, backend.send, (b"late",))
    timer.start()
    assert sending.receive() == b"late"
    timer.join()


@pytest.mark.parametrize(
    "status, length, chunked, goes_on",
    [
        (200, None, True, True),
        (201, 5, False, True),
        (299, 0, False, True),
        (200, None, False, False),
        (302, 5, False, False),
        (403, None, True, False),
        (500, 5, False, False),
    ],
)
def test_which_answers_let_an_upload_go_on(backend, status, length, chunked, goes_on):
    sending = Sending(backend.connection, NOTHING, 1.0, time.monotonic, b"rest")
    head = Head(status, "", [], length, chunked, True)
    assert sending.goes_on(head) is goes_on
    backend.connection.broken = True
    assert not sending.goes_on(head)
