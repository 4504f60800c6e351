from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from gateway.server.handover import Handover, Moved


@pytest.fixture
def handover() -> Iterator[Handover]:
    made = Handover()
    yield made
    made.close()


def test_a_connection_arrives_with_all_that_was_sent_on_it_and_the_index_of_its_listener(handover: Handover):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b" / HTTP/1.1\r\n")
        assert handover.give(Moved(ours, 3, b"GET"))
        ours.close()
        taken = handover.take()
        assert taken is not None
        with taken.sock as connection:
            assert (taken.listener, taken.received) == (3, b"GET")
            assert connection.recv(100) == b" / HTTP/1.1\r\n"
            connection.sendall(b"answer")
            assert theirs.recv(100) == b"answer"


def test_nothing_waits_at_first(handover: Handover):
    assert handover.take() is None


def test_each_connection_is_taken_once_in_the_order_of_giving(handover: Handover):
    pairs = [socket.socketpair() for _ in range(5)]
    for index, (ours, _) in enumerate(pairs):
        assert handover.give(Moved(ours, index, b""))
        ours.close()
    taken = [handover.take() for _ in range(6)]
    assert [one and one.listener for one in taken] == [0, 1, 2, 3, 4, None]
    for one in taken:
        if one is not None:
            one.sock.close()
    for _, theirs in pairs:
        theirs.close()


def test_a_full_queue_refuses_and_keeps_what_it_has(handover: Handover):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        given = 0
        while given < 100_000 and handover.give(Moved(ours, 0, b"")):
            given += 1
        assert 0 < given < 100_000
        took = 0
        while (taken := handover.take()) is not None:
            taken.sock.close()
            took += 1
        assert took == given
        assert handover.give(Moved(ours, 0, b""))


def test_a_child_of_a_fork_takes_what_another_process_gave(handover: Handover):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert handover.give(Moved(ours, 0, b""))
        child = os.fork()
        if child == 0:
            taken = handover.take()
            code = 1
            if taken is not None:
                taken.sock.sendall(b"from the child")
                code = 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert theirs.recv(100) == b"from the child"
        assert handover.take() is None


def test_the_most_that_a_worker_has_received_of_a_request_moves(handover: Handover):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert handover.give(Moved(ours, 0, b"x" * 64 * 1024))
        taken = handover.take()
        assert taken is not None
        taken.sock.close()
        assert taken.received == b"x" * 64 * 1024
