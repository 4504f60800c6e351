from __future__ import annotations

import dis
import inspect
import math
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from gateway.clock import FakeClock
from gateway.state.engines.node import NodeEngine, records
from gateway.state.engines.node.records import NodeRecord, Table
from gateway.state.engines.node.segment import WAYS
from gateway.state.operations import Decision, Operation
from gateway.state.operations.sequence import NEXT

SMALL: Operation[int] = Operation(
    "small.set", struct.Struct("=q"), (0,), lambda state, now, n: Decision((n,), state[0]), lambda state: 10.0
)
LARGE: Operation[int] = Operation(
    "large.set", struct.Struct("=60q"), (0,) * 60, lambda state, now, n: Decision((n,) * 60, n), lambda state: math.inf
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def engine(tmp_path: Path, clock: FakeClock) -> Iterator[NodeEngine]:
    engine = NodeEngine(tmp_path / "state", 1024**2, clock)
    yield engine
    engine.close()


SECTIONS = [Table.write, Table.load, Table.copy_locked]


@pytest.mark.parametrize("function", SECTIONS, ids=lambda function: str(function.__name__))
def test_nothing_between_lock_and_unlock_lets_the_interpreter_switch_threads(function: Callable[..., object]) -> None:
    """CPython looks whether another thread wants the GIL after calls, at backward jumps and when a function begins."""
    lines, first = inspect.getsourcelines(function)
    begin = first + next(number for number, line in enumerate(lines) if line.strip() == "try:")
    end = first + next(number for number, line in enumerate(lines) if line.strip() == "unlock[address]")
    line, section = 0, []
    for instruction in dis.get_instructions(function):
        line = instruction.positions.lineno or line if instruction.positions else line
        if begin <= line <= end:
            section.append(instruction.opname)
    assert any(name.startswith("STORE") or name.startswith("RETURN") for name in section)
    switching = [name for name in section if "CALL" in name or "BACKWARD" in name or name in ("RESUME", "SEND")]
    assert not switching


def test_threads_of_one_process_never_find_the_mutex_taken(engine: NodeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched at every chance, no thread is ever interrupted while it holds a mutex."""
    waits: list[int] = []
    wait = records.wait
    monkeypatch.setattr(records, "wait", lambda address, code: waits.append(code) or wait(address, code))

    def work() -> None:
        record = engine.record(NEXT, "hot")
        for turn in range(2000):
            record.apply(NEXT)
            engine.record(NEXT, f"key-{turn % 50}").apply(NEXT)

    threads = [threading.Thread(target=work) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert engine.record(NEXT, "hot").read() == (16_000,)
    assert not waits


@pytest.mark.parametrize("ordered", [True, False])
def test_records_are_the_same_whether_copied_with_or_without_the_mutex(
    engine: NodeEngine, monkeypatch: pytest.MonkeyPatch, ordered: bool
) -> None:
    if not ordered:
        monkeypatch.setattr(Table, "copy", Table.copy_locked)
    for number in (1, 2, 3):
        assert engine.record(LARGE, "a").apply(LARGE, number) == number
        assert engine.record(LARGE, "a").read() == (number,) * 60
    engine.record(LARGE, "a").drop()
    assert engine.record(LARGE, "a").read() == (0,) * 60


def test_a_record_that_changes_while_it_is_copied_is_copied_again(engine: NodeEngine) -> None:
    record, writer = engine.record(LARGE, "a"), engine.record(LARGE, "a")
    record.apply(LARGE, 1)
    memory = record._table._memory
    looks = []

    class Overtaken:
        """Each of the first two copies is overtaken by two writes, so that the bank it reads is written again."""

        def __getitem__(self, at: slice) -> bytes:
            looks.append(at)
            half = memory[at.start : at.start + 252]
            if len(looks) <= 2:
                for number in (len(looks) * 10, len(looks) * 10 + 1):
                    engine._tables[1]._memory = memory
                    writer.apply(LARGE, number)
                    engine._tables[1]._memory = self  # type: ignore[assignment]
            return bytes(half + memory[at.start + 252 : at.stop])

    engine._tables[1]._memory = Overtaken()  # type: ignore[assignment]
    assert record.read() == (21,) * 60
    assert len(looks) == 3


def keys_of_one_set(engine: NodeEngine) -> list[str]:
    """As many as it has slots."""
    home = engine.record(SMALL, "first")._claims
    some = (f"key-{number}" for number in range(60_000))
    return list(islice((key for key in some if engine.record(SMALL, key)._claims == home), WAYS))


def test_a_key_is_found_wherever_its_set_had_room(engine: NodeEngine, clock: FakeClock) -> None:
    """Keys of one set fill it from their places on, round its end, and are found when those before them are gone."""
    keys = keys_of_one_set(engine)
    for number, key in enumerate(keys):
        engine.record(SMALL, key).apply(SMALL, number + 1)
        if number < WAYS // 2:
            clock.advance(0.01)
    assert [engine.record(SMALL, key).read() for key in keys] == [(number + 1,) for number in range(WAYS)]
    for key in keys[::2]:
        engine.record(SMALL, key).drop()
    assert [engine.record(SMALL, key).read()[0] for key in keys[1::2]] == list(range(2, WAYS + 1, 2))
    # Claimed again, each key still has one record only.
    for key in keys:
        engine.record(SMALL, key).apply(SMALL, 7)
    assert {engine.record(SMALL, key).apply(SMALL, 8) for key in keys} == {7}


def test_a_record_far_from_its_place_is_found_while_it_is_written(
    engine: NodeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it missed, its key would get a second slot."""
    keys = keys_of_one_set(engine)
    for key in keys:
        engine.record(SMALL, key).apply(SMALL, 1)
    table = engine._tables[0]
    memory = table._memory
    searches = []

    class Busy:
        """Whenever the set has been searched, the record is written before the finding is looked at."""

        def __init__(self, writer: NodeRecord) -> None:
            self.writer = writer

        def __getitem__(self, at: slice) -> bytes:
            return memory[at]

        def __setitem__(self, at: slice, record: bytes) -> None:
            memory[at] = record

        def find(self, *args: object) -> int:
            searches.append(args)
            hit = memory.find(*args)  # type: ignore[arg-type]
            self.writer.apply(SMALL, 1)
            return hit

    for key in keys:
        writer = engine.record(SMALL, key)
        writer.read()
        monkeypatch.setattr(table, "_memory", Busy(writer))
        assert engine.record(SMALL, key).read() == (1,)
        monkeypatch.setattr(table, "_memory", memory)
    assert searches


def test_a_handle_follows_its_record_when_the_slot_was_given_to_another(engine: NodeEngine, clock: FakeClock) -> None:
    record = engine.record(SMALL, "mine")
    record.apply(SMALL, 1)
    clock.advance(10)
    for number in range(3000):  # expired slots are taken first
        engine.record(SMALL, f"other-{number}").apply(SMALL, 5)
    assert record.read() == (0,)
    assert record.apply(SMALL, 2) == 0
    assert record.read() == (2,)
    assert engine.record(SMALL, "mine").read() == (2,)


def test_a_lost_race_is_decided_anew(engine: NodeEngine) -> None:
    """Another one writes between this one's look and its write."""
    calls = []

    def decide(state: tuple[int], now: float) -> Decision[int]:
        calls.append(state)
        if len(calls) == 1:
            engine.record(NEXT, "a").apply(NEXT)
        return Decision((state[0] + 1,), state[0])

    racing = Operation("sequence.race", NEXT.layout, NEXT.initial, decide, NEXT.lifetime)
    assert engine.record(NEXT, "a").apply(racing) == 1
    calls.clear()
    assert engine.record(NEXT, "a").apply(racing) == 3
    assert calls == [(2,), (3,)]


def test_a_slot_that_was_wrongly_judged_free_is_not_taken(
    engine: NodeEngine, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As happens where the processor reorders loads: the slot's deadline is looked at again under the mutex."""
    record = engine.record(SMALL, "kept")
    record.apply(SMALL, 1)
    table = engine._tables[0]
    vacant = table._vacant

    def wrong(digest: bytes, size: int, now: float) -> object:
        return vacant(digest, size, now + 3600)

    keys = (f"key-{number}" for number in range(100_000))
    beside = next(key for key in keys if _first(engine, key) == _first(engine, "kept"))
    monkeypatch.setattr(table, "_vacant", wrong)
    assert table.claim(_digest(engine, beside), bytes(32), clock.monotonic(), None) is None
    assert record.read() == (1,)


def _digest(engine: NodeEngine, key: str) -> bytes:
    return engine.record(SMALL, key)._digest


def _first(engine: NodeEngine, key: str) -> tuple[int, int]:
    return engine._tables[0].home(_digest(engine, key))


def test_stamps_of_different_slots_differ(engine: NodeEngine) -> None:
    """A record that lost its slot and got another one must not show a stamp that it had in the first."""
    records = [engine.record(SMALL, f"key-{number}") for number in range(50)]
    for record in records:
        record.apply(SMALL, 1)
    assert len({record.stamp() for record in records}) == 50
