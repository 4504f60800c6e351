"""Instances register and leave over HTTP, and are served from the next request on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.process import eventually
from tests.support.servers import Gateway, Server, at_once


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, FakeBackend]]:
    with FakeBackend(behaviours.echo, name="a") as a, FakeBackend(behaviours.echo, name="b") as b:
        yield {"a": a, "b": b}


@pytest.fixture(scope="module")
def gateway(server: Server, backends: dict[str, FakeBackend]) -> Iterator[Gateway]:
    names = ["lease", "renewed", "comes", "replaced", "twice", "private", "many"]
    static = {"instances": [{"id": "fixed", "url": backends["a"].url, "weight": 2, "zone": "z", "tags": ["t"]}]}
    config = {
        "services": {
            **{name: {} for name in names},
            "static": {**static, "balancer": "weighted_round_robin"},
            "fallback": {**static, "static": "fallback"},
            "exposed": {"expose": True},
        },
        "routes": [{"id": "any", "path": "/{name}/*", "service": "{name}"}],
    }
    with server.serve(config) as started:
        yield started


def services(gateway: Gateway) -> dict[str, Any]:
    return {one["name"]: one for one in gateway.call("GET", "/services").json()["services"]}


def ids(gateway: Gateway, service: str) -> list[str]:
    return [one["id"] for one in services(gateway)[service]["instances"]]


# --- coming and leaving ---------------------------------------------------------------------------------------------
def test_an_instance_that_registered_answers_the_next_request(gateway: Gateway, backends: dict[str, FakeBackend]):
    assert gateway.get("/comes/x").json()["reason"] == "no_instance"
    answer = gateway.register("comes", "one", backends["a"].url)
    assert (answer.status, answer.body) == (204, b"")
    assert gateway.get("/comes/x").json()["backend"] == "a"
    answer = gateway.call("DELETE", "/register", {"service": "comes", "id": "one"})
    assert (answer.status, answer.body) == (204, b"")
    assert gateway.get("/comes/x").json()["reason"] == "no_instance"


def test_the_same_id_replaces_what_was_registered_under_it(gateway: Gateway, backends: dict[str, FakeBackend]):
    for name in ("a", "b", "a"):
        assert gateway.register("replaced", "one", backends[name].url, weight=5).status == 204
        assert [gateway.get("/replaced/").json()["backend"] for _ in range(3)] == [name] * 3
    gateway.register("replaced", "one", backends["a"].url)
    assert services(gateway)["replaced"]["instances"][0]["weight"] == 1


def test_leaving_twice_succeeds_twice(gateway: Gateway):
    for _ in range(2):
        assert gateway.call("DELETE", "/register", {"service": "twice", "id": "never-there"}).status == 204
    assert gateway.call("DELETE", "/register", {"service": "unheard-of", "id": "never-there"}).status == 204
    assert "unheard-of" not in services(gateway)


def test_get_services_tells_each_instance(gateway: Gateway, backends: dict[str, FakeBackend]):
    gateway.register("static", "more", backends["b"].url, weight=7, zone="eu", tags=["x", "y"], ttl="1h")
    found = services(gateway)["static"]
    assert set(found) == {"name", "balancer", "instances"}
    assert found["balancer"] == "weighted_round_robin"
    fixed, more = found["instances"]
    left = more.pop("expires_in")
    assert 3590 < left <= 3600
    assert fixed == {
        "id": "fixed", "url": backends["a"].url, "source": "static", "weight": 2, "zone": "z", "tags": ["t"],
        "state": "up", "reason": None, "in_flight": 0, "requests": 0, "expires_in": None,
    }  # fmt: skip
    assert more == {
        "id": "more", "url": backends["b"].url, "source": "registered", "weight": 7, "zone": "eu", "tags": ["x", "y"],
        "state": "up", "reason": None, "in_flight": 0, "requests": 0,
    }  # fmt: skip
    gateway.get("/static/")
    assert sum(one["requests"] for one in services(gateway)["static"]["instances"]) == 1
    assert gateway.call("GET", "/api/v1/services/static").json()["name"] == "static"
    assert gateway.call("GET", "/api/v1/services/none").json()["reason"] == "not_found"
    gateway.call("DELETE", "/register", {"service": "static", "id": "more"})


def test_fallback_instances_serve_while_nothing_registered(gateway: Gateway, backends: dict[str, FakeBackend]):
    assert gateway.get("/fallback/").json()["backend"] == "a"
    gateway.register("fallback", "better", backends["b"].url)
    assert {gateway.get("/fallback/").json()["backend"] for _ in range(4)} == {"b"}
    gateway.call("DELETE", "/register", {"service": "fallback", "id": "better"})
    assert gateway.get("/fallback/").json()["backend"] == "a"


def test_many_may_come_and_leave_at_once(gateway: Gateway, backends: dict[str, FakeBackend]):
    names = [f"i{number:02}" for number in range(60)]
    statuses = at_once(60, lambda number: gateway.register("many", names[number], backends["a"].url).status)
    assert set(statuses) == {204}
    assert ids(gateway, "many") == names  # in the order of their ids, whoever came first
    assert gateway.get("/many/").status == 200
    leave = {"service": "many"}
    statuses = at_once(59, lambda number: gateway.call("DELETE", "/register", {**leave, "id": names[number]}).status)
    assert set(statuses) == {204}
    assert ids(gateway, "many") == names[59:]


# --- services that the configuration does not name --------------------------------------------------------------
def test_a_service_that_nobody_configured_gets_the_defaults(gateway: Gateway, backends: dict[str, FakeBackend]):
    assert gateway.register("brand-new", "one", backends["a"].url).status == 204
    found = services(gateway)["brand-new"]
    assert (found["balancer"], found["instances"][0]["source"]) == ("round_robin", "registered")
    # Its name in a path leads nowhere: nobody exposed it.
    answer = gateway.get("/brand-new/x")
    assert (answer.status, answer.json()["reason"]) == (404, "unknown_service")
    unheard = gateway.get("/never-heard-of/x").json()
    assert unheard["reason"] == "unknown_service"
    assert "'brand-new'" in answer.json()["detail"]
    assert "must be listed under services" in answer.json()["detail"]
    # Nobody outside learns which of the two has registered.
    telling = {"detail", "service", "request_id"}
    assert {key for key, value in unheard.items() if value != answer.json()[key]} == telling
    assert unheard["detail"].replace("never-heard-of", "brand-new") == answer.json()["detail"]
    gateway.call("DELETE", "/register", {"service": "brand-new", "id": "one"})
    assert "brand-new" not in services(gateway)


def test_a_template_leads_to_services_that_are_listed_or_exposed(gateway: Gateway, backends: dict[str, FakeBackend]):
    for name in ("exposed", "private"):
        gateway.register(name, "one", backends["a"].url)
        assert gateway.get(f"/{name}/x?y").json()["target"] == f"/{name}/x?y"
        assert gateway.get(f"/{name}").status == 200


# --- leases -----------------------------------------------------------------------------------------------------
def test_a_lease_that_is_not_renewed_ends(gateway: Gateway, backends: dict[str, FakeBackend]):
    began = time.monotonic()
    assert gateway.register("lease", "one", backends["a"].url, ttl="1s").status == 204
    assert gateway.get("/lease/").status == 200
    eventually(lambda: gateway.get("/lease/").status == 503, 4, what="the end of the lease")
    assert time.monotonic() - began >= 0.9
    assert gateway.get("/lease/").json()["reason"] == "no_instance"
    assert ids(gateway, "lease") == []


def test_a_lease_is_renewed_by_registering_again(gateway: Gateway, backends: dict[str, FakeBackend]):
    until = time.monotonic() + 1.6
    while time.monotonic() < until:
        assert gateway.register("renewed", "one", backends["a"].url, ttl="1s").status == 204
        for _ in range(4):
            assert gateway.get("/renewed/").status == 200
    assert 0 < services(gateway)["renewed"]["instances"][0]["expires_in"] <= 1
    assert gateway.register("renewed", "one", backends["a"].url).status == 204
    assert services(gateway)["renewed"]["instances"][0]["expires_in"] is None
