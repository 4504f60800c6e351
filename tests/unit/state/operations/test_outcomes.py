from __future__ import annotations

from typing import Any

import pytest

from gateway.state.operations import LARGEST_RECORD
from gateway.state.operations.outcomes import ADD, INITIAL, LAYOUT, NOTHING, Counts, add, quiet_until


class Calls:
    """The record and a clock, with a window of 10 s."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = INITIAL
        self.now = 1000.0
        self.total = 77  # of an earlier time

    def add(self, failed: bool = False, slow: bool = False, generation: int = 0, bucket: float = 1.0) -> Counts:
        decision = add(self.state, self.now, generation, bucket, failed, slow, self.total)
        self.total += decision.result.counted
        if decision.state is not None:
            self.state = LAYOUT.unpack(LAYOUT.pack(*decision.state))
        return decision.result


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_the_record_fits() -> None:
    assert LAYOUT.size <= LARGEST_RECORD


def test_calls_are_counted_by_what_became_of_them(calls: Calls) -> None:
    calls.add()
    calls.add(failed=True)
    calls.add(slow=True)
    assert calls.add(failed=True, slow=True) == Counts(4, 2, 2)


def test_a_call_counts_until_its_tenth_is_a_window_old(calls: Calls) -> None:
    calls.now = 1000.9
    calls.add(failed=True)
    calls.now = 1009.99
    assert calls.add() == Counts(2, 1, 0)
    calls.now = 1010.0
    assert calls.add() == Counts(2, 0, 0)


def test_after_a_pause_nothing_old_is_left(calls: Calls) -> None:
    calls.add()
    calls.now += 1e6
    assert calls.add() == Counts(1, 0, 0)


def test_a_call_that_was_overtaken_counts(calls: Calls) -> None:
    calls.add()
    calls.now -= 0.5
    assert calls.add() == Counts(2, 0, 0)


def test_an_earlier_generation_is_dropped_and_a_later_one_begins_anew(calls: Calls) -> None:
    calls.add(generation=2)
    assert calls.add(generation=1) == NOTHING
    assert calls.add(generation=2) == Counts(2, 0, 0)
    assert calls.add(generation=4) == Counts(1, 0, 0)


def test_another_window_begins_anew(calls: Calls) -> None:
    calls.add()
    assert calls.add(bucket=2.0) == Counts(1, 0, 0)


def test_calls_that_took_no_record_count(calls: Calls) -> None:
    calls.add()
    calls.total += 8
    assert calls.add(failed=True) == Counts(10, 1, 0)
    calls.now += 9.5
    assert calls.add() == Counts(11, 1, 0)
    calls.now += 1.0
    assert calls.add() == Counts(2, 0, 0)


def test_it_is_quiet_until_the_bucket_s_end_while_nothing_bad_is_within_the_window(calls: Calls) -> None:
    calls.add()
    assert quiet_until(calls.state, 1.0) == 1001.0
    calls.add(slow=True)
    assert quiet_until(calls.state, 1.0) == 0.0
    calls.now += 10.0
    calls.add()
    assert quiet_until(calls.state, 1.0) == 1011.0
    assert quiet_until(calls.state, 2.0) == 0.0


def test_a_good_call_within_a_bucket_writes_nothing(calls: Calls) -> None:
    calls.add()
    assert add(calls.state, calls.now, 0, 1.0, False, False, calls.total).state is None


def test_it_is_kept_for_a_window(calls: Calls) -> None:
    calls.add(bucket=0.5)
    assert ADD.lifetime(calls.state) == 5.0
