from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from gateway.server.handover import Handover


@pytest.fixture
def handover() -> Iterator[Handover]:
    made = Handover()
    yield made
    made.close()


def test_a_connection_arrives_with_what_was_sent_on_it_and_the_index_of_its_listener(handover: Handover):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"GET / HTTP/1.1\r\n")
        assert handover.give(ours, 3)
        ours.close()
        taken = handover.take()
        assert taken is not None
        with taken[0] as connection:
            assert taken[1] == 3
            assert connection.recv(100) == b"GET / HTTP/1.1\r\n"
            connection.sendall(b"answer")
            assert theirs.recv(100) == b"answer"


def test_nothing_waits_at_first(handover: Handover):
    assert handover.take() is None


def test_each_connection_is_taken_once_in_the_order_of_giving(handover: Handover):
    pairs = [socket.socketpair() for _ in range(5)]
    for index, (ours, _) in enumerate(pairs):
        assert handover.give(ours, index)
        ours.close()
    taken = [handover.take() for _ in range(6)]
    assert [one and one[1] for one in taken] == [0, 1, 2, 3, 4, None]
    for one in taken:
        if one is not None:
            one[0].close()
    for _, theirs in pairs:
        theirs.close()


def test_a_full_queue_refuses_and_keeps_what_it_has(handover: Handover):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        given = 0
        while given < 100_000 and handover.give(ours, 0):
            given += 1
        assert 0 < given < 100_000
        took = 0
        while (taken := handover.take()) is not None:
            taken[0].close()
            took += 1
        assert took == given
        assert handover.give(ours, 0)


def test_a_child_of_a_fork_takes_what_another_process_gave(handover: Handover):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert handover.give(ours, 0)
        child = os.fork()
        if child == 0:
            taken = handover.take()
            code = 1
            if taken is not None:
                taken[0].sendall(b"from the child")
                code = 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert theirs.recv(100) == b"from the child"
        assert handover.take() is None
