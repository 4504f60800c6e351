"""Balancers are exact over all workers of the node."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.servers import Gateway, Promise, Server, at_once

WORKERS = 4


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, FakeBackend]]:
    with (
        FakeBackend(behaviours.echo, name="a") as a,
        FakeBackend(behaviours.echo, name="b") as b,
        FakeBackend(behaviours.echo, name="c") as c,
    ):
        yield {"a": a, "b": b, "c": c}


@pytest.fixture(scope="module")
def gateway(server: Server, backends: dict[str, FakeBackend]) -> Iterator[Gateway]:
    weights = {"a": 5, "b": 1, "c": 1}
    instances = [{"id": name, "url": one.url, "weight": weights[name]} for name, one in backends.items()]
    plain, weighted = {"balancer": "round_robin"}, {"balancer": "weighted_round_robin"}
    services = {
        **{f"plain-{number}": {**plain, "instances": instances} for number in range(4)},
        **{f"weighted-{number}": {**weighted, "instances": instances} for number in range(4)},
        "growing": plain,
    }
    with server.serve(
        {"services": services, "routes": [{"id": "r", "path": "/{name}/*", "service": "{name}"}]}, workers=WORKERS
    ) as started:
        yield started


def backend_of(gateway: Gateway, service: str) -> str:
    """Who answers a request on a connection of its own, which any worker may get."""
    return str(gateway.get(f"/{service}/").json()["backend"])


def test_round_robin_takes_turns(gateway: Gateway):
    assert "".join(backend_of(gateway, "plain-0") for _ in range(30)) == "abc" * 10


def test_round_robin_is_exact_under_load(gateway: Gateway):
    assert Counter(at_once(300, lambda _: backend_of(gateway, "plain-1"))) == {"a": 100, "b": 100, "c": 100}


def test_weighted_round_robin_is_smooth(gateway: Gateway):
    assert "".join(backend_of(gateway, "weighted-0") for _ in range(28)) == "aabacaa" * 4


def test_weighted_round_robin_is_exact_under_load(gateway: Gateway):
    assert Counter(at_once(210, lambda _: backend_of(gateway, "weighted-1"))) == {"a": 150, "b": 30, "c": 30}


def test_round_robin_ignores_weights_and_an_instance_that_comes_gets_its_turn(
    gateway: Gateway, backends: dict[str, FakeBackend]
):
    for count, (name, backend) in enumerate(backends.items(), start=1):
        gateway.register("growing", name, backend.url, weight=count)
        assert Counter(backend_of(gateway, "growing") for _ in range(count * 4)) == dict.fromkeys("abc"[:count], 4)


@pytest.mark.needs(Promise.PROCESSES)
@pytest.mark.parametrize("service, turns", [("plain-2", "abc"), ("weighted-2", "aabacaa")])
def test_the_turns_go_from_worker_to_worker(gateway: Gateway, service: str, turns: str):
    wires = gateway.connect_to_each_worker(1)
    answers = [wire.get(f"/{service}/").json()["backend"] for wire in wires * len(turns)]
    for wire in wires:
        wire.sock.close()
    assert len(answers) == WORKERS * len(turns)
    assert answers == list(itertools.islice(itertools.cycle(turns), len(answers)))


@pytest.mark.needs(Promise.PROCESSES)
def test_the_turns_go_on_after_a_reload_and_a_death(gateway: Gateway):
    told = [backend_of(gateway, "plain-3") for _ in range(4)]
    gateway.reload()
    told += [backend_of(gateway, "plain-3") for _ in range(4)]
    gateway.kill_workers()
    told += [backend_of(gateway, "plain-3") for _ in range(4)]
    assert "".join(told) == "abc" * 4
