from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from gateway.config.model import Breaker, Retries, Timeouts
from gateway.errors import (
    CircuitOpen,
    ConnectRefused,
    ConnectTimeout,
    DeadlineExceeded,
    PoolExhausted,
    StoreFull,
    UpstreamFailure,
    UpstreamReset,
    UpstreamTimeout,
)
from gateway.exchange import Answer, Exchange
from tests.unit.upstream.support import Route, World, answer, service

TWO, THREE = Retries(attempts=2), Retries(attempts=3)
AMPLE = {"budget": 1.0, "min_per_second": 1000}


def world_of(*ids: str, retries: Retries = TWO, **settings: Any) -> World:
    return World({"echo": service(*ids, retries=retries, **settings)})


class Body:
    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"busy"])

    def close(self) -> None:
        self.closed += 1


def test_another_instance_is_tried_after_a_failure() -> None:
    world = world_of("a", "b")
    world.backends = {"a": UpstreamReset()}
    exchange = world.exchange()
    assert world.request(exchange=exchange).status == 200
    assert (world.reached, exchange.attempts, exchange.instance.id) == (["a", "b"], 2, "b")


def test_another_instance_is_tried_after_a_status_and_the_answer_before_is_let_go() -> None:
    world, body = world_of("a", "b"), Body()
    world.backends = {"a": answer(503, body)}
    assert world.request().status == 200
    assert (world.reached, body.closed) == (["a", "b"], 1)
    assert (world.in_flight("a"), world.in_flight("b")) == (0, 0)


def test_so_many_attempts_are_made_and_the_last_outcome_is_told() -> None:
    world = world_of("a", "b", "c", "d", retries=Retries(attempts=3, **AMPLE))
    world.backends = {id: answer(502) for id in "abcd"}
    assert world.request().status == 502
    assert (len(world.reached), len(set(world.reached))) == (3, 3)
    world.backends = {id: UpstreamReset(instance=id) for id in "abcd"}
    with pytest.raises(UpstreamReset):
        world.request()
    assert len(world.reached) == 6


def test_never_the_same_instance_while_another_is_eligible() -> None:
    world = world_of("a", "b", "c", retries=Retries(attempts=3, **AMPLE), breaker=None)
    world.backends = {id: answer(503) for id in "abc"}
    for turn in range(30):
        world.request()
        assert len(set(world.reached[3 * turn : 3 * turn + 3])) == 3


@pytest.mark.parametrize(("outcome", "times"), [(UpstreamReset(), 3), (answer(503), 3), (answer(500), 1)])
def test_the_same_instance_when_there_is_no_other(outcome: Any, times: int) -> None:
    world = world_of("a", retries=THREE)
    world.backends = {"a": outcome}
    with suppress(UpstreamReset):
        world.request()
    assert world.reached == ["a"] * times


@pytest.mark.parametrize("failure", [ConnectRefused(), ConnectTimeout(), UpstreamTimeout(), PoolExhausted()])
def test_not_the_same_instance_when_it_took_no_connection_or_let_its_time_pass(failure: UpstreamFailure) -> None:
    world = world_of("a", retries=Retries(attempts=3, when=("connect", "timeout"), **AMPLE))
    world.backends = {"a": failure}
    with pytest.raises(type(failure)):
        world.request()
    assert world.reached == ["a"]
    world.register("echo", "b")
    for _ in range(4):
        assert world.request().status == 200


def test_what_fails_the_attempt_that_opens_the_breaker_is_told_as_it_was() -> None:
    world = world_of("a", retries=THREE, breaker=Breaker(failures=2))
    world.backends = {"a": UpstreamReset()}
    with pytest.raises(UpstreamReset):
        world.request()
    assert world.reached == ["a", "a"]
    with pytest.raises(CircuitOpen):
        world.request()


def test_every_attempt_is_reported_to_the_breaker_of_its_instance() -> None:
    world = world_of("a", "b", retries=Retries(attempts=2, **AMPLE), breaker=Breaker(failures=3))
    world.backends = {"a": answer(502), "b": answer(503)}
    for _ in range(3):
        world.request()
    assert world.requests("b") == 3
    assert world.requests("a") == 3


def test_a_post_is_not_repeated_once_it_was_sent() -> None:
    world = world_of("a", "b")
    world.backends = {"a": UpstreamReset()}
    exchange = world.exchange()
    exchange.method = "POST"
    with pytest.raises(UpstreamReset):
        world.request(exchange=exchange)
    assert world.reached == ["a"]


def test_a_post_that_was_not_sent_is_tried_elsewhere() -> None:
    world = world_of("a", "b")
    world.backends = {"a": ConnectRefused()}
    exchange = world.exchange()
    exchange.method = "POST"
    assert world.request(exchange=exchange).status == 200


def test_a_route_s_retries_go_over_the_service_s() -> None:
    world = world_of("a", "b", retries=Retries(attempts=1))
    world.backends = {"a": answer(503)}
    exchange = world.exchange()
    exchange.route = Route(retries={"attempts": 2})
    assert world.request(exchange=exchange).status == 200
    world = world_of("a", "b")
    world.backends = {"a": answer(503)}
    exchange = world.exchange()
    exchange.route = Route(retries={"attempts": 1})
    assert world.request(exchange=exchange).status == 503


def test_the_pause_grows_with_each_attempt() -> None:
    world = world_of("a", "b", "c", retries=Retries(attempts=3, backoff=0.1))
    world.backends = {id: answer(503) for id in "abc"}
    world.request()
    assert world.slept == pytest.approx([0.1, 0.2])


def test_no_attempt_is_made_that_the_request_s_time_is_too_short_for() -> None:
    world = world_of("a", "b", retries=Retries(attempts=3, backoff=0.5), timeouts=Timeouts(request=1.0))

    def slow(exchange: Exchange) -> Answer:
        world.clock.advance(0.6)
        return answer(503)

    world.backends = {"a": slow, "b": slow}
    assert world.request().status == 503
    assert (world.reached, world.slept) == (["a"], [])


def test_time_that_is_used_up_is_not_tried_again() -> None:
    world = world_of("a", "b", retries=Retries(attempts=3, when=("timeout", "reset")))
    world.backends = {"a": DeadlineExceeded()}
    with pytest.raises(DeadlineExceeded):
        world.request()
    assert world.reached == ["a"]


def test_the_deadline_is_one_for_all_attempts() -> None:
    world, seen = world_of("a", "b", "c", retries=THREE, timeouts=Timeouts(request=7.0)), []

    def note(exchange: Exchange) -> Answer:
        seen.append(exchange.deadline)
        return answer(503)

    world.backends = dict.fromkeys("abc", note)
    start = world.clock.monotonic()
    world.request()
    assert seen == [start + 7.0] * 3


def test_retries_stop_when_the_budget_is_spent() -> None:
    world = world_of("a", "b", retries=Retries(attempts=2, budget=0.0, min_per_second=2, backoff=0.0), breaker=None)
    world.backends = {"a": answer(503), "b": answer(503)}
    for _ in range(10):
        assert world.request().status == 503
    assert len(world.reached) == 12
    assert world.budgets.told() == {"echo": (2, 8)}


def test_the_budget_is_one_for_all_workers() -> None:
    settings = {"echo": service("a", "b", retries=Retries(budget=0.0, min_per_second=2, backoff=0.0), breaker=None)}
    first = World(settings)
    workers = [first, first.worker(settings), first.worker(settings)]
    for world in workers:
        world.backends = {"a": answer(503), "b": answer(503)}
        for _ in range(5):
            world.request()
    assert sum(len(world.reached) for world in workers) == 17


@pytest.mark.parametrize(("rate", "seconds"), [(200, 5), (1000, 3), (200, 2)])
def test_a_retry_storm_is_at_most_a_quarter_more(rate: int, seconds: int) -> None:
    world = world_of("a", "b", "c", retries=Retries(attempts=3, backoff=0.0), breaker=None)
    for _ in range(3 * rate):  # a good while before
        world.clock.advance(1 / rate)
        world.request()
    world.reached.clear()
    world.backends = {id: answer(503) for id in "abc"}
    for _ in range(seconds * rate):
        world.clock.advance(1 / rate)
        world.request()
    assert len(world.reached) <= 1.25 * seconds * rate


def test_the_burst_of_an_instance_that_dies_is_caught() -> None:
    world = world_of("a", "b", "c", breaker=None)
    for _ in range(2000):
        world.clock.advance(1 / 1000)
        world.request()
    world.backends = {"a": UpstreamReset()}
    for _ in range(60):
        assert world.request().status == 200


def test_a_half_open_probe_that_fails_is_tried_elsewhere() -> None:
    world = world_of("a", "b", breaker=Breaker(failures=1, open_for=5.0))
    world.backends = {"a": UpstreamReset()}
    world.request()
    world.clock.advance(5.0)
    for _ in range(4):
        assert world.request().status == 200
    assert world.requests("a") == 2


def test_nothing_is_paid_for_where_nobody_could_be_asked() -> None:
    world = world_of("a", breaker=None)
    world.backends = {"a": ConnectRefused()}
    for _ in range(5):
        with pytest.raises(ConnectRefused):
            world.request()
    assert (world.slept, world.budgets.told()["echo"]) == ([], (0, 0))


def test_where_there_is_no_room_to_choose_the_outcome_at_hand_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    world, body = world_of("a", "b"), Body()

    def busy(exchange: Exchange) -> Answer:
        monkeypatch.setattr(world.stage, "_plan", full)
        return answer(503, body)

    def full(*_: object) -> None:
        raise StoreFull("no room")

    world.backends = {"a": busy}
    given = world.request()
    assert given.status == 503
    given.body.close()  # type: ignore[attr-defined]
    assert (body.closed, world.in_flight("a")) == (1, 0)


def test_an_answer_is_let_go_when_choosing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    world, body = world_of("a", "b"), Body()

    def busy(exchange: Exchange) -> Answer:
        monkeypatch.setattr(world.stage, "_plan", broken)
        return answer(503, body)

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    world.backends = {"a": busy}
    with pytest.raises(RuntimeError):
        world.request()
    assert (body.closed, world.in_flight("a")) == (1, 0)


# --- what a deadline says of an instance ----------------------------------------------------------------
def late(exchange: Exchange) -> Answer:
    raise DeadlineExceeded


def test_a_deadline_that_was_the_instance_s_own_to_keep_counts_against_it() -> None:
    world = world_of("a", retries=Retries(attempts=1), breaker=Breaker(failures=2))
    world.backends = {"a": late}
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            world.request()
    with pytest.raises(CircuitOpen):
        world.request()


def test_a_caller_s_short_deadline_opens_nobody_s_breaker() -> None:
    world = world_of("a", retries=Retries(attempts=1), breaker=Breaker(failures=2))
    world.backends = {"a": late}
    for _ in range(9):
        exchange = world.exchange()
        exchange.plane, exchange.environ["HTTP_X_GATEWAY_DEADLINE_MS"] = "internal", "5"  # type: ignore[index]
        with pytest.raises(DeadlineExceeded):
            world.request(exchange=exchange)
    world.backends = {}
    assert world.request().status == 200


def test_what_others_left_of_a_request_s_time_is_not_held_against_the_last_one() -> None:
    world = world_of("a", "b", retries=Retries(attempts=2, **AMPLE), breaker=Breaker(failures=2))
    world.backends = {"a": answer(503), "b": late}
    while world.requests("b") < 5:
        exchange = world.exchange()
        with suppress(DeadlineExceeded, CircuitOpen):
            world.request(exchange=exchange)
        world.clock.advance(31.0)
    assert [event.instance for event in world.events if event.name == "opened"].count("b") <= 2
