from __future__ import annotations

import pytest

from gateway.clock import FakeClock
from gateway.config.model import Service
from gateway.errors import StoreFull
from gateway.exchange import Exchange
from gateway.state.engines.memory import MemoryEngine
from gateway.state.inflight import InFlight
from gateway.state.registry import ServiceView
from gateway.upstream.balancers.weighted_round_robin import WeightedRoundRobin
from gateway.upstream.balancing import Balancing
from tests.unit.upstream.support import instances

EXCHANGE = Exchange({"REQUEST_METHOD": "GET"}, "external")


def balancing_of(engine: MemoryEngine) -> Balancing:
    return Balancing(engine, InFlight(engine))


def view(name: str, settings: Service = Service()) -> ServiceView:  # noqa: B008 - frozen
    return ServiceView(name, settings, (), 1, True)


def test_the_settings_name_the_kind() -> None:
    balancing = balancing_of(MemoryEngine(1 << 20, FakeClock()))
    assert isinstance(balancing.of(view("echo"), "weighted_round_robin"), WeightedRoundRobin)


def test_a_service_has_one_cursor_and_no_other_s() -> None:
    balancing = balancing_of(MemoryEngine(1 << 20, FakeClock()))
    one, again, other = (
        balancing.of(view(name), "round_robin").prepare(instances(1, 1, 1)) for name in ("echo", "echo", "other")
    )
    assert [one(EXCHANGE).id, again(EXCHANGE).id, other(EXCHANGE).id, one(EXCHANGE).id] == ["a", "b", "a", "c"]


def test_without_room_for_the_cursor_the_worker_counts_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def apply(self, operation: object) -> int:
            raise StoreFull("no room")

    engine = MemoryEngine(1 << 20, FakeClock())
    monkeypatch.setattr(engine, "record", lambda operation, key: Full())
    choose = balancing_of(engine).of(view("echo"), "round_robin").prepare(instances(1, 1))
    assert "".join(choose(EXCHANGE).id for _ in range(4)) == "abab"
