from __future__ import annotations

import pytest

from gateway.clock import FakeClock
from gateway.state.engines.memory import MemoryEngine
from gateway.state.inflight import InFlight

KEY, OTHER = "echo/inst-1@http://127.0.0.1:8081", "echo/inst-2@http://127.0.0.1:8082"


@pytest.fixture
def inflight() -> InFlight:
    return InFlight(MemoryEngine(1 << 20, FakeClock()))


def test_what_is_added_is_told(inflight: InFlight) -> None:
    columns = inflight.columns(KEY)
    inflight.in_flight[columns.in_flight] += 2
    inflight.requests[columns.requests] += 5
    assert (inflight.in_flight_of(KEY), inflight.requests_of(KEY)) == (2, 5)
    assert (inflight.in_flight_of(OTHER), inflight.requests_of(OTHER)) == (0, 0)


def test_an_instance_keeps_its_columns(inflight: InFlight) -> None:
    assert inflight.columns(KEY) == inflight.columns(KEY)
    assert inflight.columns(KEY).in_flight != inflight.columns(OTHER).in_flight


def test_an_instance_that_was_forgotten_starts_from_zero(inflight: InFlight) -> None:
    columns = inflight.columns(KEY)
    inflight.requests[columns.requests] += 5
    inflight.forget(KEY)
    assert inflight.requests_of(KEY) == 0
    inflight.requests[columns.requests] += 1  # a request that was still under way
    assert inflight.requests_of(KEY) == 0


def test_forgetting_what_was_never_counted_is_no_error(inflight: InFlight) -> None:
    inflight.forget(KEY)
