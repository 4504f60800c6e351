"""What the engines that several processes share promise when those run at the same time, and die at any moment."""

from __future__ import annotations

import math
import os
import random
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from gateway.state.engines import StateError
from gateway.state.engines.node import NodeEngine
from gateway.state.operations import Decision, Operation, State
from gateway.state.operations.bucket import TAKE
from gateway.state.operations.sequence import NEXT
from tests.support.engines import Fleet, Observer, die_at_store


def both(state: State, now: float, amount: int) -> Decision[int]:
    return Decision((state[0] + amount, state[1] + amount), state[0] + amount, True)


def both_and_die(state: State, now: float) -> Decision[int]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("alive")


# Two numbers that are equal in every state that was ever written whole.
BOTH: Operation[int] = Operation("both.add", struct.Struct("=2q"), (0, 0), both, lambda _: math.inf, "both")
DEADLY: Operation[int] = Operation("both.die", struct.Struct("=2q"), (0, 0), both_and_die, lambda _: math.inf)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path) as fleet:
        yield fleet


def in_threads(number: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- at the same time -------------------------------------------------------------------------------------------------
def test_four_processes_with_eight_threads_count_exactly(fleet: Fleet) -> None:
    def work(engine: NodeEngine) -> tuple[list[int], int]:
        numbers: list[int] = []
        passed: list[bool] = []
        held, total = engine.counters("held", held=True), engine.counters("total", held=False)

        def thread() -> None:
            sequence, bucket = engine.record(NEXT, "shared"), engine.record(TAKE, "shared")
            for turn in range(200):
                numbers.append(sequence.apply(NEXT))
                passed.append(bucket.apply(TAKE, 1e-9, 1000.0).allowed)
                engine.record(BOTH, f"new-{turn}").apply(BOTH, 1)
                held.row[held.column("a")] += 1
                total.row[total.column("a")] += 1

        in_threads(8, thread)
        held.row[held.column("a")] -= 1600
        return numbers, sum(passed)

    results = [worker.result() for worker in [fleet.start(work) for _ in range(4)]]
    assert sorted(number for numbers, _ in results for number in numbers) == list(range(6400))
    assert sum(passed for _, passed in results) == 1000
    with fleet.here() as engine:
        assert {engine.record(BOTH, f"new-{turn}").read() for turn in range(200)} == {(32, 32)}
        held, total = engine.counters("held", held=True), engine.counters("total", held=False)
        assert (held.total(held.column("a")), total.total(total.column("a"))) == (0, 6400)


def test_every_process_agrees_on_columns_that_come_and_go(fleet: Fleet) -> None:
    def work(engine: NodeEngine) -> list[int]:
        counters = engine.counters("some", held=False)
        columns = []
        for turn in range(50):
            columns.append(counters.column(f"kept-{turn}"))
            counters.column(f"gone-{turn}")
            counters.release(f"gone-{turn}")
        return columns

    results = [worker.result() for worker in [fleet.start(work) for _ in range(4)]]
    assert all(columns == results[0] for columns in results)
    assert len(set(results[0])) == 50


def test_a_document_is_seen_by_every_process_on_its_next_look(fleet: Fleet) -> None:
    observer = Observer(fleet, lambda engine: (engine.version("r"), engine.get("r/a")))
    before = observer()
    assert observer() == before
    fleet.start(lambda engine: engine.put("r/a", b"1")).result()
    after = observer()
    assert after[0] != before[0]
    assert after[1] == b"1"
    observer.close()


def test_old_and_new_workers_share_everything_over_a_reload(fleet: Fleet) -> None:
    def old(engine: NodeEngine) -> int:
        engine.counters("total", held=False).row[engine.counters("total", held=False).column("a")] += 5
        return engine.record(NEXT, "cursor").apply(NEXT)

    assert fleet.start(old, slot=3).result() == 0
    with fleet.here(slot=4) as engine:
        assert engine.record(NEXT, "cursor").apply(NEXT) == 1
        totals = engine.counters("total", held=False)
        assert totals.total(totals.column("a")) == 5


def test_a_slot_belongs_to_one_living_process(fleet: Fleet) -> None:
    observer = Observer(fleet, lambda engine: None)
    observer()
    with pytest.raises(StateError, match="slot 1 belongs to a process that is still running"):
        fleet.engine(1)
    observer.close()
    with fleet.here(1):
        pass


# --- killed -----------------------------------------------------------------------------------------------------------
def test_a_process_killed_while_it_decides_blocks_nobody_and_changes_nothing(fleet: Fleet) -> None:
    fleet.start(lambda engine: engine.record(BOTH, "a").apply(BOTH, 1)).result()
    dying = fleet.start(lambda engine: engine.record(BOTH, "a").apply(DEADLY))
    assert dying.died_of() == signal.SIGKILL
    assert fleet.start(lambda engine: engine.record(BOTH, "a").apply(BOTH, 1)).result(5) == 2


def killed_at_each_store(fleet: Fleet, work: Callable[[NodeEngine], object]) -> Iterator[int]:
    """Run `work` in processes that die at their first store, at their second, …; after each death the caller looks."""

    def dying(number: int) -> Callable[[NodeEngine], None]:
        def run(engine: NodeEngine) -> None:
            work(engine)  # once as it is, so that what follows is the plain case
            die_at_store(engine, number)
            work(engine)

        return run

    for number in count(1):
        if fleet.start(dying(number), slot=7).died_of() == 0:
            assert number > 1
            return
        yield number


def test_a_process_killed_at_any_store_of_a_write_leaves_the_old_state_or_the_new(fleet: Fleet) -> None:
    observer = Observer(fleet, lambda engine: (engine.version("both"), engine.record(BOTH, "a").read()))
    version, (value, _) = observer()
    deaths = 0
    for _ in killed_at_each_store(fleet, lambda engine: engine.record(BOTH, "a").apply(BOTH, 1)):
        deaths += 1
        again, (first, second) = observer()
        assert first == second
        assert first in (value + 1, value + 2)
        assert again != version
        # Nobody waits for the dead one, and what comes next builds on what there is.
        began = time.monotonic()
        assert fleet.start(lambda engine: engine.record(BOTH, "a").apply(BOTH, 1)).result(5) == first + 1
        assert time.monotonic() - began < 2
        version, (value, _) = observer()
    assert deaths == 4  # the record, the flip, the notice's number, the notice
    observer.close()


def test_a_notice_is_not_lost_when_its_giver_is_killed_right_after_the_write(fleet: Fleet) -> None:
    observer = Observer(fleet, lambda engine: (engine.record(BOTH, "a").read(), engine.version("both")))
    fleet.start(lambda engine: engine.record(BOTH, "a").apply(BOTH, 1), slot=7).result()
    time_out = time.monotonic() + 5
    before = observer()

    def dying(engine: NodeEngine) -> None:
        die_at_store(engine, 3)  # the record and the flip are done, the notice is not
        engine.record(BOTH, "a").apply(BOTH, 1)

    assert fleet.start(dying, slot=8).died_of() == signal.SIGKILL
    while (after := observer())[1] == before[1]:
        assert time.monotonic() < time_out
    assert after[0] == (2, 2)
    observer.close()


def test_a_process_killed_at_any_store_of_a_first_write_leaves_no_second_record(fleet: Fleet) -> None:
    turn = count()

    def create(engine: NodeEngine) -> None:
        engine.record(BOTH, f"new-{os.getpid()}-{next(turn)}").apply(BOTH, 1)

    for _ in killed_at_each_store(fleet, create):
        pid = fleet.workers[-1].pid
        for other in (1, 2):  # 0 was the plain case
            key = f"new-{pid}-{other}"
            first = fleet.start(lambda engine, key=key: engine.record(BOTH, key).apply(BOTH, 1)).result(5)  # type: ignore[misc]
            again = fleet.start(lambda engine, key=key: engine.record(BOTH, key).apply(BOTH, 1)).result(5)  # type: ignore[misc]
            assert first in (1, 2)
            assert again == first + 1


def test_processes_killed_at_random_under_load_leave_whole_states_and_lose_no_answered_write(fleet: Fleet) -> None:
    rnd = random.Random(3)
    answered_before = fleet.start(lambda engine: engine.record(BOTH, "hot").read()[0]).result()
    for _ in range(12):
        reader, writer = os.pipe()

        def work(engine: NodeEngine, writer: int = writer) -> None:
            record = engine.record(BOTH, "hot")
            in_threads(4, lambda: [os.write(writer, b"." * bool(record.apply(BOTH, 1))) for _ in count()])

        workers = [fleet.start(work) for _ in range(2)]
        os.close(writer)
        os.read(reader, 1)
        threading.Event().wait(rnd.uniform(0.005, 0.03))
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
        answered = 1
        while sent := os.read(reader, 65536):
            answered += len(sent)
        os.close(reader)
        for worker in workers:
            worker.wait()
        first, second = fleet.start(lambda engine: engine.record(BOTH, "hot").read()).result(5)
        assert first == second
        assert 0 <= first - answered_before - answered <= 8  # one per thread may be written and not answered
        answered_before = first


def test_what_a_dead_worker_held_is_gone_within_a_second_and_what_it_counted_stays(fleet: Fleet) -> None:
    def totals(engine: NodeEngine) -> tuple[int, int]:
        held, counted = engine.counters("held", held=True), engine.counters("counted", held=False)
        return held.total(held.column("a")), counted.total(counted.column("a"))

    def work(engine: NodeEngine) -> None:
        held, counted = engine.counters("held", held=True), engine.counters("counted", held=False)
        held.row[held.column("a")] += 3
        counted.row[counted.column("a")] += 5
        os.write(ready, b".")
        threading.Event().wait()

    observer = Observer(fleet, totals)
    waiting, ready = os.pipe()
    workers = [fleet.start(work) for _ in range(3)]
    for _ in workers:
        os.read(waiting, 1)
    assert observer() == (9, 15)
    workers[0].kill()
    died = time.monotonic()
    while observer() != (6, 15):
        assert time.monotonic() - died < 1
    observer.close()
    os.close(waiting)
    os.close(ready)


@pytest.mark.parametrize("sweepers", [1, 3])
def test_a_dead_workers_totals_are_folded_once_whoever_sweeps_and_whenever_that_one_dies(
    fleet: Fleet, sweepers: int
) -> None:
    def worker(engine: NodeEngine) -> None:
        counted = engine.counters("counted", held=False)
        counted.row[counted.column("a")] += 5
        counted.row[counted.column("b")] += 7

    def sweep_and_die(number: int) -> Callable[[NodeEngine], None]:
        def run(engine: NodeEngine) -> None:
            die_at_store(engine, number)
            engine.sweep()

        return run

    def totals(engine: NodeEngine) -> tuple[int, int]:
        counted = engine.counters("counted", held=False)
        return counted.total(counted.column("a")), counted.total(counted.column("b"))

    observer = Observer(fleet, totals)
    worked = 0
    for number in count(1):
        fleet.start(worker, slot=100).result()
        worked += 1
        dying = [fleet.start(sweep_and_die(number), slot=200 + each) for each in range(sweepers)]
        ends = [one.died_of() for one in dying]
        assert observer() == (5 * worked, 7 * worked)
        # The slot is used again at once, and counts from where it was.
        fleet.start(worker, slot=100).result(5)
        worked += 1
        assert observer() == (5 * worked, 7 * worked)
        assert fleet.start(totals).result(5) == (5 * worked, 7 * worked)
        if not any(ends):
            assert number > 5
            break
    observer.close()


@pytest.mark.parametrize("verb", ["column", "release"])
def test_a_process_killed_while_it_changes_columns_leaves_them_whole(fleet: Fleet, verb: str) -> None:
    def change(engine: NodeEngine) -> None:
        counters = engine.counters("some", held=False)
        if verb == "release":
            counters.release("a")
        column = counters.column("a")
        counters.row[column] += 1

    def look(engine: NodeEngine) -> tuple[int, bool]:
        counters = engine.counters("some", held=False)
        counters.row[counters.column("b")] += 1
        return counters.total(counters.column("a")), counters.column("a") != counters.column("b")

    for number in count(1):

        def dying(engine: NodeEngine, number: int = number) -> None:
            if verb == "release":
                engine.counters("some", held=False).column("a")
            die_at_store(engine, number)
            change(engine)

        if fleet.start(dying, slot=7).died_of() == 0:
            assert number > 3
            break
        total, apart = fleet.start(look).result(5)
        assert total in (0, 1)
        assert apart
        fleet.start(lambda engine: engine.counters("some", held=False).release("a")).result(5)


def test_a_writer_killed_inside_a_document_transaction_blocks_nobody(fleet: Fleet) -> None:
    def dying(engine: NodeEngine) -> None:
        with engine._documents._transaction(write=True) as txn:
            txn.put(b"r/a", bytes(16) + b"half", db=engine._documents._documents)
            os.kill(os.getpid(), signal.SIGKILL)

    def after(engine: NodeEngine) -> list[tuple[str, bytes]]:
        engine.put("r/b", b"1")
        return engine.scan("")

    assert fleet.start(dying).died_of() == signal.SIGKILL
    assert fleet.start(after).result(5) == [("r/b", b"1")]


def test_a_writer_killed_right_after_its_commit_is_noticed(fleet: Fleet) -> None:
    def dying(engine: NodeEngine) -> None:
        engine.put("r/a", b"1")
        os.kill(os.getpid(), signal.SIGKILL)

    observer = Observer(fleet, lambda engine: (engine._documents.version("r"), engine.get("r/a")))
    before = observer()
    assert fleet.start(dying).died_of() == signal.SIGKILL
    after = observer()
    assert after[0] != before[0]
    assert after[1] == b"1"
    observer.close()
