"""Every balancer over real workers: they see the same loads, hash to the same instance, believe the same cookie."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults import HANG, OK, FaultBackend, answer
from tests.support.process import Reply
from tests.support.servers import WORKER, Gateway
from tests.support.wire import eventually

from .support import ROUTES, instances, of_service, served_by

pytestmark = pytest.mark.xdist_group("resilience-choosing")

WORKERS = 4
BALANCER = "services.*.balancer"
KEYS = [f"user-{number}" for number in range(40)]
SECRET = "a secret of the tests, long enough to sign with"
QUIET = {"retries": {"attempts": 1}, "breaker": None, "timeouts": {"upstream": "20s"}}


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Gateway]]:
    """serve({"service": {...}}, routes): started, ended with the module."""
    with contextlib.ExitStack() as stack:

        def start(services: dict[str, Any], routes: list[dict[str, Any]] = ROUTES, **options: Any) -> Gateway:
            complete = {name: {**QUIET, **settings} for name, settings in services.items()}
            config = {"services": complete, "routes": routes}
            return stack.enter_context(WORKER.serve(config, workers=WORKERS, **options))

        yield start


@contextlib.contextmanager
def under_way(gateway: Gateway, target: str, count: int, backends: list[FaultBackend]) -> Iterator[list[Future[Reply]]]:
    """So many requests held by the backends, which hang; released at the end."""
    with ThreadPoolExecutor(count) as pool:
        held = [pool.submit(gateway.get, target, timeout=30) for _ in range(count)]
        eventually(lambda: sum(one.tally().in_flight for one in backends) == count, what="all are held")
        yield held
        for backend in backends:
            backend.behave(OK)
            backend.release()
        assert {one.result().status for one in held} == {200}


# --- loads ----------------------------------------------------------------------------------------------------------
def test_least_connections_fills_all_alike_and_avoids_who_is_busy(
    serve: Callable[..., Gateway], fresh: list[FaultBackend]
):
    gateway = serve({"echo": {"balancer": "least_connections", "instances": instances(fresh, c={"weight": 2})}})
    for backend in fresh:
        backend.behave(HANG)
    held = []
    with ThreadPoolExecutor(16) as pool:
        for number in range(1, 9):  # one after the other: each sees the ones before, whichever worker they are in
            held.append(pool.submit(gateway.get, "/echo/x", timeout=30))
            eventually(lambda: sum(one.tally().in_flight for one in fresh) == number, what="it is held")  # noqa: B023
        assert [one.tally().in_flight for one in fresh] == [2, 2, 4]
        fresh[0].behave(OK)
        fresh[0].release()
        fresh[0].wait_for(in_flight=0)
        eventually(lambda: of_service(gateway, "echo")["a"]["in_flight"] == 0)
        assert {served_by(gateway, "/echo/x") for _ in range(12)} == {"a"}
        for backend in fresh:
            backend.behave(OK)
            backend.release()
        assert {one.result().status for one in held} == {200}
    assert Counter(served_by(gateway, "/echo/x") for _ in range(40)).keys() == {"a", "b", "c"}


def test_random_two_never_takes_the_busier_of_two(serve: Callable[..., Gateway], fresh: list[FaultBackend]):
    gateway = serve({"echo": {"balancer": "random_two", "instances": instances(fresh[:2])}})
    fresh[0].behave(HANG)
    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(gateway.get, "/echo/x", timeout=30) for _ in range(8)]
        fresh[0].wait_for(total=1)
        eventually(lambda: sum(one.done() for one in held) + fresh[0].tally().in_flight == 8)
        assert {served_by(gateway, "/echo/x") for _ in range(20)} == {"b"}
        fresh[0].behave(OK)
        fresh[0].release()
        assert {one.result().status for one in held} == {200}
    both = Counter(served_by(gateway, "/echo/x") for _ in range(60))
    assert min(both["a"], both["b"]) >= 10


def test_least_requests_does_not_flood_a_newcomer(serve: Callable[..., Gateway], fresh: list[FaultBackend]):
    gateway = serve({"echo": {"balancer": "least_requests", "instances": instances(fresh[:2])}})
    assert Counter(served_by(gateway, "/echo/x") for _ in range(60)) == {"a": 30, "b": 30}
    for _ in range(2):  # new, then back
        gateway.register("echo", "c", fresh[2].url)
        served = [served_by(gateway, "/echo/x") for _ in range(30)]
        # A worker that meets it later lifts it once more, to the least of then: that may cost it a turn.
        assert all(9 <= count <= 11 for count in Counter(served).values()), served
        assert Counter(served[:6])["c"] <= 3
        gateway.call("DELETE", "/register", {"service": "echo", "id": "c"})
        assert {served_by(gateway, "/echo/x") for _ in range(20)} == {"a", "b"}


# --- keys -----------------------------------------------------------------------------------------------------------
def mapping(gateway: Gateway) -> dict[str, str]:
    return {key: served_by(gateway, "/echo/x", headers={"X-User": key}) for key in KEYS}


def test_a_key_stays_with_its_instance_over_workers_reloads_and_restarts(fresh: list[FaultBackend], tmp_path: Path):
    balanced = {"balancer": "consistent_hash", "hash": {"key": "header:X-User", "fallback": "client_ip"}}
    config = {"services": {"echo": {**QUIET, **balanced, "instances": instances(fresh)}}, "routes": ROUTES}
    with WORKER.serve(config, workers=WORKERS, folder=tmp_path) as gateway:
        first = mapping(gateway)
        assert set(first.values()) == {"a", "b", "c"}
        for _ in range(3):
            assert mapping(gateway) == first
        assert len({served_by(gateway, "/echo/x") for _ in range(12)}) == 1  # one client address
        gateway.reload()
        assert mapping(gateway) == first
        gateway.register("echo", "d", fresh[0].url)  # answers as a, so only what it takes from the others shows
        assert {key for key, found in mapping(gateway).items() if found != first[key] and found != "a"} == set()
        gateway.call("DELETE", "/register", {"service": "echo", "id": "d"})
    turned = {"services": {"echo": {**QUIET, **balanced, "instances": instances(fresh)[::-1]}}, "routes": ROUTES}
    with WORKER.serve(turned, workers=WORKERS, folder=tmp_path) as gateway:
        assert mapping(gateway) == first


def test_only_the_keys_of_an_instance_that_failed_move(serve: Callable[..., Gateway], fresh: list[FaultBackend]):
    settings = {
        "balancer": "consistent_hash",
        "hash": {"key": "header:X-User"},
        "breaker": {"failures": 1, "open_for": "60s"},
        "instances": instances(fresh),
    }
    gateway = serve({"echo": settings})
    first = mapping(gateway)
    fresh[0].behave(answer(500))
    key = next(key for key, found in first.items() if found == "a")
    assert gateway.get("/echo/x", headers={"X-User": key}).status == 500
    moved = mapping(gateway)
    assert {key: found for key, found in moved.items() if first[key] != "a"} == {
        key: found for key, found in first.items() if found != "a"
    }
    assert set(moved.values()) == {"b", "c"}


# --- cookies --------------------------------------------------------------------------------------------------------
def cookie_of(reply: Reply) -> tuple[str, list[str]] | None:
    """(name=value, attributes in lower case) of the affinity cookie that the answer sets; None: none."""
    set_ = [value for name, value in reply.headers if name.lower() == "set-cookie" and value.startswith("gw_affinity=")]
    assert len(set_) <= 1
    if not set_:
        return None
    pair, *attributes = (part.strip() for part in set_[0].split(";"))
    return pair, [attribute.lower() for attribute in attributes]


@pytest.fixture(scope="module")
def sticky(serve: Callable[..., Gateway]) -> Gateway:
    cookie = {"cookie": "gw_affinity", "ttl": "1h", "secret": SECRET}
    return serve({"echo": {"sticky": cookie}, "plain": {"sticky": {**cookie, "secure": False}}})


@pytest.fixture
def joined(sticky: Gateway, fresh: list[FaultBackend]) -> Gateway:
    for service in ("echo", "plain"):
        for backend in fresh:
            sticky.register(service, backend.name, backend.url)
    return sticky


def test_a_cookie_leads_back_to_its_instance_in_every_worker(joined: Gateway):
    for _ in range(3):
        reply = joined.get("/echo/x")
        found = cookie_of(reply)
        assert found is not None
        pair, attributes = found
        assert {"httponly", "secure", "path=/", "max-age=3600"} <= set(attributes)
        assert any(attribute.startswith("samesite=") for attribute in attributes)
        assert reply.header("X-Instance") not in pair.partition("=")[2].split(".")
        for _ in range(12):
            again = joined.get("/echo/x", headers={"Cookie": f"other=1; {pair}"})
            assert again.header("X-Instance") == reply.header("X-Instance")
            assert cookie_of(again) is None
    plain = cookie_of(joined.get("/plain/x"))
    assert plain is not None
    assert "secure" not in plain[1]


def test_the_backend_s_own_cookies_and_the_client_s_are_left_alone(joined: Gateway):
    reply = joined.get("/echo/x", headers={"Cookie": "session=42"})
    assert ["Cookie", "session=42"] in reply.json()["headers"]


def test_forged_cookies_are_ignored_and_replaced(joined: Gateway):
    found, other = cookie_of(joined.get("/echo/x")), cookie_of(joined.get("/plain/x"))
    assert found is not None
    assert other is not None
    value = found[0].partition("=")[2]
    swapped = value[:-1] + ("A" if value[-1] != "A" else "B")
    for forged in (swapped, value[1:], value + "x", "", "x" * 5000, "\xe9.1.2", other[0].partition("=")[2]):
        served = Counter()
        for _ in range(6):
            with joined.connect() as wire:
                told = wire.get("/echo/x", f"Cookie: gw_affinity={forged}")
            assert told.status == 200
            assert any(field.startswith("gw_affinity=") for field in told.values("Set-Cookie"))
            served[told.value("X-Instance")] += 1
        assert len(served) == 3, f"{forged!r} was believed"


def test_a_cookie_whose_instance_is_gone_is_issued_anew(joined: Gateway):
    reply = joined.get("/echo/x")
    found, gone = cookie_of(reply), reply.header("X-Instance")
    assert found is not None
    joined.call("DELETE", "/register", {"service": "echo", "id": gone})
    again = joined.get("/echo/x", headers={"Cookie": found[0]})
    assert again.header("X-Instance") != gone
    renewed = cookie_of(again)
    assert renewed is not None
    assert {served_by(joined, "/echo/x", headers={"Cookie": renewed[0]}) for _ in range(8)} == {
        again.header("X-Instance")
    }


# --- narrowing ------------------------------------------------------------------------------------------------------
def test_tags_narrow_and_fall_back(serve: Callable[..., Gateway], fresh: list[FaultBackend]):
    services = {"echo": {"instances": instances(fresh[:1])}}
    routes = [
        {"id": "canary", "path": "/canary/*", "service": "echo", "tags": ["canary"]},
        {"id": "both", "path": "/both/*", "service": "echo", "tags": ["canary", "big"]},
        {"id": "all", "path": "/echo/*", "service": "echo"},
    ]
    gateway = serve(services, routes)
    assert served_by(gateway, "/canary/x") == "a"  # nobody has the tag
    gateway.register("echo", "b", fresh[1].url, tags=["canary"])
    gateway.register("echo", "c", fresh[2].url, tags=["big", "canary"])
    assert Counter(served_by(gateway, "/canary/x") for _ in range(12)) == {"b": 6, "c": 6}
    assert {served_by(gateway, "/both/x") for _ in range(6)} == {"c"}
    assert {served_by(gateway, "/echo/x") for _ in range(12)} == {"a", "b", "c"}
    gateway.call("DELETE", "/register", {"service": "echo", "id": "c"})
    assert {served_by(gateway, "/canary/x") for _ in range(6)} == {"b"}
    assert {served_by(gateway, "/both/x") for _ in range(6)} == {"a", "b"}


def test_a_zone_is_preferred_while_it_can_serve(serve: Callable[..., Gateway], fresh: list[FaultBackend]):
    settings = {
        "prefer_zone": "near",
        "breaker": {"failures": 1, "open_for": "60s"},
        "instances": instances(fresh, a={"zone": "near"}, b={"zone": "far"}),
    }
    gateway = serve({"echo": settings})
    assert {served_by(gateway, "/echo/x") for _ in range(8)} == {"a"}
    fresh[0].behave(answer(500))
    assert gateway.get("/echo/x").status == 500
    assert Counter(served_by(gateway, "/echo/x") for _ in range(8)) == {"b": 4, "c": 4}


# --- slow start -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("balancer", ["round_robin", "weighted_round_robin"])
def test_a_newcomer_s_share_grows(serve: Callable[..., Gateway], fresh: list[FaultBackend], balancer: str):
    ramp = 4.0
    gateway = serve({"echo": {"balancer": balancer, "slow_start": f"{ramp:g}s", "instances": instances(fresh[:2])}})
    assert Counter(served_by(gateway, "/echo/x") for _ in range(20)) == {"a": 10, "b": 10}
    gateway.register("echo", "c", fresh[2].url)
    began, quarters = time.monotonic(), [Counter[str]() for _ in range(4)]
    while (passed := time.monotonic() - began) < ramp:
        quarters[int(4 * passed / ramp)][served_by(gateway, "/echo/x")] += 1
        time.sleep(0.005)
    shares = [quarter["c"] / quarter.total() for quarter in quarters]
    assert shares[0] < 0.12
    assert 0.2 < shares[3] < 0.4
    assert shares[0] < shares[1] < shares[3]
    after = Counter(served_by(gateway, "/echo/x") for _ in range(60))
    assert min(after.values()) >= 18
