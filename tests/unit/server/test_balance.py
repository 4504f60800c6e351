from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from gateway.server.balance import PRECEDENCE, Balance


class Time:
    """A clock that sleeping moves; `then` happens during the sleep number `at`."""

    def __init__(self, at: int = 0, then: Callable[[], None] = lambda: None) -> None:
        self.now = 100.0
        self.sleeps = 0
        self._at = at
        self._then = then

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1
        if self.sleeps == self._at:
            self._then()


def balance(others: Sequence[int], time: Time) -> Balance:
    return Balance(lambda: others, clock=time.clock, sleep=time.sleep)


def waited(one: Balance, time: Time, mine: int) -> bool:
    before = time.sleeps
    one.give_precedence(mine)
    return time.sleeps > before


def test_a_worker_alone_never_waits() -> None:
    time = Time()
    assert not waited(balance([], time), time, 1000)


def test_a_worker_with_as_many_or_fewer_does_not_wait() -> None:
    time = Time()
    one = balance([5, 7], time)
    assert not waited(one, time, 5)
    assert not waited(one, time, 0)


def test_a_worker_with_more_waits_a_bounded_moment() -> None:
    time = Time()
    one = balance([5, 3], time)
    one.give_precedence(4)
    assert PRECEDENCE <= time.now - 100.0 < 2 * PRECEDENCE


def test_an_eighth_more_is_even_enough() -> None:
    time = Time()
    one = balance([64], time)
    assert not waited(one, time, 72)
    assert waited(one, time, 73)


def test_waiting_ends_as_soon_as_another_took_it() -> None:
    others = [3]
    time = Time(at=1, then=lambda: others.append(9) or others.remove(3))  # type: ignore[func-returns-value]
    balance(others, time).give_precedence(4)
    assert time.sleeps == 1


def test_waiting_in_vain_becomes_rare() -> None:
    time = Time()
    one = balance([0], time)
    pattern = [waited(one, time, 1) for _ in range(15)]
    assert pattern == [True, True, False, True, *[False] * 3, True, *[False] * 7]
    assert sum(waited(one, time, 1) for _ in range(1000)) < 20


def test_it_becomes_frequent_again_once_another_takes_its_turn() -> None:
    others = [0]
    time = Time()
    one = balance(others, time)
    for _ in range(8):
        one.give_precedence(1)
    time._at, time._then = time.sleeps + 1, lambda: others.__setitem__(0, 1)
    for _ in range(8):
        one.give_precedence(1)
    others[0] = 0
    assert [waited(one, time, 1) for _ in range(2)] == [True, True]


# --- shedding
def test_connections_over_the_share_are_shed() -> None:
    one = balance([2, 6], Time())
    assert one.excess(13, 100.0) == 6


@pytest.mark.parametrize(
    ("mine", "others", "excess"),
    [
        (9, [7], 0),
        (10, [6], 2),
        (120, [100], 0),
        (124, [100], 12),
        (6, [12], 0),
        (1000, [], 0),
        (2, [0], 0),
        (3, [0], 1),
    ],
)
def test_a_small_difference_is_even_enough(mine: int, others: list[int], excess: int) -> None:
    assert balance(others, Time()).excess(mine, 100.0) == excess


def test_shedding_is_decided_at_intervals() -> None:
    one = balance([0], Time())
    assert one.excess(10, 100.0) == 5
    assert one.excess(10, 100.4) is None
    assert one.excess(7, 100.5) == 3


def test_shedding_in_vain_becomes_rare() -> None:
    one = balance([0], Time())
    sheddings = [second for second in range(1000) if one.excess(10, float(second))]
    assert len(sheddings) < 25
    assert sheddings[-1] - sheddings[-2] >= 60


def test_shedding_becomes_frequent_again_once_it_helps() -> None:
    others = [0]
    one = balance(others, Time())
    for second in range(100, 200):
        one.excess(10, float(second))
    others[0] = 10
    assert one.excess(10, 300.0) == 0
    others[0] = 0
    assert one.excess(10, 300.6) == 5
