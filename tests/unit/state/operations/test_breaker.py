"""The table of the module docstring, row by row."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gateway.state.operations import LARGEST_RECORD
from gateway.state.operations.breaker import (
    CLOSED,
    DISABLED,
    FAILURE_RATIO,
    FORCED_CLOSED,
    FORCED_OPEN,
    HALF_OPEN,
    INITIAL,
    LAYOUT,
    MAX_PROBES,
    MAX_TIMES,
    OPEN,
    TARGETS,
    Admission,
    Limits,
    Outcome,
    Steered,
    allow,
    closed_at,
    failures_of,
    open_phase,
    open_until,
    report,
    steer,
    trip,
)

OPEN_FOR, PROBES, LEASE, FAILURES = 30.0, 3, 10.0, 5
LIMITS = Limits(FAILURES, 0.0, OPEN_FOR, 0.0, PROBES)


class Machine:
    """The record and a clock."""

    def __init__(self, now: float = 100.0, **limits: Any) -> None:
        self.state: tuple[Any, ...] = INITIAL
        self.now = now
        self.limits = LIMITS._replace(**limits)
        self.notified = 0

    def _apply(self, decision: Any) -> Any:
        if decision.state is not None:
            self.state = LAYOUT.unpack(LAYOUT.pack(*decision.state))
        self.notified += decision.notify
        return decision.result

    def allow(self, **limits: Any) -> Admission:
        return self._apply(allow(self.state, self.now, self.limits._replace(**limits), LEASE))

    def report(self, ok: bool | None, permit: Admission, hold: bool = False, **limits: Any) -> Outcome:
        limited = self.limits._replace(**limits)
        return self._apply(
            report(self.state, self.now, permit.generation, ok, permit.slot, permit.until, limited, hold)
        )

    def fail(self, times: int = FAILURES) -> Outcome:
        return [self.report(False, self.allow()) for _ in range(times)][-1]

    def trip(self, generation: int) -> Outcome:
        return self._apply(trip(self.state, self.now, generation, FAILURE_RATIO))

    def steer(self, action: str) -> Steered:
        return self._apply(steer(self.state, self.now, TARGETS[action]))

    def close(self) -> None:
        """From open, by good probes."""
        self.now += open_phase(self.limits, self.state[4])
        for _ in range(PROBES):
            self.report(True, self.allow())

    @property
    def phase(self) -> int:
        return self.state[0]


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def opened(machine: Machine) -> Machine:
    machine.fail()
    return machine


@pytest.fixture
def due(opened: Machine) -> Machine:
    opened.now += OPEN_FOR
    return opened


def test_the_record_fits() -> None:
    assert LAYOUT.size <= LARGEST_RECORD


def test_closed_lets_everything_through_and_writes_nothing(machine: Machine) -> None:
    assert all(machine.allow().admitted for _ in range(100))
    machine.report(True, machine.allow())
    assert machine.state == INITIAL


def test_exactly_the_configured_number_of_failures_opens(machine: Machine) -> None:
    assert machine.fail(4).phase == CLOSED
    assert machine.fail(1) == Outcome(OPEN, True, 5, True)
    assert not machine.allow().admitted


def test_a_success_takes_the_failures_back(machine: Machine) -> None:
    machine.fail(4)
    machine.report(True, machine.allow())
    assert machine.fail(4).phase == CLOSED


def test_an_outcome_that_says_nothing_changes_nothing(machine: Machine) -> None:
    machine.fail(4)
    machine.report(None, machine.allow())
    assert machine.fail(1).phase == OPEN


def test_open_refuses_until_its_time_is_over_and_tells_it(opened: Machine) -> None:
    opened.now += OPEN_FOR - 0.001
    refused = opened.allow()
    assert (refused.admitted, refused.until) == (False, 130.0)
    assert open_until(opened.state, LIMITS) == 130.0


def test_the_first_request_after_that_is_the_first_probe(due: Machine) -> None:
    admitted = due.allow()
    assert admitted == Admission(True, HALF_OPEN, 2, 0, due.now + LEASE, True)
    assert open_until(due.state, LIMITS) == 0.0


def test_only_so_many_probes_are_under_way(due: Machine) -> None:
    admitted = [due.allow() for _ in range(10)]
    assert [one.admitted for one in admitted] == [True] * 3 + [False] * 7
    assert admitted[-1].until == due.now + LEASE


def test_a_probe_that_ended_makes_room_for_another(due: Machine) -> None:
    probes = [due.allow() for _ in range(3)]
    due.report(None, probes[1])
    assert due.allow().slot == 1
    assert not due.allow().admitted


def test_as_many_successes_close(due: Machine) -> None:
    assert due.report(True, due.allow()) == Outcome(HALF_OPEN, False, 5, True)
    assert due.report(True, due.allow()) == Outcome(HALF_OPEN, False, 5, True)
    assert due.report(True, due.allow()) == Outcome(CLOSED, True, 0, True)
    assert due.fail(4).phase == CLOSED


def test_one_failure_opens_again_for_the_whole_time(due: Machine) -> None:
    due.report(True, due.allow())
    due.report(False, due.allow())
    assert due.phase == OPEN
    assert due.allow().until == due.now + OPEN_FOR


def test_a_lease_that_ended_frees_its_place(due: Machine) -> None:
    for _ in range(3):
        due.allow()
    due.now += LEASE - 0.001
    assert not due.allow().admitted
    due.now += 0.001
    assert due.allow().admitted


def test_a_late_probe_counts_but_does_not_free_the_place_of_its_successor(due: Machine) -> None:
    late = due.allow()
    due.now += LEASE
    probes = [due.allow() for _ in range(3)]
    assert probes[0].slot == late.slot
    assert due.report(True, late).counted
    assert not due.allow().admitted
    due.report(True, probes[0])
    assert due.report(True, probes[1]).phase == CLOSED


def test_outcomes_of_an_earlier_generation_are_dropped(due: Machine) -> None:
    of_closed = Admission(True, CLOSED, 0, -1, 0.0, False)
    assert not due.report(False, of_closed).counted
    probe = due.allow()
    assert not due.report(False, of_closed).counted
    assert due.phase == HALF_OPEN
    due.report(False, probe)
    due.now += OPEN_FOR
    due.allow()
    assert not due.report(False, probe).counted
    assert due.phase == HALF_OPEN


def test_each_transition_begins_a_generation_and_bumps_the_topic(due: Machine) -> None:
    assert (due.state[1], due.notified) == (1, 1)
    for _ in range(3):
        due.report(True, due.allow())
    assert (due.state[1], due.notified) == (3, 3)


def test_settings_that_changed_apply_to_the_state_that_was_kept(opened: Machine) -> None:
    opened.now += 5.0
    assert not opened.allow().admitted
    assert opened.allow(open_for=5.0).admitted


def test_a_lower_threshold_is_noticed_at_the_next_failure(machine: Machine) -> None:
    machine.fail(4)
    assert machine.allow().admitted
    assert machine.report(False, machine.allow(), failures=2).phase == OPEN


def test_as_many_probes_are_leased_at_a_time_as_there_are_places_and_all_of_them_are_needed_to_close(
    due: Machine,
) -> None:
    probes = [due.allow(probes=40) for _ in range(40)]
    assert sum(one.admitted for one in probes) == MAX_PROBES
    for probe in probes[:MAX_PROBES]:
        due.report(True, probe, probes=40)
    assert due.phase == HALF_OPEN
    for _ in range(40 - MAX_PROBES):
        due.report(True, due.allow(probes=40), probes=40)
    assert due.phase == CLOSED


# --- failures within a window -------------------------------------------------------------------------------------
def test_with_a_window_failures_within_it_open_and_successes_change_nothing() -> None:
    machine = Machine(failures=3, window=10.5)
    for later in (0.0, 6.0, 4.4):
        machine.now += later
        machine.report(True, machine.allow())
        outcome = machine.fail(1)
    assert outcome == Outcome(OPEN, True, 3, True)


def test_a_failure_counts_until_it_is_a_window_old() -> None:
    machine = Machine(failures=3, window=10.5)
    machine.fail(2)
    machine.now += 10.5
    assert machine.fail(1) == Outcome(CLOSED, False, 1, True)
    machine.now += 10.25
    assert failures_of(machine.state, machine.now, machine.limits) == 1
    machine.now += 0.25
    assert failures_of(machine.state, machine.now, machine.limits) == 0


def test_a_success_writes_nothing_where_there_is_a_window() -> None:
    machine = Machine(failures=3, window=10.5)
    machine.fail(2)
    before = machine.state
    machine.report(True, machine.allow())
    assert machine.state is before


def test_as_many_failures_as_there_are_places_can_be_counted_in_a_window() -> None:
    machine = Machine(failures=MAX_TIMES, window=1000.0)
    for _ in range(MAX_TIMES - 1):
        machine.now += 1.0
        assert machine.fail(1).phase == CLOSED
    assert machine.fail(1).phase == OPEN


def test_times_begin_anew_when_it_closed() -> None:
    machine = Machine(failures=3, window=1000.0)
    machine.fail(3)
    machine.close()
    assert machine.fail(2).phase == CLOSED
    assert machine.fail(1).phase == OPEN


def test_just_after_a_boot_a_free_place_is_no_failure() -> None:
    machine = Machine(now=1.0, failures=2, window=60.0)
    assert machine.fail(1).failures == 1


# --- a trip -----------------------------------------------------------------------------------------------------------
def test_a_trip_opens_once_in_its_generation(machine: Machine) -> None:
    machine.fail(1)
    assert machine.trip(0) == Outcome(OPEN, True, 1, True)
    assert machine.state[5] == FAILURE_RATIO
    assert not machine.trip(0).counted
    machine.close()
    assert not machine.trip(0).counted
    assert machine.phase == CLOSED


def test_one_that_must_not_open_goes_on_counting_and_tells_it(machine: Machine) -> None:
    machine.fail(4)
    for count in (5, 6):
        assert machine.report(False, machine.allow(), hold=True) == Outcome(CLOSED, False, count, True, due=True)
    assert machine.report(True, machine.allow(), hold=True).failures == 0


def test_a_probe_that_fails_opens_whatever_may_be_open(due: Machine) -> None:
    assert due.report(False, due.allow(), hold=True).phase == OPEN


# --- back-off ---------------------------------------------------------------------------------------------------------
def test_the_open_phase_doubles_with_each_reopening_up_to_its_limit() -> None:
    machine = Machine(open_for=1.0, max_open_for=5.0)
    machine.fail()
    waited = []
    for number in range(5):
        waited.append(open_until(machine.state, machine.limits) - machine.now)
        machine.now += waited[-1]
        assert machine.report(False, machine.allow()).reopenings == number + 1
    assert waited == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_closing_takes_the_back_off_back() -> None:
    machine = Machine(open_for=1.0, max_open_for=100.0)
    machine.fail()
    for _ in range(3):
        machine.now += 100.0
        machine.report(False, machine.allow())
    machine.close()
    machine.fail()
    assert open_until(machine.state, machine.limits) == machine.now + 1.0


def test_without_a_limit_it_never_grows_and_with_one_it_never_overflows() -> None:
    assert open_phase(LIMITS, 1000) == OPEN_FOR
    assert open_phase(LIMITS._replace(max_open_for=3600.0), 10**6) == 3600.0


# --- steering ---------------------------------------------------------------------------------------------------------
def test_forced_open_refuses_until_told_otherwise(machine: Machine) -> None:
    permit = machine.allow()
    assert machine.steer("force_open") == Steered(CLOSED, FORCED_OPEN, True)
    machine.now += 1e6
    assert machine.allow() == Admission(False, FORCED_OPEN, 1, -1, math.inf, False)
    assert not machine.report(True, permit).counted
    assert open_until(machine.state, machine.limits) == math.inf


@pytest.mark.parametrize(("action", "phase"), [("force_close", FORCED_CLOSED), ("disable", DISABLED)])
def test_forced_closed_and_disabled_let_everything_through_and_count_nothing(action: str, phase: int) -> None:
    machine = Machine()
    machine.steer(action)
    before = machine.state
    for _ in range(20):
        assert machine.allow() == Admission(True, phase, 1, -1, 0.0, False)
        assert not machine.report(False, machine.allow()).counted
    assert not machine.trip(1).counted
    assert machine.state is before


def test_a_reset_forgets_everything(due: Machine) -> None:
    probe = due.allow()
    assert due.steer("reset") == Steered(HALF_OPEN, CLOSED, True)
    assert due.state[:6] == (CLOSED, 3, 0, 0, 0, 0)
    assert not due.report(False, probe).counted
    assert due.fail(4).phase == CLOSED


def test_the_same_order_again_changes_nothing(machine: Machine) -> None:
    machine.steer("disable")
    assert machine.steer("disable") == Steered(DISABLED, DISABLED, False)
    assert machine.notified == 1
    for action in ("force_open", "force_close", "reset", "reset"):
        machine.steer(action)
    assert (machine.state[1], machine.notified) == (5, 5)


def test_when_it_last_came_back_is_kept(due: Machine) -> None:
    assert closed_at(due.state) == 0.0
    for _ in range(3):
        due.report(True, due.allow())
    came_back = due.now
    due.now += 5.0
    due.fail(1)
    due.steer("reset")
    due.steer("disable")
    assert closed_at(due.state) == came_back
    due.steer("force_open")
    due.now += 5.0
    due.steer("reset")
    assert closed_at(due.state) == due.now
