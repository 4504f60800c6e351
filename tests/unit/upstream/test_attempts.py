from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gateway.config.model import Breaker, Timeouts
from gateway.errors import (
    CircuitOpen,
    ClientGone,
    ClientTimeout,
    ConnectRefused,
    InternalError,
    NoInstance,
    PoolExhausted,
    Refusal,
    UnknownService,
    UpstreamReset,
    UpstreamTimeout,
)
from gateway.exchange import Answer, Exchange
from tests.unit.upstream.support import World, answer, service

ABC = {"echo": service("a", "b", "c")}
A = {"echo": service("a")}


class Body:
    """A body on its way that notes its close and may break off."""

    def __init__(self, *chunks: bytes, fails: BaseException | None = None) -> None:
        self._chunks = list(chunks)
        self._fails = fails
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._chunks:
            return self._chunks.pop(0)
        raise self._fails or StopIteration

    def close(self) -> None:
        self.closed += 1


def close(given: Answer) -> None:
    given.body.close()  # type: ignore[attr-defined]


def fail(world: World, times: int = 5) -> None:
    for _ in range(times):
        with pytest.raises(Refusal):
            world.request()


def names(world: World) -> list[str]:
    return [event.name for event in world.events]


# --- who ------------------------------------------------------------------------------------------------
def test_each_instance_has_its_turn() -> None:
    assert World(ABC).reach(6) == "abcabc"


def test_workers_share_the_turns() -> None:
    world = World(ABC)
    workers = [world, world.worker(ABC), world.worker(ABC)]
    assert "".join(workers[turn % 3].reach(1) for turn in range(6)) == "abcabc"


def test_weights_count_where_the_balancer_minds_them() -> None:
    world = World({"echo": replace(service(), balancer="weighted_round_robin")})
    for id, weight in (("a", 5), ("b", 1), ("c", 1)):
        world.register("echo", id, weight=weight)
    assert world.reach(7) == "aabacaa"


def test_the_exchange_is_told_who_until_when_and_how_long() -> None:
    world = World({"echo": replace(service("a"), timeouts=Timeouts(request=7.0, connect=0.5))})
    exchange = world.exchange()
    exchange.received -= 2.0
    world.request(exchange=exchange)
    assert exchange.instance.id == "a"
    assert exchange.service is world.registry.snapshot().services["echo"]
    assert exchange.attempts == 1
    assert exchange.timeouts == Timeouts(request=7.0, connect=0.5)
    assert exchange.deadline == world.clock.monotonic() + 5.0


def test_a_route_s_timeouts_go_before_the_service_s() -> None:
    world = World({"echo": replace(service("a"), timeouts=Timeouts(request=7.0, connect=0.5))})
    exchange = world.exchange(timeouts={"request": 3.0})
    world.request(exchange=exchange)
    assert exchange.timeouts == Timeouts(request=3.0, connect=0.5)
    assert exchange.deadline == world.clock.monotonic() + 3.0
    plain = world.exchange()
    world.request(exchange=plain)
    assert plain.timeouts.request == 7.0


# --- nobody ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["nobody", None])
def test_a_service_that_does_not_exist_is_unknown(name: str | None) -> None:
    with pytest.raises(UnknownService) as refused:
        World(A).request(name)
    assert refused.value.service == name


def test_a_path_reaches_only_services_that_the_configuration_lists() -> None:
    world = World(A)
    world.register("private", "p")
    world.request(exchange=world.exchange("echo", template=True))
    with pytest.raises(UnknownService):
        world.request(exchange=world.exchange("private", template=True))
    world.request(exchange=world.exchange("private"))  # a route, or the operator's function, that names it itself
    assert world.reached == ["a", "p"]


def test_a_service_without_instance_is_told_with_when_to_try_again() -> None:
    exchange = World({"echo": service()}).exchange()
    with pytest.raises(NoInstance) as refused:
        World({"echo": service()}).request(exchange=exchange)
    assert (refused.value.service, refused.value.retry_after) == ("echo", 5.0)
    assert exchange.attempts == 0


def test_when_every_instance_is_open_the_answer_is_at_once_and_says_when() -> None:
    world = World({"echo": service("a", "b")})
    world.backends = {"a": ConnectRefused(), "b": ConnectRefused()}
    fail(world, 9)
    world.clock.advance(10.0)
    fail(world, 1)
    reached = len(world.reached)
    with pytest.raises(CircuitOpen) as refused:
        world.request()
    assert (refused.value.service, refused.value.retry_after) == ("echo", 20.0)
    assert len(world.reached) == reached


def test_when_every_probe_is_under_way_the_answer_is_at_once() -> None:
    world = World(A)
    world.backends = {"a": ConnectRefused()}
    fail(world)
    world.clock.advance(30.0)
    refusals: list[float | None] = []

    def nested(exchange: Exchange) -> Answer:
        try:
            world.request()
        except CircuitOpen as refused:
            refusals.append(refused.retry_after)
        return answer()

    world.backends = {"a": nested}
    world.request()
    assert world.reached == ["a"] * 8  # three probes, each within the other
    assert refusals == [1.0]


# --- the breaker ----------------------------------------------------------------------------------------
def test_exactly_five_failures_reach_an_instance() -> None:
    world = World(ABC)
    world.backends = {"b": answer(503)}
    assert Counter(world.reach(60))["b"] == 5


def test_the_others_share_evenly_what_an_open_instance_does_not_get() -> None:
    world = World(ABC)
    world.backends = {"b": answer(500)}
    world.reach(15)
    assert Counter(world.reach(30)) == {"a": 15, "c": 15}


@pytest.mark.parametrize("failure", [ConnectRefused(), UpstreamReset(), UpstreamTimeout(), answer(500), answer(599)])
def test_what_counts_as_failure(failure: Answer | Refusal) -> None:
    world = World(A)
    world.backends = {"a": failure}
    for _ in range(5):
        try:
            world.request()
        except Refusal as refused:
            assert refused is failure
    with pytest.raises(CircuitOpen):
        world.request()


@pytest.mark.parametrize(
    "outcome",
    [ClientGone(), ClientTimeout(), PoolExhausted(), InternalError(), RuntimeError("bug"), answer(404), answer(499)],
)
def test_what_never_counts(outcome: Answer | BaseException) -> None:
    world = World(A)
    world.backends = {"a": outcome}
    for _ in range(20):
        try:
            world.request()
        except (Refusal, RuntimeError) as refused:
            assert refused is outcome
    assert names(world) == []
    assert world.in_flight("a") == 0


@pytest.mark.parametrize(
    ("kinds", "failure"),
    [(("connect", "5xx"), UpstreamTimeout()), (("connect", "timeout"), answer(500)), (("5xx",), ConnectRefused())],
)
def test_only_the_kinds_of_failure_on_count(kinds: tuple[str, ...], failure: Answer | Refusal) -> None:
    world = World({"echo": service("a", breaker=Breaker(failure_on=kinds))})  # type: ignore[arg-type]
    world.backends = {"a": failure}
    for _ in range(10):
        try:
            world.request()
        except Refusal as refused:
            assert refused is failure
    assert names(world) == []


def test_it_comes_back_through_probes() -> None:
    world = World(ABC)
    world.backends = {"b": ConnectRefused()}
    fail_or_not = 0
    while "opened" not in names(world):
        try:
            world.request()
        except ConnectRefused:
            fail_or_not += 1
    assert fail_or_not == 5
    del world.backends["b"]
    world.clock.advance(30.0)
    assert Counter(world.reach(9)) == {"a": 3, "b": 3, "c": 3}
    assert names(world)[-2:] == ["half_open", "closed"]


def test_what_a_half_open_instance_refuses_is_spread_over_the_others() -> None:
    world = World({"echo": service("a", "b", "c", breaker=Breaker(half_open_probes=1))})
    world.backends = {"a": answer(500)}
    world.reach(15)
    world.clock.advance(30.0)
    waiting = world.set().targets["echo/a@http://a.test:80"].breaker
    assert waiting is not None
    assert waiting.allow(1000.0) is not None  # some other request's probe, which takes its time
    found = Counter(world.reach(600))
    assert set(found) == {"b", "c"}
    assert found["b"] == pytest.approx(300, abs=45)  # its turns are drawn by lot


# --- bodies ---------------------------------------------------------------------------------------------
def test_a_whole_body_is_passed_on_untouched() -> None:
    world = World(A)
    given = answer()
    body = given.body
    world.backends = {"a": given}
    assert world.request() is given
    assert given.body is body
    assert (world.in_flight("a"), world.requests("a")) == (0, 1)


def test_a_streamed_body_is_in_flight_until_its_end() -> None:
    world = World(A)
    world.backends = {"a": answer(200, Body(b"1", b"2"))}
    given = world.request()
    assert world.in_flight("a") == 1
    assert list(given.body) == [b"1", b"2"]
    assert world.in_flight("a") == 0
    close(given)
    close(given)
    assert (world.in_flight("a"), world.requests("a")) == (0, 1)


def test_a_client_that_leaves_ends_it_and_closes_the_backend_s_body() -> None:
    world = World(A)
    body = Body(b"1", b"2")
    world.backends = {"a": answer(200, body)}
    given = world.request()
    assert next(iter(given.body)) == b"1"
    close(given)
    assert (body.closed, world.in_flight("a")) == (1, 0)
    assert names(world) == []


def test_a_plain_iterable_is_a_body_too() -> None:
    world = World(A)
    world.backends = {"a": answer(200, (chunk for chunk in (b"1", b"2")))}
    assert b"".join(world.request().body) == b"12"
    world.backends = {"a": answer(200, (b"1", b"2"))}
    given = world.request()
    assert b"".join(given.body) == b"12"
    close(given)
    assert world.in_flight("a") == 0


def test_a_backend_that_breaks_off_every_body_opens_its_breaker() -> None:
    world = World(A)
    for _ in range(5):
        broken = UpstreamReset()
        world.backends = {"a": answer(200, Body(b"1", fails=broken))}
        with pytest.raises(UpstreamReset) as raised:
            list(world.request().body)
        assert raised.value is broken
    assert names(world) == ["failure"] * 5 + ["opened"]
    assert world.in_flight("a") == 0


def test_a_body_s_success_is_told_at_its_end() -> None:
    world = World(A)
    world.backends = {"a": answer(500)}
    world.reach(4)
    world.backends = {"a": answer(200, Body(b"1"))}
    given = world.request()
    list(given.body)
    world.backends = {"a": answer(500)}
    world.reach(4)
    assert "opened" not in names(world)


def test_a_client_that_leaves_in_the_middle_takes_no_failure_back() -> None:
    world = World(A)
    world.backends = {"a": answer(500)}
    world.reach(4)
    world.backends = {"a": answer(200, Body(b"1"))}
    close(world.request())
    world.backends = {"a": answer(500)}
    world.reach(1)
    assert names(world)[-1] == "opened"


def test_a_failure_that_the_head_tells_is_reported_at_once_and_once() -> None:
    world = World(A)
    world.backends = {"a": answer(502, Body(b"1", fails=UpstreamReset()))}
    given = world.request()
    assert names(world) == ["failure"]
    with pytest.raises(UpstreamReset):
        list(given.body)
    assert names(world) == ["failure"]


def test_a_probe_is_judged_by_its_head() -> None:
    world = World({"echo": service("a", breaker=Breaker(half_open_probes=1))})
    world.backends = {"a": ConnectRefused()}
    fail(world)
    world.clock.advance(30.0)
    world.backends = {"a": answer(200, Body(b"1", fails=UpstreamReset()))}
    given = world.request()
    assert names(world)[-1] == "closed"
    with pytest.raises(UpstreamReset):
        list(given.body)
    assert (names(world)[-1], world.in_flight("a")) == ("closed", 0)


def test_a_probe_whose_client_left_frees_its_place() -> None:
    world = World({"echo": service("a", breaker=Breaker(half_open_probes=1))})
    world.backends = {"a": ConnectRefused()}
    fail(world)
    world.clock.advance(30.0)
    world.backends = {"a": ClientGone()}
    for _ in range(3):
        with pytest.raises(ClientGone):
            world.request()
    world.backends = {}
    world.request()
    assert names(world)[-1] == "closed"


def test_an_outcome_from_before_it_opened_is_dropped() -> None:
    world = World({"echo": service("a", breaker=Breaker(half_open_probes=1))})
    world.backends = {"a": answer(200, Body(b"1", fails=UpstreamReset()))}
    slow = world.request()
    world.backends = {"a": ConnectRefused()}
    fail(world)
    world.clock.advance(30.0)
    world.backends = {}
    world.request()
    before = names(world)
    with pytest.raises(UpstreamReset):
        list(slow.body)
    assert names(world) == before
