from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.server.linger import Lingerer
from tests.support.process import eventually


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end and the server's, of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=5)
        server, _ = listener.accept()
    yield client, server
    client.close()
    server.close()


@pytest.fixture
def lingerer() -> Iterator[Lingerer]:
    one = Lingerer(silence=0.2, total=0.5, room=1)
    one.start()
    yield one
    one.stop()


def hand_over(lingerer: Lingerer, server: socket.socket) -> None:
    server.sendall(b"answer")
    server.shutdown(socket.SHUT_WR)
    lingerer.take(server)


def test_the_answer_is_read_by_a_client_that_still_sends(
    pair: tuple[socket.socket, socket.socket], lingerer: Lingerer
) -> None:
    client, server = pair
    client.sendall(b"x" * 100_000)
    hand_over(lingerer, server)
    for _ in range(10):
        client.sendall(b"x" * 100_000)
    assert client.recv(100) == b"answer"
    assert client.recv(100) == b""
    client.close()
    eventually(lambda: len(lingerer) == 0)


def test_a_silent_client_is_closed(pair: tuple[socket.socket, socket.socket], lingerer: Lingerer) -> None:
    hand_over(lingerer, pair[1])
    assert len(lingerer) == 1
    eventually(lambda: len(lingerer) == 0, 2)


def test_a_client_that_never_stops_is_cut(pair: tuple[socket.socket, socket.socket], lingerer: Lingerer) -> None:
    client, server = pair
    hand_over(lingerer, server)
    with pytest.raises(OSError):
        while True:
            client.sendall(b"x" * 1000)
    eventually(lambda: len(lingerer) == 0)


def test_there_is_room_for_so_many_and_no_more(pair: tuple[socket.socket, socket.socket], lingerer: Lingerer) -> None:
    hand_over(lingerer, pair[1])
    one, two = socket.socketpair()
    with two:
        lingerer.take(one)
        two.settimeout(0.15)
        assert two.recv(1) == b""
    assert one.fileno() == -1


def test_stopping_closes_what_is_left(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    one = Lingerer(silence=60, total=60)
    one.start()
    hand_over(one, server)
    one.stop()
    assert client.recv(100) == b"answer"
    assert len(one) == 0
    client.settimeout(1)
    with pytest.raises(OSError):
        while True:
            client.sendall(b"x")


def test_one_that_was_never_started_can_be_stopped() -> None:
    Lingerer().stop()
