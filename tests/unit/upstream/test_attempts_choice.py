"""Which instance a request gets beside the balancer's turn: health, preferences, slow start, deadlines passed on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from gateway.config import model
from gateway.config.model import ActiveHealth, Breaker, Health, PassiveHealth, Sticky, Timeouts
from gateway.config.units import Secret
from gateway.errors import CircuitOpen, ConnectRefused, NoHealthyInstance, Refusal, StoreFull
from gateway.state.health import Action
from gateway.state.operations.health import STATUS, Finding
from tests.unit.upstream.support import Route, World, answer, service

PROBED = Health(active=ActiveHealth(unhealthy_after=1, healthy_after=1, interval=2.0))
BAD = Finding(STATUS, 503)


def key(id: str) -> str:
    return f"echo/{id}@http://{id}.test:80"


def steer(world: World, id: str, action: Action) -> None:
    world.set().all_targets[key(id)].health.steer(action)


def steer_key(world: World, key: str, action: Action) -> None:
    world.set().all_targets[key].health.steer(action)


def reach(world: World, route: Route, times: int) -> str:
    before = len(world.reached)
    for _ in range(times):
        exchange = world.exchange()
        exchange.route = route
        world.request(exchange=exchange)
    return "".join(world.reached[before:])


# --- health ---------------------------------------------------------------------------------------------
def test_failures_of_requests_take_an_instance_out_for_a_while() -> None:
    passive = Health(passive=PassiveHealth(failures=2, window=30.0, retry_after=10.0))
    world = World({"echo": service("a", "b", breaker=None, health=passive)})
    world.backends = {"a": answer(500)}
    assert world.reach(8) == "abab" + "bbbb"
    world.backends = {}
    world.clock.advance(10.0)
    assert set(world.reach(4)) == {"a", "b"}


def test_every_worker_passes_over_what_is_drained_or_disabled() -> None:
    settings = {"echo": service("a", "b", "c")}
    world = World(settings)
    other = world.worker(settings)
    other.reach(3)
    steer(world, "a", "drain")
    steer(world, "b", "disable")
    assert (world.reach(4), other.reach(4)) == ("cccc", "cccc")
    steer(other, "a", "undrain")
    steer(other, "b", "enable")
    assert set(world.reach(3)) == {"a", "b", "c"}


def test_when_all_are_taken_out_the_refusal_counts_them() -> None:
    world = World({"echo": service("a", "b", "c")})
    for id, action in (("a", "drain"), ("b", "disable"), ("c", "disable")):
        steer(world, id, action)  # type: ignore[arg-type]
    with pytest.raises(NoHealthyInstance) as refused:
        world.request()
    assert "3 taken out" in refused.value.detail
    assert (refused.value.service, refused.value.retry_after) == ("echo", 5.0)


def unhealthy(world: World, *ids: str) -> None:
    for id in ids:
        world.set().all_targets[key(id)].health.probed(BAD)


def test_when_none_is_healthy_the_service_is_refused() -> None:
    world = World({"echo": service("a", "b", health=PROBED)})
    unhealthy(world, "a")
    assert world.reach(3) == "bbb"
    unhealthy(world, "b")
    with pytest.raises(NoHealthyInstance) as refused:
        world.request()
    assert "2 unhealthy" in refused.value.detail
    assert refused.value.retry_after == 2.0  # the next probes are about then


def test_when_none_is_healthy_all_are_tried_where_that_is_wanted() -> None:
    settings = replace(PROBED, when_none_healthy="try_all")
    world = World({"echo": service("a", "b", "c", health=settings)})
    steer(world, "c", "disable")
    unhealthy(world, "a", "b")
    assert set(world.reach(4)) == {"a", "b"}
    world.backends = {"a": ConnectRefused(), "b": ConnectRefused()}
    for _ in range(10):
        with pytest.raises(ConnectRefused):
            world.request()
    with pytest.raises(Refusal) as refused:  # the breakers go on deciding
        world.request()
    assert isinstance(refused.value, CircuitOpen)


# --- preferences ----------------------------------------------------------------------------------------
def tagged() -> World:
    instances = tuple(
        model.Instance(id=id, url=f"http://{id}.test:80", zone=zone, tags=tags)
        for id, zone, tags in (("a", "west", ("canary",)), ("b", "east", ()), ("c", "west", ()))
    )
    return World({"echo": replace(service(), instances=instances)})


def test_a_route_s_tags_prefer_those_that_carry_them() -> None:
    world = tagged()
    canary = Route(tags=("canary",))
    assert reach(world, canary, 3) == "aaa"
    steer(world, "a", "disable")
    assert set(reach(world, canary, 4)) == {"b", "c"}


def test_a_zone_is_preferred_while_somebody_is_there() -> None:
    world = tagged()
    zoned = World({"echo": replace(world.set().view.settings, prefer_zone="east")}, world.engine, world.clock)
    assert zoned.reach(3) == "bbb"
    steer(zoned, "b", "disable")
    assert set(zoned.reach(4)) == {"a", "c"}


def test_a_half_open_preferred_instance_that_takes_no_more_sends_requests_to_the_others() -> None:
    world = tagged()
    canary = Route(tags=("canary",))
    world.backends = {"a": ConnectRefused()}
    for _ in range(5):
        exchange = world.exchange()
        exchange.route = canary
        with pytest.raises(ConnectRefused):
            world.request(exchange=exchange)
    world.clock.advance(30.0)
    breaker = world.set().all_targets[key("a")].breaker
    assert breaker is not None
    while breaker.allow() is not None:
        pass
    # Drawn by lot each time.
    assert set(reach(world, canary, 40)) == {"b", "c"}


def test_a_route_has_a_balancer_of_its_own() -> None:
    instances = tuple(model.Instance(id=id, url=f"http://{id}.test:80", weight=w) for id, w in (("a", 5), ("b", 1)))
    world = World({"echo": replace(service(), instances=instances)})
    assert reach(world, Route(), 4) == "abab"
    assert Counter(reach(world, Route(balancer="weighted_round_robin"), 12)) == {"a": 10, "b": 2}


# --- slow start -----------------------------------------------------------------------------------------
def test_what_registers_later_gets_its_share_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({"echo": service("a", "b", slow_start=10.0)})
    assert world.reach(4) == "abab"
    world.register("echo", "n")
    counts = []
    for _ in range(5):
        counts.append(world.reach(600).count("n"))
        world.clock.advance(2.5)
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[2] == pytest.approx(100, abs=40)
    assert counts[4] == 200


def test_instances_of_the_configuration_have_their_whole_share_from_the_start() -> None:
    assert World({"echo": service("a", "b", slow_start=10.0)}).reach(4) == "abab"


def test_who_was_taken_out_and_comes_back_starts_slowly() -> None:
    world = World({"echo": service("a", "b", slow_start=10.0)})
    steer(world, "b", "disable")
    world.clock.advance(1.0)
    steer(world, "b", "enable")
    assert world.reach(50).count("b") == 0
    world.clock.advance(10.0)
    assert world.reach(50).count("b") == 25


# --- deadlines ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("told", "plane", "seconds"),
    [
        ("1500", "internal", 1.5),
        ("60000", "internal", 7.0),
        ("0", "internal", 0.0),
        ("1500", "external", 7.0),
        ("-5", "internal", 7.0),
        ("1e3", "internal", 7.0),
        ("", "internal", 7.0),
        ("9" * 30, "internal", 7.0),
        ("١٢", "internal", 7.0),
    ],
)
def test_a_deadline_that_arrives_on_the_internal_listener_only_shortens(told: str, plane: Any, seconds: float) -> None:
    world = World({"echo": service("a", timeouts=Timeouts(request=7.0))})
    exchange = world.exchange()
    exchange.plane, exchange.environ["HTTP_X_GATEWAY_DEADLINE_MS"] = plane, told  # type: ignore[index]
    world.request(exchange=exchange)
    assert exchange.deadline - exchange.received == pytest.approx(seconds)


# --- what goes wrong while choosing ---------------------------------------------------------------------
@pytest.mark.parametrize(("one", "other"), [(("x",), ("all",)), (("a,b",), ("a", "b")), ((), ("",)), (("()",), ())])
def test_tags_are_not_mistaken_for_one_another(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    instances = tuple(
        model.Instance(id=id, url=f"http://{id}.test:80", tags=tags) for id, tags in (("a", one), ("b", other))
    )
    world = World({"echo": replace(service(), instances=instances)})
    for _ in range(3):
        assert set(reach(world, Route(tags=one), 4)) == ({"a"} if one else {"a", "b"})
        assert set(reach(world, Route(tags=other), 4)) == ({"b"} if other else {"a", "b"})


def test_an_instance_that_cannot_be_counted_is_left_out_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({"echo": service("a", "b")})
    columns = world.inflight.columns

    def full(key: str) -> object:
        if "/n@" in key:
            raise StoreFull("no room")
        return columns(key)

    with monkeypatch.context() as context:
        context.setattr(world.inflight, "columns", full)
        world.register("echo", "n")
        assert world.reach(4) == "abab"
    world.clock.advance(5.0)  # there may be room again
    assert set(world.reach(6)) == {"a", "b", "n"}


def test_a_service_none_of_whose_instances_can_be_counted_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({"echo": service("a")})

    def full(key: str) -> object:
        raise StoreFull("no room")

    monkeypatch.setattr(world.inflight, "columns", full)
    with pytest.raises(StoreFull):
        world.request()


def test_retry_after_tells_when_somebody_comes_back_and_not_when_a_lease_ends() -> None:
    world = World({"echo": service()})
    world.register("echo", "r", ttl=20.0)
    world.backends = {"r": ConnectRefused()}
    for _ in range(5):
        with pytest.raises(ConnectRefused):
            world.request()
    world.clock.advance(5.0)
    with pytest.raises(CircuitOpen) as refused:
        world.request()
    assert refused.value.retry_after == pytest.approx(25.0)


# --- sticky ---------------------------------------------------------------------------------------------
def stuck(**settings: Any) -> World:
    sticky = Sticky(cookie="c", secret=Secret("0123456789abcdef"), ttl=100.0)
    return World({"echo": service("a", "b", "c", sticky=sticky, **settings)})


def ask(world: World, cookie: str | None = None) -> tuple[str, str | None]:
    """The instance that answered, and the cookie that came."""
    exchange = world.exchange()
    exchange.headers = [] if cookie is None else [("Cookie", f"other=1; {cookie}")]
    given = world.request(exchange=exchange)
    cookies = [value.partition(";")[0] for name, value in given.headers if name == "Set-Cookie"]
    return exchange.instance.id, cookies[0] if cookies else None


def test_a_client_stays_at_the_instance_that_answered_it() -> None:
    world = stuck()
    first, cookie = ask(world)
    assert cookie is not None
    for _ in range(6):
        assert ask(world, cookie) == (first, None)
    other = world.worker({"echo": world.set().view.settings})
    assert ask(other, cookie) == (first, None)


def test_a_cookie_is_renewed_while_it_is_used() -> None:
    world = stuck()
    first, cookie = ask(world)
    world.clock.advance(60.0)
    again, renewed = ask(world, cookie)
    assert again == first
    assert renewed not in {None, cookie}


@pytest.mark.parametrize("action", ["disable", "open", "gone"])
def test_a_client_whose_instance_is_away_gets_another_one_and_its_cookie(action: str) -> None:
    world = stuck(breaker=Breaker(failures=1))
    world.register("echo", "r")
    first, cookie = ask(world)
    while first != "r":
        first, cookie = ask(world)
    if action == "disable":
        steer_key(world, "echo/r@http://r.test:80", "disable")
    elif action == "open":
        world.set().all_targets["echo/r@http://r.test:80"].breaker.steer("force_open")  # type: ignore[union-attr]
    else:
        world.registry.deregister("echo", "r")
    second, reissued = ask(world, cookie)
    assert second != "r"
    assert reissued is not None
    assert ask(world, reissued) == (second, None)


def test_a_draining_instance_keeps_its_clients_until_their_cookies_end() -> None:
    world = stuck()
    first, cookie = ask(world)
    steer(world, first, "drain")
    assert {ask(world)[0] for _ in range(9)} == set("abc") - {first}
    world.clock.advance(60.0)
    assert ask(world, cookie) == (first, None)  # not renewed
    world.clock.advance(41.0)
    second, reissued = ask(world, cookie)
    assert second != first
    assert reissued is not None


def test_a_draining_instance_that_fails_its_probes_keeps_nobody() -> None:
    world = stuck(health=PROBED)
    first, cookie = ask(world)
    steer(world, first, "drain")
    unhealthy(world, first)
    assert ask(world, cookie)[0] != first


def test_a_failed_request_of_a_sticky_client_moves_it() -> None:
    world = stuck(retries=model.Retries(attempts=2))
    first, cookie = ask(world)
    world.backends = {first: ConnectRefused()}
    second, reissued = ask(world, cookie)
    assert second != first
    assert reissued is not None


def test_a_client_is_not_moved_to_a_zone_that_came_nearer() -> None:
    world = tagged()
    sticky = Sticky(cookie="c", secret=Secret("0123456789abcdef"), ttl=100.0)
    zoned = replace(world.set().view.settings, prefer_zone="east", sticky=sticky)
    world = World({"echo": zoned}, world.engine, world.clock)
    steer(world, "b", "disable")
    first, cookie = ask(world)
    steer(world, "b", "enable")
    assert ask(world, cookie) == (first, None)
