"""What every state engine does, and does alike: the engines are those that the folder holds."""

from __future__ import annotations

import math
import random
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import FakeClock
from gateway.errors import StoreFull
from gateway.state.engines import LONGEST_KEY, REUSE_AFTER, Engine
from gateway.state.operations import Decision, Operation, State
from gateway.state.operations.bucket import TAKE
from gateway.state.operations.lease import ACQUIRE, RELEASE, RENEW
from gateway.state.operations.sequence import NEXT
from gateway.state.operations.window import HIT
from tests.support.engines import KINDS, engine_of


def add(state: State, now: float, amount: int) -> Decision[int]:
    return Decision((state[0] + amount,), state[0] + amount, True) if amount else Decision(None, state[0])


ADD: Operation[int] = Operation("number.add", struct.Struct("=q"), (0,), add, lambda _: math.inf, "numbers")
PASSING: Operation[int] = Operation("passing.add", struct.Struct("=q"), (0,), add, lambda _: 10.0)
LARGE: Operation[int] = Operation(
    "large.add", struct.Struct("=60q"), (0,) * 60, lambda s, now, n: Decision((*s[1:], n), n), lambda _: 10.0
)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def engine(kind: str, tmp_path: Path, clock: FakeClock) -> Iterator[Engine]:
    with engine_of(kind, tmp_path, clock) as engine:
        yield engine


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(number)` in threads that are switched as often as the interpreter can."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures, failures


# --- the same sequences, the same results -----------------------------------------------------------------------------
class Reference:
    """What engines have to agree with: a dict."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.records: dict[tuple[str, str], tuple[State, float]] = {}
        self.documents: dict[str, tuple[bytes, float]] = {}
        self.changes: dict[str, int] = {}

    def apply(self, operation: Operation[Any], key: str, *args: Any) -> Any:
        now = self.clock.monotonic()
        after, result, notify = operation.decide(self.read(operation, key), now, *args)
        if after is not None:
            self.records[operation.kind, key] = after, now + operation.lifetime(after)
        if notify and operation.topic:
            self.changes[operation.topic] = self.changes.get(operation.topic, 0) + 1
        return result

    def read(self, operation: Operation[Any], key: str) -> State:
        state, deadline = self.records.get((operation.kind, key), (operation.initial, 0.0))
        return state if deadline > self.clock.monotonic() else operation.initial

    def get(self, key: str) -> bytes | None:
        value, deadline = self.documents.get(key, (None, 0.0))
        return value if deadline > self.clock.monotonic() else None

    def put(self, key: str, value: bytes, ttl: float | None) -> None:
        self.documents[key] = value, self.clock.monotonic() + (math.inf if ttl is None else ttl)
        self.changes["d"] = self.changes.get("d", 0) + 1

    def delete(self, key: str) -> bool:
        there = self.get(key) is not None
        self.documents.pop(key, None)
        self.changes["d"] = self.changes.get("d", 0) + there
        return there

    def scan(self, prefix: str) -> list[tuple[str, bytes]]:
        found = [(key, self.get(key)) for key in self.documents if key.startswith(prefix)]
        return sorted((key, value) for key, value in found if value is not None)


@pytest.mark.parametrize("seed", range(6))
def test_seeded_operations_give_the_same_results_on_every_engine(engine: Engine, clock: FakeClock, seed: int) -> None:
    rnd, reference, tokens = random.Random(seed), Reference(clock), [1]
    records: dict[tuple[str, str], Any] = {}
    for _ in range(1500):
        if rnd.random() < 0.3:
            clock.advance(rnd.choice([0.001, 0.1, 1, 7, 60]))
        key = f"key-{rnd.randrange(6)}"
        operation, *args = rnd.choice(
            [
                (TAKE, rnd.choice([1.0, 5.0]), rnd.choice([3.0, 9.0]), float(rnd.randrange(1, 4))),
                (HIT, rnd.choice([3.0, 8.0]), rnd.choice([5.0, 20.0])),
                (NEXT,),
                (ACQUIRE, rnd.choice([1.0, 30.0]), 2),
                (RENEW, rnd.choice(tokens), 5.0),
                (RELEASE, rnd.choice(tokens)),
                (ADD, rnd.randrange(3)),
                (PASSING, 1),
                (LARGE, rnd.randrange(9)),
            ]
        )
        if (operation.kind, key) not in records or rnd.random() < 0.3:  # handles, kept or new, are the same
            records[operation.kind, key] = engine.record(operation, key)
        record = records[operation.kind, key]
        if rnd.random() < 0.05:
            record.drop()
            reference.records.pop((operation.kind, key), None)
        result = record.apply(operation, *args)
        assert result == reference.apply(operation, key, *args)
        assert record.read() == reference.read(operation, key)
        if operation is ACQUIRE and result.token:
            tokens.append(result.token)


@pytest.mark.parametrize("seed", range(3))
def test_seeded_document_calls_give_the_same_results_on_every_engine(
    engine: Engine, clock: FakeClock, seed: int
) -> None:
    rnd, reference = random.Random(seed), Reference(clock)
    for _ in range(250):
        clock.advance(rnd.choice([0, 0, 1, 5, 70]))
        key = f"d/{rnd.choice('abé')}/{rnd.randrange(5)}"
        version, changes = engine.version("d"), reference.changes.get("d", 0)
        verb = rnd.choice(["put", "put", "delete", "get", "scan"])
        if verb == "put":
            value, ttl = rnd.randbytes(rnd.choice([0, 20, 5000])), rnd.choice([None, 3, 60])
            engine.put(key, value, ttl)
            reference.put(key, value, ttl)
        elif verb == "delete":
            assert engine.delete(key) == reference.delete(key)
        elif verb == "get":
            assert engine.get(key) == reference.get(key)
        else:
            prefix = rnd.choice(["", "d/", "d/a", "d/é/", "d/x"])
            assert engine.scan(prefix) == reference.scan(prefix)
        assert (engine.version("d") != version) == (reference.changes.get("d", 0) != changes)


# --- records ----------------------------------------------------------------------------------------------------------
def test_a_record_that_was_never_written_reads_as_initial_and_reading_creates_nothing(engine: Engine) -> None:
    record = engine.record(TAKE, "a")
    stamp = record.stamp()
    assert record.read() == TAKE.initial
    assert record.stamp() == stamp


def test_handles_on_one_key_are_one_record_and_kinds_do_not_meet(engine: Engine) -> None:
    engine.record(ADD, "a").apply(ADD, 5)
    assert engine.record(ADD, "a").read() == (5,)
    assert engine.record(PASSING, "a").read() == (0,)
    assert engine.record(ADD, "b").read() == (0,)


def test_an_untouched_record_is_initial_again_after_its_lifetime(engine: Engine, clock: FakeClock) -> None:
    record = engine.record(PASSING, "a")
    record.apply(PASSING, 5)
    clock.advance(9.9)
    assert record.read() == (5,)
    assert record.apply(PASSING, 0) == 5  # a look does not prolong it
    clock.advance(0.1)
    assert record.read() == (0,)
    assert record.apply(PASSING, 1) == 1


def test_a_write_begins_the_lifetime_anew(engine: Engine, clock: FakeClock) -> None:
    record = engine.record(PASSING, "a")
    for _ in range(5):
        record.apply(PASSING, 1)
        clock.advance(9)
    assert record.read() == (5,)


def test_a_stamp_differs_after_each_write_and_only_then(engine: Engine) -> None:
    record, other = engine.record(ADD, "a"), engine.record(ADD, "a")
    stamps = [record.stamp()]
    for _ in range(5):
        other.apply(ADD, 1)
        stamps.append(record.stamp())
        record.read()
        record.apply(ADD, 0)
        assert record.stamp() == stamps[-1] or record.stamp() not in stamps[:-1]
        stamps.append(record.stamp())
    assert len(set(stamps)) >= 6
    before = record.stamp()
    other.drop()
    assert record.stamp() != before
    assert record.read() == (0,)


def test_what_was_read_under_a_stamp_is_current_while_the_stamp_stands(engine: Engine, clock: FakeClock) -> None:
    rnd = random.Random(7)
    reader, cached, state = engine.record(PASSING, "a"), None, None
    for _ in range(2000):
        writer = engine.record(PASSING, rnd.choice("aab"))
        if rnd.random() < 0.4:
            writer.apply(PASSING, 1)
        elif rnd.random() < 0.5:
            writer.drop()
        stamp = reader.stamp()
        if stamp != cached:
            cached, state = stamp, reader.read()
        assert state == engine.record(PASSING, "a").read()


def test_a_dropped_record_begins_anew_for_every_handle(engine: Engine) -> None:
    record, other = engine.record(ADD, "a"), engine.record(ADD, "a")
    record.apply(ADD, 5)
    other.read()
    record.drop()
    record.drop()
    assert other.apply(ADD, 1) == 1
    assert record.read() == (1,)


def test_a_failing_decision_changes_nothing_and_blocks_nobody(engine: Engine) -> None:
    record = engine.record(ADD, "a")
    record.apply(ADD, 1)
    with pytest.raises(TypeError):
        record.apply(ADD, "x")
    with pytest.raises(struct.error):
        record.apply(ADD, 2**63)
    assert record.apply(ADD, 1) == 2


def test_a_full_table_refuses_new_records_until_old_ones_have_expired(
    kind: str, tmp_path: Path, clock: FakeClock
) -> None:
    with engine_of(kind, tmp_path, clock, size=1024**2) as engine:
        kept = engine.record(PASSING, "kept")
        made = 0
        with pytest.raises(StoreFull):
            while True:
                kept.apply(PASSING, 1)
                engine.record(PASSING, f"key-{made}").apply(PASSING, 1)
                made += 1
        assert made > 1000
        assert kept.apply(PASSING, 0) == made + 1  # what is there goes on
        clock.advance(10)
        for number in range(1000):
            engine.record(PASSING, f"later-{number}").apply(PASSING, 1)


def test_eight_threads_count_exactly(engine: Engine) -> None:
    results: list[list[int]] = [[] for _ in range(8)]

    def work(number: int) -> None:
        record = engine.record(NEXT, "shared")
        results[number] = [record.apply(NEXT) for _ in range(2000)]

    in_threads(8, work)
    assert sorted(number for one in results for number in one) == list(range(16_000))
    assert all(one == sorted(one) for one in results)


def test_threads_that_create_and_drop_the_same_records_agree(engine: Engine) -> None:
    """A key never has two records, whoever creates it at the same time."""
    totals = [0] * 8

    def work(number: int) -> None:
        for turn in range(300):
            totals[number] += engine.record(ADD, f"key-{turn}").apply(ADD, 1) > 0

    in_threads(8, work)
    assert [engine.record(ADD, f"key-{turn}").read() for turn in range(300)] == [(8,)] * 300


# --- versions ---------------------------------------------------------------------------------------------------------
def test_a_notice_changes_the_version_of_its_topic_only(engine: Engine) -> None:
    record = engine.record(ADD, "a")
    numbers, others = engine.version("numbers"), engine.version("others")
    record.apply(ADD, 0)
    assert engine.version("numbers") == numbers
    record.apply(ADD, 1)
    assert engine.version("numbers") != numbers
    assert engine.version("others") == others


def test_a_document_changes_the_version_of_its_first_segment_only(engine: Engine) -> None:
    mine, others = engine.version("mine"), engine.version("others")
    engine.put("mine/a", b"1")
    assert engine.version("mine") != mine
    assert engine.version("others") == others
    mine = engine.version("mine")
    assert not engine.delete("mine/b")
    assert engine.version("mine") == mine
    assert engine.delete("mine/a")
    assert engine.version("mine") != mine


# --- documents --------------------------------------------------------------------------------------------------------
def test_documents_are_scanned_by_prefix_in_order(engine: Engine) -> None:
    for key in ("r/b/2", "r/a/1", "r/b/1", "s/a/1"):
        engine.put(key, key.encode())
    assert [key for key, _ in engine.scan("r/b/")] == ["r/b/1", "r/b/2"]
    assert [key for key, _ in engine.scan("r/")] == ["r/a/1", "r/b/1", "r/b/2"]
    assert len(engine.scan("")) == 4


def test_a_document_is_gone_after_its_ttl_and_lives_on_when_put_again(engine: Engine, clock: FakeClock) -> None:
    engine.put("r/a", b"1", ttl=30)
    clock.advance(29)
    engine.put("r/a", b"2", ttl=30)
    clock.advance(29)
    assert engine.get("r/a") == b"2"
    clock.advance(1)
    assert engine.get("r/a") is None
    assert engine.scan("r/") == []
    assert not engine.delete("r/a")


@pytest.mark.parametrize("key", ["", "r", "r/", "/r", "r/" + "x" * LONGEST_KEY])
def test_a_key_without_a_topic_or_too_long_is_refused(engine: Engine, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        engine.put(key, b"1")
    with pytest.raises(ValueError, match="key"):
        engine.delete(key)


@pytest.mark.parametrize("length", [10, 300, 1500, 10_000])
def test_a_full_store_refuses_purges_and_recovers(kind: str, tmp_path: Path, clock: FakeClock, length: int) -> None:
    with engine_of(kind, tmp_path, clock, size=1024**2) as engine:
        for number in range(3):
            engine.put(f"r/passing-{number}", bytes(length), ttl=5)
        kept = 0
        clock.advance(1)
        with pytest.raises(StoreFull, match="r/"):
            while True:
                engine.put(f"r/kept-{kept}", bytes(length))
                kept += 1
        clock.advance(4)
        engine.put("r/one-more", bytes(length))  # what had expired made room
        assert engine.get("r/kept-0") == bytes(length)
        for number in range(kept):
            assert engine.delete(f"r/kept-{number}")
        engine.put("r/another", bytes(length))
        assert [key for key, _ in engine.scan("r/")] == ["r/another", "r/one-more"]


def test_a_refused_document_changes_neither_value_nor_version(kind: str, tmp_path: Path, clock: FakeClock) -> None:
    with engine_of(kind, tmp_path, clock, size=1024**2) as engine:
        engine.put("r/a", b"1")
        version = engine.version("r")
        with pytest.raises(StoreFull):
            engine.put("r/a", bytes(1024**2))
        assert engine.get("r/a") == b"1"
        assert engine.version("r") == version


# --- counters ---------------------------------------------------------------------------------------------------------
def test_a_column_is_the_same_for_one_key_and_another_for_another(engine: Engine) -> None:
    counters = engine.counters("requests", held=False)
    assert counters.column("a") == counters.column("a") == engine.counters("requests", held=False).column("a")
    columns = {counters.column("a"), counters.column("b")}
    assert len(columns) == 2
    counters.row[counters.column("a")] += 3
    assert engine.counters("others", held=False).total(engine.counters("others", held=False).column("a")) == 0


def test_all_threads_of_a_worker_count_exactly_without_a_lock(engine: Engine) -> None:
    counters = engine.counters("in-flight", held=True)
    column = counters.column("a")

    def work(_: int) -> None:
        row = counters.row
        for _ in range(20_000):
            row[column] += 3
            row[column] -= 2

    in_threads(8, work)
    assert counters.total(column) == 160_000


@pytest.mark.parametrize("held", [False, True])
def test_totals_are_the_totals_of_each(engine: Engine, held: bool) -> None:
    counters = engine.counters("several", held=held)
    columns = [counters.column(key) for key in "abc"]
    for amount, column in enumerate(columns):
        counters.row[column] += amount
    assert counters.totals(columns) == [counters.total(column) for column in columns] == [0, 1, 2]
    assert counters.totals([]) == []


@pytest.mark.parametrize("held", [False, True])
def test_a_released_column_that_is_used_again_begins_at_zero(engine: Engine, clock: FakeClock, held: bool) -> None:
    counters = engine.counters("some", held=held)
    first = counters.column("first")
    counters.row[first] += 7
    for number in range(len(counters.row) - 1):
        counters.column(f"filler-{number}")
    with pytest.raises(StoreFull):
        counters.column("second")
    counters.release("first")
    with pytest.raises(StoreFull):  # it rests
        counters.column("second")
    clock.advance(REUSE_AFTER)
    if held:
        with pytest.raises(StoreFull):  # what is held on it has not been given back
            counters.column("second")
        counters.row[first] -= 7
    assert counters.column("second") == first
    assert counters.total(first) == 0
    counters.row[first] += 1
    assert counters.total(first) == 1


def test_a_key_that_was_released_gets_a_column_of_its_own_again(engine: Engine) -> None:
    counters = engine.counters("requests", held=False)
    counters.row[counters.column("a")] += 7
    counters.release("a")
    counters.release("a")
    assert counters.total(counters.column("a")) == 0
