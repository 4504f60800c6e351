from __future__ import annotations

import math
from typing import Any

import pytest

from gateway.state.operations import Operation
from gateway.state.operations import health as machine
from gateway.state.operations.health import FAILED, INITIAL, PROBED, SETTLE, STEER, Change, Finding, Record, Steering

RISE, FALL = 2, 3
THRESHOLD, WINDOW, RETRY = 3, 30.0, 10.0


class Instance:
    """One record. notified: how often the last call, or those since it was set to 0, bumped the version."""

    def __init__(self, *, active: bool = True, passive: bool = True) -> None:
        self.now, self.state, self.notified, self.writes = 1000.0, INITIAL, 0, 0
        self.active, self.passive = active, passive

    def __call__(self, operation: Operation[Any], *args: Any) -> Any:
        state, result, notify = operation.decide(self.state, self.now, *args)
        self.notified += notify
        if state is not None:
            self.state = state
            self.writes += 1
        operation.layout.pack(*self.state)
        return result

    def probe(self, code: int = machine.GOOD, status: int = 0, times: int = 1) -> Change:
        for _ in range(times):
            change = self(PROBED, code, status, RISE, FALL, self.passive)
        return change

    def fail(self, times: int = 1) -> Change:
        for _ in range(times):
            change = self(FAILED, THRESHOLD, WINDOW, RETRY, self.active)
        return change

    @property
    def well(self) -> bool:
        return machine.well(Record.of(self.state), self.now, self.active, self.passive)


def test_the_third_failed_probe_in_a_row_takes_it_out_and_the_second_good_one_brings_it_back() -> None:
    one = Instance()
    assert not one.probe(machine.REFUSED, times=2).became_unwell
    assert one.well
    assert one.probe(machine.STATUS, 503).became_unwell
    assert (one.well, one.notified) == (False, 1)
    assert not one.probe().became_well
    one.now += 5
    change = one.probe()
    assert (change.became_well, one.well, one.notified) == (True, True, 2)
    assert machine.returned_at(change.record, True, True) == one.now


def test_counts_begin_anew_when_probes_disagree() -> None:
    one = Instance()
    for _ in range(3):
        one.probe(machine.REFUSED, times=2)
        one.probe()
    assert one.well
    one.probe(machine.REFUSED, times=3)
    for _ in range(3):
        one.probe()
        one.probe(machine.REFUSED)
    assert not one.well
    assert one.notified == 1


def test_good_probes_of_a_well_instance_write_nothing() -> None:
    one = Instance()
    one.probe(times=5)
    assert one.state is INITIAL
    one.probe(machine.REFUSED)
    one.probe()
    writes = one.writes
    one.probe(times=5)
    assert one.writes == writes


def test_the_last_failed_probe_says_what_is_wrong() -> None:
    one = Instance()
    one.probe(machine.REFUSED, times=3)
    one.probe(machine.STATUS, 503)
    record = Record.of(one.state)
    assert (record.failures, str(record.finding)) == (4, "status 503")


def test_every_code_has_a_word() -> None:
    assert [str(Finding(code, 404)) for code in range(len(machine.WORDS))] == [
        "good", "refused", "timed out", "status 404", "body mismatch", "tls failed", "name unresolved",
        "address refused", "connection reset", "bad answer",
    ]  # fmt: skip


def test_failures_within_the_window_take_it_out_until_it_returns_by_itself() -> None:
    one = Instance()
    one.fail(2)
    assert one.well
    assert one.fail().became_unwell
    assert (one.well, one.notified) == (False, 1)
    one.now += RETRY - 0.001
    assert not one.well
    one.now += 0.001
    assert one.well
    assert machine.returned_at(Record.of(one.state), True, True) == one.now


def test_the_window_slides_and_is_exact() -> None:
    one = Instance()
    one.fail()
    one.now += WINDOW - 0.001
    one.fail()
    one.now += 0.001  # the first was a whole window ago
    one.fail()
    assert one.well
    one.now += WINDOW - 0.002
    one.fail()
    assert not one.well


def test_one_more_failure_within_the_window_of_the_others_takes_it_out_again() -> None:
    one = Instance()
    one.fail(3)
    one.now += RETRY
    change = one.fail()
    assert (change.returned, change.became_unwell) == (True, True)
    one.now += WINDOW
    assert one.well
    one.fail()
    assert one.well


def test_failures_while_it_is_out_make_that_no_longer() -> None:
    one = Instance()
    one.fail(3)
    one.now += RETRY / 2
    assert not one.fail(20).became_unwell
    assert one.notified == 1
    one.now += RETRY / 2
    assert one.well


def test_the_highest_threshold_counts_exactly() -> None:
    one = Instance()
    for number in range(machine.MAX_FAILURES):
        assert one.well, number
        one(FAILED, machine.MAX_FAILURES, WINDOW, RETRY, True)
    assert not one.well


def test_a_return_is_told_once() -> None:
    one = Instance()
    one.fail(3)
    assert not one(SETTLE, True).returned
    one.now += RETRY
    assert one(SETTLE, True).returned
    assert not one(SETTLE, True).returned
    assert one.notified == 1  # the time told everybody


def test_both_must_be_satisfied_before_it_is_well() -> None:
    one = Instance()
    one.probe(machine.TIMED_OUT, times=3)
    assert not one.fail(3).became_unwell  # it is already
    assert not one.probe(times=2).became_well
    assert not one.well
    one.now += RETRY
    assert one.well
    assert one(SETTLE, True).returned


def test_a_passive_mark_that_ends_while_probes_fail_is_no_return() -> None:
    one = Instance()
    one.fail(3)
    one.probe(machine.REFUSED, times=3)
    one.now += RETRY
    assert not one(SETTLE, True).returned
    assert one.probe(times=2).became_well
    assert not one(SETTLE, True).returned


def test_a_suspicion_whose_settings_are_gone_counts_no_more() -> None:
    one = Instance()
    one.probe(machine.REFUSED, times=3)
    one.fail(3)
    record = Record.of(one.state)
    assert not machine.well(record, one.now, True, False)
    assert not machine.well(record, one.now, False, True)
    assert machine.well(record, one.now, False, False)


@pytest.mark.parametrize(
    ("actions", "mode"),
    [
        ("drain", machine.DRAINING),
        ("drain undrain", machine.ENABLED),
        ("drain enable", machine.ENABLED),
        ("disable", machine.DISABLED),
        ("disable enable", machine.ENABLED),
        ("disable undrain", machine.DISABLED),
        ("disable drain", machine.DISABLED),
        ("drain disable", machine.DISABLED),
        ("undrain", machine.ENABLED),
    ],
)
def test_the_operator_s_last_word_holds(actions: str, mode: int) -> None:
    one = Instance()
    for action in actions.split():
        one(STEER, action)
    assert Record.of(one.state).mode == mode


def test_asking_twice_changes_nothing() -> None:
    one = Instance()
    assert one(STEER, "drain") == Steering(machine.ENABLED, machine.DRAINING)
    began = one.now
    one.now += 5
    assert one(STEER, "drain") == Steering(machine.DRAINING, machine.DRAINING)
    assert (Record.of(one.state).mode_at, one.notified) == (began, 1)


def test_probes_and_failures_leave_the_mode_alone() -> None:
    one = Instance()
    one(STEER, "disable")
    one.probe(machine.REFUSED, times=3)
    one.probe(times=2)
    one.fail(3)
    assert Record.of(one.state).mode == machine.DISABLED


def test_an_operator_s_word_does_not_lapse_all_else_does() -> None:
    one = Instance()
    one.probe(machine.REFUSED, times=3)
    assert PROBED.lifetime(one.state) == 30 * 86_400.0
    one(STEER, "disable")
    assert PROBED.lifetime(one.state) == math.inf
