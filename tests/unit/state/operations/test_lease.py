from __future__ import annotations

from typing import Any

from gateway.state.operations import Operation
from gateway.state.operations.lease import ACQUIRE, INITIAL, PLACES, RELEASE, RENEW, Grant


class Leases:
    def __init__(self) -> None:
        self.now, self.state = 1000.0, INITIAL

    def __call__(self, operation: Operation[Any], *args: Any) -> Any:
        state, result, _ = operation.decide(self.state, self.now, *args)
        self.state = self.state if state is None else state
        return result


def test_at_most_limit_leases_are_held_and_a_refusal_tells_when_the_first_ends() -> None:
    leases = Leases()
    assert leases(ACQUIRE, 10.0, 2).token
    leases.now += 4
    assert leases(ACQUIRE, 10.0, 2).token
    assert leases(ACQUIRE, 10.0, 2) == Grant(0, 6.0)


def test_a_lease_ends_at_its_deadline_and_its_holder_can_do_nothing_more_with_it() -> None:
    leases = Leases()
    first = leases(ACQUIRE, 10.0).token
    leases.now += 10
    assert not leases(RENEW, first, 10.0)
    second = leases(ACQUIRE, 10.0).token
    assert second > first
    assert not leases(RELEASE, first)
    assert leases(ACQUIRE, 10.0).token == 0


def test_a_renewed_lease_lives_on() -> None:
    leases = Leases()
    token = leases(ACQUIRE, 10.0).token
    leases.now += 9
    assert leases(RENEW, token, 10.0)
    leases.now += 9
    assert leases(ACQUIRE, 10.0).token == 0


def test_a_released_place_is_free_at_once_and_released_once() -> None:
    leases = Leases()
    first = leases(ACQUIRE, 10.0).token
    assert leases(RELEASE, first)
    second = leases(ACQUIRE, 10.0).token
    assert second > first
    assert not leases(RELEASE, first)
    assert leases(RELEASE, second)


def test_tokens_grow_even_when_the_record_was_forgotten() -> None:
    leases = Leases()
    first = leases(ACQUIRE, 10.0).token
    leases.state = INITIAL
    leases.now += 1
    assert leases(ACQUIRE, 10.0).token > first


def test_a_lower_limit_takes_nothing_away_and_lets_nobody_in() -> None:
    leases = Leases()
    tokens = [leases(ACQUIRE, 10.0, 3).token for _ in range(3)]
    assert leases(ACQUIRE, 10.0, 1).token == 0
    assert all(leases(RENEW, token, 10.0) for token in tokens)


def test_a_limit_beyond_the_record_is_bounded_by_it() -> None:
    leases = Leases()
    assert all(leases(ACQUIRE, 10.0, 1000).token for _ in range(PLACES))
    assert leases(ACQUIRE, 10.0, 1000).token == 0


def test_a_record_outlives_its_last_lease_so_that_tokens_keep_growing() -> None:
    leases = Leases()
    token = leases(ACQUIRE, 10.0).token
    assert ACQUIRE.lifetime(leases.state) == 11
    leases(RELEASE, token)
    assert RELEASE.lifetime(leases.state) == 1
