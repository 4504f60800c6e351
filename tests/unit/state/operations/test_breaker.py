"""The table of the module docstring, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.state.operations import LARGEST_RECORD
from gateway.state.operations.breaker import (
    CLOSED,
    HALF_OPEN,
    INITIAL,
    LAYOUT,
    MAX_PROBES,
    OPEN,
    Admission,
    Outcome,
    allow,
    open_until,
    report,
)

OPEN_FOR, PROBES, LEASE, FAILURES = 30.0, 3, 10.0, 5


class Machine:
    """The record and a clock."""

    def __init__(self, now: float = 100.0) -> None:
        self.state: tuple[Any, ...] = INITIAL
        self.now = now
        self.notified = 0

    def _apply(self, decision: Any) -> Any:
        if decision.state is not None:
            self.state = LAYOUT.unpack(LAYOUT.pack(*decision.state))
        self.notified += decision.notify
        return decision.result

    def allow(self, probes: int = PROBES, open_for: float = OPEN_FOR) -> Admission:
        return self._apply(allow(self.state, self.now, open_for, probes, LEASE))

    def report(self, ok: bool | None, permit: Admission, failures: int = FAILURES, probes: int = PROBES) -> Outcome:
        return self._apply(
            report(self.state, self.now, permit.generation, ok, permit.slot, permit.until, failures, probes)
        )

    def fail(self, times: int = FAILURES) -> Outcome:
        return [self.report(False, self.allow()) for _ in range(times)][-1]

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


def test_the_record_leaves_room_for_windows() -> None:
    assert LAYOUT.size + 300 <= LARGEST_RECORD


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
    assert open_until(opened.state, OPEN_FOR) == 130.0


def test_the_first_request_after_that_is_the_first_probe(due: Machine) -> None:
    admitted = due.allow()
    assert admitted == Admission(True, HALF_OPEN, 2, 0, due.now + LEASE, True)
    assert open_until(due.state, OPEN_FOR) == 0.0


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


def test_many_probes_are_leased_sixteen_at_a_time_and_all_of_them_are_needed_to_close(due: Machine) -> None:
    probes = [due.allow(probes=20) for _ in range(20)]
    assert sum(one.admitted for one in probes) == MAX_PROBES
    for probe in probes[:MAX_PROBES]:
        due.report(True, probe, probes=20)
    assert due.phase == HALF_OPEN
    for _ in range(4):
        due.report(True, due.allow(probes=20), probes=20)
    assert due.phase == CLOSED
