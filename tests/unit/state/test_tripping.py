from __future__ import annotations

import pytest

from gateway.config.model import Breaker
from gateway.errors import ConnectRefused, StoreUnavailable
from gateway.state.tripping import Deregistration
from tests.unit.upstream.support import World, service


def world(*, deregister: bool) -> World:
    made = World({"echo": service("a", breaker=Breaker(failures=1, deregister=deregister))})
    made.breakers.subscribe(Deregistration(made.registry))
    made.register("echo", "r")
    made.backends = {"a": ConnectRefused(), "r": ConnectRefused()}
    return made


def ids(world: World) -> list[str]:
    return [one.id for one in world.registry.snapshot().services["echo"].instances]


def fail(world: World, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ConnectRefused):
            world.request()


def test_a_registered_instance_whose_breaker_opens_is_taken_out() -> None:
    made = world(deregister=True)
    fail(made, 2)
    assert ids(made) == ["a"]


def test_only_where_that_is_wanted() -> None:
    made = world(deregister=False)
    fail(made, 2)
    assert ids(made) == ["a", "r"]


def test_what_cannot_be_taken_out_costs_the_request_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(deregister=True)

    def unavailable(service: str, id: str) -> bool:
        raise StoreUnavailable("no")

    monkeypatch.setattr(made.registry, "deregister", unavailable)
    fail(made, 2)
    assert ids(made) == ["a", "r"]
