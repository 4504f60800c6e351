"""Instances register and leave over HTTP; what they say is checked field by field."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.process import Reply, eventually
from tests.support.servers import Gateway, Promise, Server

JSON = {"Content-Type": "application/json"}
GOOD = {"service": "s", "id": "i", "addr": "http://127.0.0.1:9"}


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, FakeBackend]]:
    with FakeBackend(behaviours.echo, name="a") as a, FakeBackend(behaviours.echo, name="b") as b:
        yield {"a": a, "b": b}


@pytest.fixture(scope="module")
def gateway(server: Server, backends: dict[str, FakeBackend]) -> Iterator[Gateway]:
    names = ["empty", "lease", "renewed", "comes", "replaced", "moved", "twice", "bad", "private"]
    static = {"instances": [{"id": "fixed", "url": backends["a"].url, "weight": 2, "zone": "z", "tags": ["t"]}]}
    config = {
        "services": {
            **{name: {} for name in names},
            "static": {**static, "balancer": "weighted_round_robin"},
            "fallback": {**static, "static": "fallback"},
            "closed": {**static, "registration": "off"},
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


# --- services that the configuration does not name --------------------------------------------------------------
def test_a_service_that_nobody_configured_gets_the_defaults(gateway: Gateway, backends: dict[str, FakeBackend]):
    assert gateway.register("brand-new", "one", backends["a"].url).status == 204
    found = services(gateway)["brand-new"]
    assert (found["balancer"], found["instances"][0]["source"]) == ("round_robin", "registered")
    # Its name in a path leads nowhere: nobody exposed it.
    answer = gateway.get("/brand-new/x")
    assert (answer.status, answer.json()["reason"]) == (404, "unknown_service")
    assert gateway.get("/never-heard-of/x").json()["reason"] == "unknown_service"
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
        for _ in range(20):
            assert gateway.get("/renewed/").status == 200
    assert 0 < services(gateway)["renewed"]["instances"][0]["expires_in"] <= 1
    assert gateway.register("renewed", "one", backends["a"].url).status == 204
    assert services(gateway)["renewed"]["instances"][0]["expires_in"] is None


# --- refused ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_an_id_of_the_configuration_is_a_conflict(gateway: Gateway, method: str):
    document = {"service": "static", "id": "fixed", **({"addr": "http://127.0.0.1:9"} if method == "POST" else {})}
    problem = refused(gateway.call(method, "/register", document), 409, "static_instance")
    assert (problem["service"], problem["instance"]) == ("static", "fixed")
    assert "fixed" in ids(gateway, "static")


def test_registration_off_is_a_conflict(gateway: Gateway):
    assert refused(gateway.register("closed", "one", "http://127.0.0.1:9"), 409, "registration_off")
    assert ids(gateway, "closed") == ["fixed"]


@pytest.mark.parametrize(
    "changed, field",
    [
        ({"service": None}, "service"), ({"service": 5}, "service"), ({"service": ""}, "service"),
        ({"service": "a/b"}, "service"), ({"service": "ä"}, "service"), ({"service": "../x"}, "service"),
        ({"service": "a b"}, "service"), ({"service": "x" * 129}, "service"),
        ({"id": None}, "id"), ({"id": ["i"]}, "id"), ({"id": "i\n"}, "id"), ({"id": "."}, "id"),
        ({"weight": 0}, "weight"), ({"weight": -1}, "weight"), ({"weight": 1.5}, "weight"), ({"weight": "1"}, "weight"),
        ({"weight": True}, "weight"), ({"weight": 10**9}, "weight"),
        ({"zone": 5}, "zone"), ({"zone": ""}, "zone"), ({"zone": "\x00"}, "zone"),
        ({"tags": "t"}, "tags"), ({"tags": [1]}, "tags"), ({"tags": ["x"] * 100}, "tags"),
        ({"ttl": 30}, "ttl"), ({"ttl": "30"}, "ttl"), ({"ttl": "0s"}, "ttl"), ({"ttl": "-5s"}, "ttl"),
        ({"ttl": "48h"}, "ttl"),
        ({"address": "x"}, "address"), ({"Service": "x"}, "Service"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_field_is_named(gateway: Gateway, changed: dict[str, Any], field: str):
    refused(gateway.call("POST", "/register", {**GOOD, **changed}), 400, "invalid_body", field)
    assert "s" not in services(gateway)


@pytest.mark.parametrize("field", ["service", "id", "addr"])
def test_a_missing_field_is_named(gateway: Gateway, field: str):
    document = {name: value for name, value in GOOD.items() if name != field}
    assert "missing" in refused(gateway.call("POST", "/register", document), 400, "invalid_body", field)["detail"]
    if field != "addr":
        document.pop("addr")
        refused(gateway.call("DELETE", "/register", document), 400, "invalid_body", field)


@pytest.mark.parametrize(
    "addr, why",
    [
        (5, "must be a string"),
        ("", "http"),
        ("127.0.0.1:9", "http"),
        ("ftp://127.0.0.1:9", "http"),
        ("unix:/run/x", "http"),
        ("http://", "http"),
        ("http://127.0.0.1:0", "port"),
        ("http://127.0.0.1:65536", "port"),
        ("http://127.0.0.1:9/path", "path"),
        ("http://127.0.0.1:9?q", "path, query"),
        ("http://127.0.0.1:9#f", "path, query or fragment"),
        ("http://user:secret@127.0.0.1:9", "user"),
        ("http://127.1:9", "IPv4"),
        ("http://0x7f000001:9", "IPv4"),
        ("http://a b:9", "space"),
        ("http://8.8.8.8:80", "outside admin.register_networks"),
        ("http://[2001:4860::1]:80", "outside admin.register_networks"),
        ("http://169.254.169.254:80", "outside admin.register_networks"),
        ("http://no-such-host.invalid:80", "resolve"),
        ("http://127.0.0.1:{internal}", "gateway itself"),
        ("http://localhost:{external}", "gateway itself"),
        ("http://[::ffff:127.0.0.1]:{external}", "gateway itself"),
    ],
)
def test_an_address_that_may_not_be_connected_to_is_refused_and_told_why(gateway: Gateway, addr: Any, why: str):
    if isinstance(addr, str):
        addr = addr.replace("{internal}", str(gateway.internal_port))
        addr = addr.replace("{external}", str(gateway.external_port))
    problem = refused(gateway.call("POST", "/register", {**GOOD, "addr": addr}), 400, "invalid_body", "addr")
    assert why in problem["detail"]
    assert "secret" not in problem["detail"]
    assert "s" not in services(gateway)


@pytest.mark.parametrize(
    "body, said",
    [
        (b"", "missing"), (b"{", "JSON"), (b"service=s&id=i", "JSON"), (b"[]", "object"), (b"null", "object"),
        (b'"text"', "object"), (b"\xff\xfe", "UTF-8"), (b'{"service": NaN}', "NaN"), (b"[" * 60000, "nested"),
        (b'{"service": "s", "service": "t", "id": "i", "addr": "http://127.0.0.1:9"}', "twice"),
    ],
    ids=lambda value: repr(value)[:24],
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_refused(gateway: Gateway, body: bytes, said: str):
    answer = gateway.request("POST", "/register", internal=True, headers=JSON, body=body)
    assert said in refused(answer, 400, "invalid_body")["detail"]


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_a_body_that_is_not_declared_as_json_is_refused(gateway: Gateway, kind: str | None):
    headers = {} if kind is None else {"Content-Type": kind}
    answer = gateway.request("POST", "/register", internal=True, headers=headers, body=json.dumps(GOOD).encode())
    refused(answer, 415, "wrong_content_type")
    assert "s" not in services(gateway)


def test_a_charset_behind_the_content_type_does_no_harm(gateway: Gateway, backends: dict[str, FakeBackend]):
    document = {"service": "empty", "id": "one", "addr": backends["a"].url}
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = gateway.request("POST", "/register", internal=True, headers=headers, body=json.dumps(document).encode())
    assert answer.status == 204


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_body_over_64_kib_is_refused(gateway: Gateway, chunked: bool):
    def body(size: int) -> bytes | list[bytes]:
        data = json.dumps({**GOOD, "service": "bad", "addr": "http://8.8.8.8:80"}).encode().ljust(size)
        return [data] if chunked else data

    largest = gateway.request("POST", "/register", internal=True, headers=JSON, body=body(65536))
    refused(largest, 400, "invalid_body", "addr")
    over = gateway.request("POST", "/register", internal=True, headers=JSON, body=body(65537))
    refused(over, 413, "body_too_large")


@pytest.mark.needs(Promise.SOCKET)
def test_half_a_registration_registers_nobody(gateway: Gateway):
    data = json.dumps({**GOOD, "service": "bad"})
    with gateway.connect(internal=True) as wire:
        wire.send(f"POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  f"Content-Length: {len(data) + 1}\r\n\r\n{data}")  # fmt: skip
    gateway.wait_event("request", path="/register", reason="client_gone")
    assert ids(gateway, "bad") == []


def refused(answer: Reply, status: int, reason: str, field: str | None = None) -> dict[str, Any]:
    """The problem, after a look at what every one of them has."""
    problem: dict[str, Any] = answer.json()
    assert (answer.status, problem["status"], problem["reason"]) == (status, status, reason), problem
    assert answer.header("Content-Type") == "application/problem+json"
    if field is not None:
        assert problem["detail"].lstrip("'").startswith(field), problem
    return problem
