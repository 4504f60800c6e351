from __future__ import annotations

import math

import pytest

from gateway.state.operations import Allowance
from gateway.state.operations.bucket import INITIAL, TAKE


class Bucket:
    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst, self.now, self.state = rate, burst, 1000.0, INITIAL

    def take(self, cost: float = 1.0) -> Allowance:
        state, allowance, _ = TAKE.decide(self.state, self.now, self.rate, self.burst, cost)
        self.state = self.state if state is None else state
        return allowance


def test_a_new_bucket_is_full_and_lets_the_burst_through() -> None:
    bucket = Bucket(rate=1, burst=3)
    assert [bucket.take().allowed for _ in range(4)] == [True, True, True, False]


def test_tokens_come_back_at_the_rate_and_stop_at_the_burst() -> None:
    bucket = Bucket(rate=2, burst=3)
    for _ in range(3):
        bucket.take()
    bucket.now += 1
    assert [bucket.take().allowed for _ in range(3)] == [True, True, False]
    bucket.now += 3600
    assert bucket.take().remaining == 2


def test_a_refusal_takes_nothing_and_tells_when_to_come_back() -> None:
    bucket = Bucket(rate=4, burst=2)
    bucket.take(2)
    before = bucket.state
    refused = bucket.take()
    assert refused == Allowance(False, 0, 0.25, 0.5)
    assert bucket.state == before
    bucket.now += refused.retry_after
    assert bucket.take().allowed


def test_a_cost_above_the_burst_is_never_let_through() -> None:
    assert Bucket(rate=1, burst=3).take(4).retry_after == math.inf


def test_a_changed_rule_keeps_the_share_that_is_used() -> None:
    bucket = Bucket(rate=10, burst=100)
    bucket.take(80)
    bucket.rate, bucket.burst = 1, 10
    assert bucket.take().remaining == pytest.approx(1)


def test_an_empty_bucket_fills_by_the_new_rate_from_the_first_refusal_under_it() -> None:
    bucket = Bucket(rate=1 / 3600, burst=1)
    bucket.take()
    bucket.rate = 10
    assert bucket.take().retry_after == pytest.approx(0.1)
    bucket.now += 0.1
    assert bucket.take().allowed


def test_a_clock_reading_from_before_the_last_change_adds_and_removes_nothing() -> None:
    bucket = Bucket(rate=1, burst=5)
    bucket.take(5)
    bucket.now -= 10
    assert not bucket.take().allowed


def test_a_record_is_kept_until_the_bucket_is_full_again() -> None:
    bucket = Bucket(rate=2, burst=10)
    bucket.take(6)
    assert TAKE.lifetime(bucket.state) == 3
