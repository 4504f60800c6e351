"""Counters can be listed: a report names what any worker counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.clock import FakeClock
from gateway.state.engines import Engine
from tests.support.engines import KINDS, Fleet, engine_of


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with engine_of(request.param, tmp_path, FakeClock()) as engine:
        yield engine


def test_columns_are_listed_with_their_keys(engine: Engine) -> None:
    counters = engine.counters("requests", held=False)
    assert counters.columns() == {}
    expected = {key: counters.column(key) for key in ("a", "b/ü\x1f", "")}
    assert counters.columns() == expected
    assert engine.counters("requests", held=False).columns() == expected


def test_each_name_lists_its_own(engine: Engine) -> None:
    engine.counters("requests", held=False).column("a")
    engine.counters("request", held=False).column("b")
    engine.counters("held", held=True).column("c")
    assert set(engine.counters("requests", held=False).columns()) == {"a"}
    assert set(engine.counters("held", held=True).columns()) == {"c"}


def test_a_released_one_is_no_longer_listed(engine: Engine) -> None:
    counters = engine.counters("requests", held=False)
    for key in ("a", "b"):
        counters.column(key)
    counters.release("a")
    assert set(counters.columns()) == {"b"}


def test_a_key_that_is_too_long_to_list_still_counts(engine: Engine) -> None:
    counters = engine.counters("requests", held=False)
    column = counters.column("x" * 2000)
    counters.row[column] += 1
    assert counters.total(column) == 1
    assert set(counters.columns()) <= {"x" * 2000}


def test_what_another_worker_counts_is_listed(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        theirs = fleet.start(lambda engine: engine.counters("requests", held=False).column("theirs")).result()
        with fleet.here() as here:
            assert here.counters("requests", held=False).columns() == {"theirs": theirs}
