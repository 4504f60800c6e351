"""Which route takes a request, and what the backend is asked for then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.servers import Gateway, Promise, Server, at_once


def told(name: str, path: str, **more: Any) -> dict[str, Any]:
    """A route whose answer is its name."""
    return {"id": name, "path": path, "fixed_response": {"body": name}, **more}


ROUTES = [
    told("regex", "~^/v[0-9]+/"),
    told("prefix", "/files/*"),
    told("longer prefix", "/files/old/*"),
    told("exact", "/files/index"),
    told("template", "/users/{id}"),
    told("template prefix", "/users/{id}/*"),
    told("literal in template", "/users/{id}/keys"),
    told("regex of files", "~^/files/.*[.]png$"),
    # hosts
    told("any host", "/host"),
    told("exact host", "/host", hosts=["api.example.com"]),
    told("wildcard", "/host", hosts=["*.example.com"]),
    told("longer wildcard", "/host", hosts=["*.eu.example.com"]),
    # methods
    told("read", "/thing", methods=["GET"]),
    told("write", "/thing", methods=["PUT", "PATCH"]),
    told("read only", "/only", methods=["GET"]),
    told("below", "/only/*", methods=["DELETE"]),
    # headers
    told("no header", "/header"),
    told("version 2", "/header", headers={"X-Version": "v2"}),
    told("beta", "/header", headers={"X-Beta": "*"}),
    told("version 2 and beta", "/header", headers={"X-Version": "v2", "X-Beta": "*"}),
    # ties
    told("first", "/tie/{a}", headers={"X-A": "*"}),
    told("second", "/tie/{b}", headers={"X-B": "*"}),
]


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, FakeBackend]]:
    with FakeBackend(behaviours.echo, name="a") as a, FakeBackend(behaviours.echo, name="b") as b:
        yield {"a": a, "b": b}


@pytest.fixture(scope="module")
def gateway(server: Server, backends: dict[str, FakeBackend]) -> Iterator[Gateway]:
    services = {name: {"instances": [{"id": "i", "url": one.url}]} for name, one in backends.items()}
    headers = {
        "request_headers": {"set": {"X-Set": "by the route", "X-Both": "new"}, "remove": ["X-Gone"]},
        "response_headers": {"set": {"X-Answer": "edited"}, "remove": ["X-Backend"]},
    }
    routes = [
        *ROUTES,
        {"id": "split", "path": "/split", "split": [{"service": "a", "weight": 30}, {"service": "b", "weight": 10}]},
        {"id": "fixed", "path": "/fixed", "fixed_response": {"status": 451, "body": "{}", "content_type": "text/x"}},
        {"id": "empty", "path": "/empty", "fixed_response": {"status": 204}},
        {"id": "strip", "path": "/strip/*", "strip_prefix": "/strip", "service": "a"},
        {"id": "strip name", "path": "/named/{n}/*", "strip_prefix": "/named/{n}", "service": "a"},
        {"id": "rewrite", "path": "/old/{x}/{y}", "rewrite": {"path": "/new/{y}/{x}"}, "service": "a"},
        {"id": "rewrite rest", "path": "/move/*", "rewrite": {"path": "/moved/*"}, "service": "a"},
        {"id": "headers", "path": "/edit", "rewrite": headers, "service": "a"},
        {"id": "host", "path": "/backends-host", "preserve_host": False, "service": "a"},
        {"id": "as sent", "path": "/as-sent/*", "service": "a"},
    ]
    with server.serve({"services": services, "routes": routes}) as started:
        yield started


# --- which route ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path, route",
    [
        ("/files/index", "exact"),
        ("/files/index?x=1", "exact"),
        ("/files", "prefix"),
        ("/files/", "prefix"),
        ("/files/index/", "prefix"),
        ("/files/a/b", "prefix"),
        ("/files/old", "longer prefix"),
        ("/files/old/x", "longer prefix"),
        ("/files/older", "prefix"),
        ("/files/a.png", "prefix"),
        ("/users/5", "template"),
        ("/users/5/x", "template prefix"),
        ("/users/5/keys", "literal in template"),
        ("/v1/", "regex"),
        ("/v12/x", "regex"),
    ],
)
def test_the_most_specific_path_takes_the_request(gateway: Gateway, path: str, route: str):
    assert gateway.get(path).body.decode() == route


@pytest.mark.parametrize("path", ["/", "/filesystem", "/Files", "/users", "/users/", "/x/v1/", "/vx/", "/tie", "/none"])
def test_a_path_that_no_route_takes_is_not_found(gateway: Gateway, path: str):
    answer = gateway.get(path)
    assert (answer.status, answer.json()["reason"]) == (404, "no_route")


@pytest.mark.parametrize(
    "host, route",
    [
        ("api.example.com", "exact host"),
        ("API.Example.COM:8080", "exact host"),
        ("api.example.com.", "exact host"),
        ("www.example.com", "wildcard"),
        ("a.b.example.com", "wildcard"),
        ("x.eu.example.com", "longer wildcard"),
        ("eu.example.com", "wildcard"),
        ("example.com", "any host"),
        ("badexample.com", "any host"),
        ("127.0.0.1", "any host"),
    ],
)
def test_the_most_specific_host_takes_the_request(gateway: Gateway, host: str, route: str):
    assert gateway.get("/host", headers={"Host": host}).body.decode() == route


@pytest.mark.parametrize(
    "method, route", [("GET", "read"), ("PUT", "write"), ("PATCH", "write"), ("HEAD", "")], ids=lambda value: value
)
def test_a_method_is_a_condition(gateway: Gateway, method: str, route: str):
    answer = gateway.request(method, "/thing")
    assert (answer.status, answer.body.decode()) == (200, route)


@pytest.mark.parametrize(
    "method, path, allow",
    [
        ("POST", "/thing", "GET, HEAD, PATCH, PUT"),
        ("OPTIONS", "/thing", "GET, HEAD, PATCH, PUT"),
        ("POST", "/only", "DELETE, GET, HEAD"),
        ("GET", "/only/x", "DELETE"),
    ],
)
def test_a_method_that_no_route_takes_is_told_those_that_are(gateway: Gateway, method: str, path: str, allow: str):
    answer = gateway.request(method, path)
    assert (answer.status, answer.json()["reason"], answer.header("Allow")) == (405, "method_not_allowed", allow)


@pytest.mark.parametrize(
    "headers, route",
    [
        ({}, "no header"),
        ({"X-Version": "v1"}, "no header"),
        ({"X-Version": "v2"}, "version 2"),
        ({"x-version": "v2"}, "version 2"),
        ({"X-Beta": "anything"}, "beta"),
        ({"X-Beta": "1", "X-Version": "v2"}, "version 2 and beta"),
    ],
)
def test_the_route_with_most_of_its_headers_takes_the_request(gateway: Gateway, headers: dict[str, str], route: str):
    assert gateway.get("/header", headers=headers).body.decode() == route


def test_of_equals_the_first_in_the_file_takes_the_request(gateway: Gateway):
    assert gateway.get("/tie/x", headers={"X-B": "1", "X-A": "1"}).body == b"first"
    assert gateway.get("/tie/x", headers={"X-B": "1"}).body == b"second"


def test_the_admin_api_tells_the_routes_in_this_order(gateway: Gateway):
    order = [row["id"] for row in gateway.call("GET", "/api/v1/routes").json()["routes"]]
    for earlier, later in [
        ("exact", "longer prefix"), ("longer prefix", "prefix"), ("prefix", "regex of files"), ("first", "second"),
        ("exact host", "longer wildcard"), ("longer wildcard", "wildcard"), ("wildcard", "any host"),
        ("version 2 and beta", "version 2"), ("beta", "no header"),
    ]:  # fmt: skip
        assert order.index(earlier) < order.index(later), (earlier, later)


# --- where to -------------------------------------------------------------------------------------------------------
def test_a_split_is_exact_over_all_workers(gateway: Gateway):
    answers = at_once(200, lambda _: gateway.get("/split").json()["backend"])
    assert Counter(answers) == {"a": 150, "b": 50}


def test_a_fixed_response_is_answered_by_the_gateway(gateway: Gateway):
    answer = gateway.get("/fixed")
    assert (answer.status, answer.body, answer.header("Content-Type")) == (451, b"{}", "text/x")
    head = gateway.request("HEAD", "/fixed")
    assert (head.status, head.body, head.header("Content-Length")) == (451, b"", "2")
    empty = gateway.get("/empty")
    assert (empty.status, empty.body, empty.header("Content-Length")) == (204, b"", None)


@pytest.mark.parametrize(
    "path, asked",
    [
        ("/strip", "/"),
        ("/strip/", "/"),
        ("/strip/a/b", "/a/b"),
        ("/strip?q=1", "/?q=1"),
        ("/%73trip/%7Ex?", "/%7Ex?"),
        ("/named/%78y/z%20?a=/named/xy", "/z%20?a=/named/xy"),
        ("/old/1%2c/2", "/new/2/1%2c"),
        ("/old/1/2?old=1", "/new/2/1?old=1"),
        ("/move", "/moved"),
        ("/move/a/%62", "/moved/a/%62"),
        ("/as-sent/strip", "/as-sent/strip"),
    ],
)
def test_the_backend_is_asked_for_the_rewritten_path(gateway: Gateway, path: str, asked: str):
    assert gateway.get(path).json()["target"] == asked


def test_a_route_edits_headers_both_ways(gateway: Gateway):
    answer = gateway.get("/edit", headers={"X-Both": "old", "X-Gone": "1", "X-Kept": "1"})
    there = {name.lower(): value for name, value in answer.json()["headers"]}
    assert there["x-set"] == "by the route"
    assert there["x-both"] == "new"
    assert there["x-kept"] == "1"
    assert "x-gone" not in there
    assert (answer.header("X-Answer"), answer.header("X-Backend")) == ("edited", None)


def test_host_is_the_clients_unless_the_route_says_otherwise(gateway: Gateway, backends: dict[str, FakeBackend]):
    for path, host in (("/as-sent/", "shop.example"), ("/backends-host", backends["a"].address)):
        fields = gateway.get(path, headers={"Host": "shop.example"}).json()["headers"]
        assert [value for name, value in fields if name == "Host"] == [host]
        assert ["X-Forwarded-Host", "shop.example"] in fields


# --- a function -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def asking(server: Server, backends: dict[str, FakeBackend]) -> Iterator[Gateway]:
    config = {
        "routing": {"function": "tests.support.hooks:choose"},
        "services": {name: {"instances": [{"id": "i", "url": one.url}]} for name, one in backends.items()},
        "routes": [{"id": "r", "path": "/routed/*", "strip_prefix": "/routed", "service": "a"}],
    }
    with server.serve(config) as started:
        yield started


def test_a_function_is_asked_before_the_routes(asking: Gateway):
    answer = asking.get("/routed/%78?y", headers={"X-Choose": "b"})
    assert (answer.json()["backend"], answer.json()["target"]) == ("b", "/routed/%78?y")
    assert asking.access_line(answer.header("X-Request-ID"))["route"] == "routing.function"


def test_a_function_without_an_opinion_leaves_it_to_the_routes(asking: Gateway):
    assert asking.get("/routed/x").json()["target"] == "/x"
    assert asking.get("/x").json()["reason"] == "no_route"


def test_a_function_may_name_a_service_that_only_registered(asking: Gateway, backends: dict[str, FakeBackend]):
    assert asking.get("/", headers={"X-Choose": "new"}).json()["reason"] == "unknown_service"
    assert asking.register("new", "i", backends["b"].url).status == 204
    assert asking.get("/", headers={"X-Choose": "new"}).json()["backend"] == "b"


@pytest.mark.parametrize("wanted", ["(raise)", "(number)"])
def test_a_function_that_fails_costs_its_request_and_is_logged(asking: Gateway, wanted: str):
    answer = asking.get("/", headers={"X-Choose": wanted})
    assert (answer.status, answer.json()["reason"]) == (500, "internal_error")
    assert "purpose" not in answer.body.decode()
    said = "routing_function_failed" if wanted == "(raise)" else "routing_function_no_name"
    event = asking.wait_event(said, request_id=answer.header("X-Request-ID"))
    assert wanted == "(number)" or "the function fails on purpose" in event["exception"]


@pytest.mark.needs(Promise.SOCKET)
def test_routes_listen_to_repeated_headers_line_by_line(gateway: Gateway):
    with gateway.connect() as wire:
        expected = b"version 2" if gateway.server.promises(Promise.HEADER_LINES) else b"no header"
        assert wire.get("/header", "X-Version: v1", "X-Version: v2").body == expected
