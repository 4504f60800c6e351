"""What a registration says is checked field by field; a refusal names the field and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.process import Reply
from tests.support.servers import Gateway, Promise, Server

JSON = {"Content-Type": "application/json"}
GOOD = {"service": "s", "id": "i", "addr": "http://127.0.0.1:9"}


@pytest.fixture(scope="module")
def gateway(server: Server) -> Iterator[Gateway]:
    static = {"instances": [{"id": "fixed", "url": "http://127.0.0.1:9"}]}
    services = {"static": static, "closed": {**static, "registration": "off"}, "bad": {}}
    with server.serve({"services": services, "routes": []}, workers=1) as started:
        yield started


def services(gateway: Gateway) -> dict[str, Any]:
    return {one["name"]: one for one in gateway.call("GET", "/services").json()["services"]}


def ids(gateway: Gateway, service: str) -> list[str]:
    return [one["id"] for one in services(gateway)[service]["instances"]]


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


def test_a_charset_behind_the_content_type_does_no_harm(gateway: Gateway):
    document = {"service": "charset", "id": "one", "addr": "http://127.0.0.1:9"}
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
