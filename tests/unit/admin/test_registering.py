"""Registration over HTTP: what is taken, what is refused, and that each refusal says which field and why."""

import json

import pytest

from gateway.admin.registering import AddressCheck
from gateway.config.addresses import parse_bind
from gateway.config.units import Network
from gateway.errors import InvalidBody, NameUnresolved
from gateway.state.addresses import AddressRule
from tests.unit.admin.support import Site, refused, told

GOOD = {"service": "orders", "id": "o-1", "addr": "http://127.0.0.1:9001"}


def instances(site, service="orders"):
    return {one["id"]: one for one in site.get(f"/api/v1/services/{service}")["instances"]}


def test_a_registered_instance_is_there_at_once():
    site = Site()
    answer = site.send("POST", "/register", {**GOOD, "weight": 5, "zone": "b", "tags": ["canary"], "ttl": "30s"})
    assert (answer.status, answer.body) == (204, [b""])
    assert "Content-Length" not in dict(answer.headers)
    assert instances(site)["o-1"] == {
        "id": "o-1", "url": "http://127.0.0.1:9001", "source": "registered", "weight": 5, "zone": "b",
        "tags": ["canary"], "state": "up", "reason": None, "in_flight": 0, "requests": 0, "expires_in": 30.0,
    }  # fmt: skip


def test_registering_again_replaces():
    site = Site()
    site.send("POST", "/register", GOOD)
    site.send("POST", "/register", {**GOOD, "addr": "http://127.0.0.1:9002"})
    assert [one["url"] for one in instances(site).values()] == ["http://127.0.0.1:9002"]


def test_deregistering_removes_and_may_be_repeated():
    site = Site()
    site.send("POST", "/register", GOOD)
    for _ in range(2):
        assert site.send("DELETE", "/register", {"service": "orders", "id": "o-1"}).status == 204
    assert "orders" not in {one["name"] for one in site.get("/services")["services"]}


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_static_id_is_a_conflict(method):
    document = {"service": "echo", "id": "inst-1", **({"addr": GOOD["addr"]} if method == "POST" else {})}
    answer = Site().send(method, "/register", document)
    assert refused(answer) == (409, "static_instance")
    assert (told(answer)["service"], told(answer)["instance"]) == ("echo", "inst-1")


def test_a_service_may_be_closed_to_registration():
    assert refused(Site().send("POST", "/register", {**GOOD, "service": "bare"})) == (409, "registration_off")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"service": None}, "service"),
        ({"service": "a b"}, "service"),
        ({"service": "../x"}, "service"),
        ({"id": 7}, "id"),
        ({"addr": "127.0.0.1:1"}, "addr"),
        ({"addr": "http://127.0.0.1:1/path"}, "addr"),
        ({"addr": "http://u:p@127.0.0.1:1"}, "addr"),
        ({"addr": "ftp://127.0.0.1"}, "addr"),
        ({"addr": 1}, "addr"),
        ({"weight": 0}, "weight"),
        ({"weight": "1"}, "weight"),
        ({"weight": True}, "weight"),
        ({"weight": 1.5}, "weight"),
        ({"zone": 1}, "zone"),
        ({"tags": "canary"}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"ttl": 30}, "ttl"),
        ({"ttl": "soon"}, "ttl"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_bad_field_is_named(change, field):
    site = Site()
    answer = site.send("POST", "/register", {**GOOD, **change})
    assert refused(answer) == (400, "invalid_body")
    assert field in told(answer)["detail"]
    assert "orders" not in {one["name"] for one in site.get("/services")["services"]}


@pytest.mark.parametrize("field", ["service", "id", "addr"])
def test_a_missing_field_is_named(field):
    answer = Site().send("POST", "/register", {name: value for name, value in GOOD.items() if name != field})
    assert refused(answer) == (400, "invalid_body")
    assert field in told(answer)["detail"]


@pytest.mark.parametrize("document", [[], "x", 1, None])
def test_only_an_object_will_do(document):
    answer = Site().send("POST", "/register", body=json.dumps(document).encode())
    assert refused(answer) == (400, "invalid_body")


def check(resolved):
    def resolve(host):
        if isinstance(resolved, Exception):
            raise resolved
        return resolved if isinstance(resolved, list) else [host]

    networks = [Network("127.0.0.0/8"), Network("10.0.0.0/8"), Network("::1/128")]
    return AddressCheck(resolve, AddressRule(networks, [parse_bind("127.0.0.1:8001")], local=lambda address: True))


def test_an_address_in_the_networks_is_taken():
    check(None)("http://127.0.0.1:9001")
    check(None)("http://[::1]:9001")
    check(["10.0.0.5"])("http://orders.internal:80")


@pytest.mark.parametrize(
    ("resolved", "addr", "why"),
    [
        (None, "http://8.8.8.8:80", "addr: 8.8.8.8 is outside admin.register_networks"),
        (["10.0.0.5", "8.8.8.8"], "http://two.example:80", "8.8.8.8"),
        (None, "http://127.0.0.1:8001", "this gateway itself"),
        (NameUnresolved("none.example is unknown"), "http://none.example:80", "addr: none.example is unknown"),
    ],
)
def test_any_other_is_refused_with_the_reason(resolved, addr, why):
    with pytest.raises(InvalidBody, match=why):
        check(resolved)(addr)


def test_an_address_that_is_refused_is_not_registered():
    site = Site(check_address=check(None))
    answer = site.send("POST", "/register", {**GOOD, "addr": "http://169.254.169.254:80"})
    assert refused(answer) == (400, "invalid_body")
    assert "addr" in told(answer)["detail"]
    assert "orders" not in {one["name"] for one in site.get("/services")["services"]}
