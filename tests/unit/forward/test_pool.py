"""The pool: which connection a request gets, and how many there may be."""

from __future__ import annotations

import threading

import pytest

from gateway.forward.pool import Pool


class Idle:
    """A connection as far as the pool looks at it."""

    def __init__(self, stale=False):
        self.stale = stale
        self.looked_at = 0
        self.closed = False
        self.reused = self.answered = False
        self.used_at = 0.0

    def is_stale(self):
        self.looked_at += 1
        return self.stale

    def close(self):
        self.closed = True


def filled(*connections, limit=64, at=100.0):
    """A pool to which these connections were given back, one a second; the last at `at`."""
    pool = Pool(limit, lambda: at)
    for number, connection in enumerate(connections):
        assert pool.reserve()
        pool.put(connection, at - len(connections) + 1 + number)
    return pool


def test_the_connection_used_last_is_taken_first():
    first, second = Idle(), Idle()
    pool = filled(first, second)
    assert pool.take(100.0, 60, True) is second
    assert pool.take(100.0, 60, True) is first
    assert pool.take(100.0, 60, True) is None


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("now", [100.0, 100.9])
def test_a_connection_is_looked_at_before_it_is_used(now, repeatable):
    connection = Idle()
    assert filled(connection).take(now, 60, repeatable) is connection
    assert connection.looked_at == 1
    assert connection.reused


def test_stale_connections_are_closed_and_the_next_is_taken():
    good, stale, staler = Idle(), Idle(stale=True), Idle(stale=True)
    pool = filled(good, stale, staler)
    assert pool.take(101.0, 60, True) is good
    assert stale.closed and staler.closed and not good.closed
    assert repr(pool) == "Pool(1 of 64 connections, 0 idle)"


def test_connections_idle_too_long_are_closed():
    old, new = Idle(), Idle()
    pool = filled(old, new)
    assert pool.take(160.5, 60, True) is None
    assert old.closed and new.closed


def test_what_must_not_be_sent_twice_takes_none_idle_over_a_second():
    connection = Idle()
    pool = filled(connection)
    assert pool.take(101.1, 60, False) is None
    assert not connection.closed
    assert pool.take(101.1, 60, True) is connection


def test_places_are_limited():
    pool = Pool(2, lambda: 0.0)
    assert [pool.reserve() for _ in range(3)] == [True, True, False]
    pool.cancel()
    assert pool.reserve()


def test_an_idle_connection_makes_place_for_one_that_is_needed():
    oldest, newest = Idle(), Idle()
    pool = filled(oldest, newest, limit=2)
    assert pool.reserve()
    assert oldest.closed and not newest.closed
    assert repr(pool) == "Pool(2 of 2 connections, 1 idle)"


def test_waiting_ends_with_a_connection_given_back_or_a_place_made_free():
    for release in (lambda pool: pool.put(Idle(), 0.0), lambda pool: pool.discard(Idle())):
        pool = Pool(1, lambda: 0.0)
        assert pool.reserve()
        assert not pool.wait(0.0)
        woken = []
        thread = threading.Thread(target=lambda pool=pool, woken=woken: woken.append(pool.wait(30.0)))
        thread.start()
        release(pool)
        thread.join(10)
        assert woken == [True]


def test_the_sweep_closes_what_is_idle_too_long_and_nothing_else():
    old, new = Idle(), Idle()
    pool = filled(old, new, at=100.0)
    pool.sweep(159.5, 60)
    assert old.closed and not new.closed
    pool.sweep(159.5, 60)
    assert pool.take(159.5, 60, True) is new


def test_a_closed_pool_keeps_nothing():
    idle, used = Idle(), Idle()
    pool = filled(used, idle)
    assert pool.take(100.0, 60, True) is idle
    pool.close()
    assert used.closed and not idle.closed
    pool.put(idle, 100.0)
    assert idle.closed
    assert repr(pool) == "Pool(0 of 64 connections, 0 idle)"


def test_many_threads_never_hold_more_than_the_limit():
    pool = Pool(3, lambda: 0.0)
    held = []
    most = []

    def work():
        for _ in range(200):
            connection = None
            while connection is None:
                connection = pool.take(0.0, 60, True)
                if connection is None and pool.reserve():
                    connection = Idle()
                elif connection is None:
                    assert pool.wait(10)
            held.append(connection)
            most.append(len(held))
            held.remove(connection)
            if connection.reused:
                pool.discard(connection)
            else:
                pool.put(connection, 0.0)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert max(most) <= 3
    pool.close()
    assert repr(pool) == "Pool(0 of 3 connections, 0 idle)"
