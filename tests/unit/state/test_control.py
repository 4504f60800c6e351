from __future__ import annotations

import os

import pytest

from gateway.config.problems import Problem
from gateway.state.control import REPORT_SIZE, SLOTS, ControlPage, Runtime


def in_a_fork(work) -> None:
    """Run `work` in a forked child and demand that it ends well."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_new_page_tells_that_nothing_serves_yet():
    page = ControlPage()
    assert (page.generation, page.accepted, page.stopping, page.last_reload) == (0, 0, False, None)
    assert list(page.occupied()) == []


def test_what_the_master_writes_is_seen_by_a_worker_forked_before():
    page = ControlPage()
    read, write = os.pipe()

    def worker() -> None:
        os.read(read, 1)
        assert page.generation == 3
        assert page.loaded_at == 1_700_000_000.25
        assert page.cell(7).leaving

    pid = os.fork()
    if not pid:
        status = 1
        try:
            worker()
            status = 0
        finally:
            os._exit(status)
    page.serve(3, 1_700_000_000.25)
    page.cell(7).leave(drain=True)
    os.write(write, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(read)
    os.close(write)


def test_what_a_worker_writes_is_seen_by_the_master():
    page = ControlPage()
    page.cell(2).take(9, 4)

    def worker() -> None:
        page.cell(2).ready = True
        page.cell(2).connections = 31

    in_a_fork(worker)
    ((slot, cell),) = page.occupied()
    assert (slot, cell.occupant, cell.generation, cell.ready, cell.connections) == (2, 9, 4, True, 31)


def test_a_slot_taken_again_starts_clean():
    page = ControlPage()
    cell = page.cell(0)
    cell.take(1, 1)
    cell.ready, cell.connections = True, 5
    cell.leave(drain=True)
    cell.free()
    assert list(page.occupied()) == []
    cell.take(2, 2)
    assert (cell.ready, cell.connections, cell.leaving, cell.draining) == (False, 0, False, False)


def test_every_slot_has_a_row_of_its_own():
    page = ControlPage()
    for slot in range(SLOTS):
        page.cell(slot).take(slot + 1, 10 * slot)
    assert [(slot, cell.occupant, cell.generation) for slot, cell in page.occupied()] == [
        (slot, slot + 1, 10 * slot) for slot in range(SLOTS)
    ]
    for outside in (-1, SLOTS):
        with pytest.raises(IndexError):
            page.cell(outside)


def test_a_drain_may_turn_into_a_stop():
    cell = ControlPage().cell(0)
    cell.leave(drain=True)
    assert (cell.leaving, cell.draining) == (True, True)
    cell.leave(drain=False)
    assert (cell.leaving, cell.draining) == (True, False)


def test_the_report_of_a_refused_reload_is_kept_with_its_places():
    page = ControlPage()
    page.report(
        ok=False,
        at=1_700_000_000.5,
        problems=[Problem(file="gateway.yaml", line=12, path="routes[0].pth", why="unknown key")],
    )
    assert page.last_reload == {
        "ok": False,
        "at": "2023-11-14T22:13:20.500Z",
        "errors": [{"file": "gateway.yaml", "line": 12, "path": "routes[0].pth", "message": "unknown key"}],
    }
    page.report(ok=True, at=1_700_000_001)
    assert page.last_reload == {"ok": True, "at": "2023-11-14T22:13:21.000Z", "errors": []}


def test_a_report_too_long_tells_how_many_errors_are_left_out():
    page = ControlPage()
    problems = [Problem(file="f", why="é" * 200, path=f"routes[{number}]", line=number) for number in range(1000)]
    page.report(ok=False, at=0, problems=problems)
    told = page.last_reload
    assert told is not None
    assert 0 < len(told["errors"]) < 1000
    assert len(told["errors"]) + told["omitted"] == 1000
    page.report(ok=False, at=0, problems=[Problem(file="f", why="x" * 2 * REPORT_SIZE)])
    assert page.last_reload is not None
    assert len(page.last_reload["errors"]) == 1


def test_a_reader_never_sees_half_a_report():
    page = ControlPage()
    page.report(ok=False, at=0, problems=[Problem(file="f", why="0" * 1000)])
    pid = os.fork()
    if not pid:
        for number in range(3000):
            page.report(ok=False, at=0, problems=[Problem(file="f", why=str(number % 10) * (1000 + number % 7))])
        os._exit(0)
    while not os.waitpid(pid, os.WNOHANG)[0]:
        told = page.last_reload
        assert told is not None
        (error,) = told["errors"]
        assert len(set(error["message"])) == 1


def test_a_master_killed_in_the_middle_of_a_report_leaves_the_one_before():
    page = ControlPage()
    page.report(ok=False, at=0, problems=[Problem(file="f", why="whole")])
    other = page._report_at(page._words[4] + 1)
    page._map[other : other + 64] = b"\xff" * 64
    assert page.last_reload is not None
    assert page.last_reload["errors"][0]["message"] == "whole"


def test_a_process_without_a_master_serves_its_own_first_generation():
    runtime = Runtime.alone()
    assert (runtime.page.generation, runtime.page.accepted, runtime.cell.ready) == (1, 1, True)


def test_the_workers_of_a_withdrawn_load_are_not_taken_for_those_of_the_next_with_its_number():
    page = ControlPage()
    page.serve(1, 0.0)
    first, withdrawn, fresh = (Runtime(page=page, slot=slot, generation=1 + (slot > 0)) for slot in range(3))
    for runtime in (first, withdrawn, fresh):
        runtime.cell.take(1 + runtime.slot, runtime.generation)
    assert [runtime.in_force() for runtime in (first, withdrawn, fresh)] == [True, False, False]
    withdrawn.cell.leave(drain=True)
    page.serve(2, 0.0)
    assert [runtime.in_force() for runtime in (first, withdrawn, fresh)] == [False, False, True]


def test_a_load_is_in_force_until_the_end_of_a_stop():
    runtime = Runtime.alone()
    runtime.cell.leave(drain=False)
    assert runtime.in_force()


def test_what_keeps_a_worker_from_starting_is_bounded_and_gone_with_the_next_in_its_slot():
    page = ControlPage()
    first, last = page.cell(0), page.cell(SLOTS - 1)
    for cell in (first, last):
        cell.take(1, 1)
        assert cell.failure is None
    first.fail("routing.function", "shop cannot be imported:\n  no")
    last.fail("p" * 500, "ü" * 5000)
    assert first.failure == page.cell(0).failure == ("routing.function", "shop cannot be imported: no")
    assert last.failure is not None
    assert (len(last.failure[0]), set(last.failure[1])) == (128, {"ü"})
    assert page.cell(1).failure is page.cell(SLOTS - 2).failure is None
    first.take(2, 1)
    assert first.failure is None
