"""What a backend gets of the head of a client's request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend, Received
from tests.support.servers import Gateway, Promise, Server

ROUTES = [{"id": "r", "path": "/*", "service": "s"}]


@pytest.fixture(scope="module")
def backend() -> Iterator[FakeBackend]:
    with FakeBackend(behaviours.echo) as fake:
        yield fake


def config(backend: FakeBackend, **server: object) -> dict[str, object]:
    return {"server": server, "services": {"s": {"instances": [{"id": "a", "url": backend.url}]}}, "routes": ROUTES}


@pytest.fixture(scope="module")
def gateway(server: Server, backend: FakeBackend) -> Iterator[Gateway]:
    with server.serve(config(backend)) as started:
        yield started


@pytest.fixture(scope="module")
def distrusting(server: Server, backend: FakeBackend) -> Iterator[Gateway]:
    """A gateway without a proxy in front that it would believe."""
    environment = {"http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9", "REQUESTS_CA_BUNDLE": "/none"}
    with server.serve(config(backend, trusted_proxies=[]), workers=1, env=environment) as started:
        yield started


@pytest.fixture
def received(backend: FakeBackend) -> Iterator[list[Received]]:
    """What arrived during this test."""
    backend.requests.clear()
    yield backend.requests


# --- the request line -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("query", ["", "?", "?a", "?a=1&a=2&b=%26%3d+%20", "??", "?x=%C3%a4", "?;/:@!$'()*,[]|"])
def test_the_query_string_arrives_byte_for_byte(gateway: Gateway, received: list[Received], query: str):
    assert gateway.get(f"/q{query}").status == 200
    assert received[0].target == f"/q{query}"


@pytest.mark.parametrize("path", ["/%41%7e%2D/%c3%A4", "/a%20b+c", "/%25%32%35", "/~a-b_c.d!$&'()*+,=:@"])
def test_percent_encoding_arrives_byte_for_byte(gateway: Gateway, received: list[Received], path: str):
    assert gateway.get(path).status == 200
    assert received[0].target == path


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW", "M-SEARCH"]
)
def test_every_method_is_forwarded(gateway: Gateway, received: list[Received], method: str):
    answer = gateway.request(method, "/m")
    assert answer.status == 200
    assert received[0].method == method
    if method == "HEAD":
        assert (answer.body, int(answer.header("Content-Length") or 0) > 0) == (b"", True)
    else:
        assert answer.json()["method"] == method


# --- header fields --------------------------------------------------------------------------------------------------
@pytest.mark.needs(Promise.HEADER_LINES)
def test_repeated_headers_arrive_byte_for_byte_in_order(gateway: Gateway, received: list[Received]):
    lines = [
        "X-A: 1",
        "x-a:2",
        "Cookie: a=1",
        "X-B:  spaced  out ",
        "X-A: 1, 2",
        "cookie: b=2",
        "X-Empty:",
        "x_under: 1",
    ]
    with gateway.connect() as wire:
        assert wire.get("/h", *lines).status == 200
    told = [
        ("X-A", "1"), ("x-a", "2"), ("Cookie", "a=1"), ("X-B", "spaced  out"), ("X-A", "1, 2"), ("cookie", "b=2"),
        ("X-Empty", ""), ("x_under", "1"),
    ]  # fmt: skip
    names = {name.lower() for name, _ in told}
    assert [(name, value) for name, value in received[0].headers if name.lower() in names] == told


@pytest.mark.needs(Promise.HEADER_LINES)
def test_bytes_beyond_ascii_in_a_header_arrive_as_they_are(gateway: Gateway, received: list[Received]):
    with gateway.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Name: J\xc3\xb6rg \xe9\r\n\r\n")
        assert wire.answer().status == 200
    assert b"\r\nX-Name: J\xc3\xb6rg \xe9\r\n" in received[0].head


def test_ordinary_headers_arrive(gateway: Gateway, received: list[Received]):
    sent = {
        "User-Agent": "test/1", "Accept": "*/*;q=0.1", "Accept-Encoding": "gzip, br", "Authorization": "Bearer t",
        "Cookie": "a=1; b=2", "If-None-Match": '"x"', "Range": "bytes=0-1", "Content-Type": "text/x; a=b", "X-Own": "ä",
    }  # fmt: skip
    headers = {name: value.encode().decode("latin-1") for name, value in sent.items()}
    assert gateway.request("POST", "/h", headers=headers, body=b"x").status == 200
    assert {name: received[0].value(name) for name in sent} == headers


def test_what_connection_names_is_dropped(gateway: Gateway, received: list[Received]):
    headers = {
        "Connection": "keep-alive, X-Foo, x-bar", "X-Foo": "1", "X-Bar": "1", "X-Kept": "1", "Keep-Alive": "timeout=5",
        "Proxy-Connection": "keep-alive", "TE": "trailers", "Trailer": "X-T", "Upgrade": "websocket",
        "Proxy-Authorization": "Basic x",
    }  # fmt: skip
    assert gateway.get("/h", headers=headers).status == 200
    there = {name.lower() for name, _ in received[0].headers}
    assert not there & {name.lower() for name in headers if name != "X-Kept"}
    assert "x-kept" in there


def test_close_and_x_foo_drops_x_foo(gateway: Gateway, received: list[Received]):
    assert gateway.get("/h", headers={"Connection": "close, X-Foo", "X-Foo": "1"}).status == 200
    assert received[0].value("X-Foo") is None
    assert "close" not in (received[0].value("Connection") or "")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Request-ID", "Host", "Via", "X-Forwarded-Proto"])
def test_connection_cannot_drop_what_the_gateway_says(gateway: Gateway, received: list[Received], name: str):
    assert gateway.get("/h", headers={"Connection": f"close, {name}"}).status == 200
    assert received[0].value(name)


@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize("framing", ["Content-Length: 3", "Transfer-Encoding: chunked"])
def test_connection_cannot_drop_what_delimits_the_body(gateway: Gateway, received: list[Received], framing: str):
    body = "abc" if "Length" in framing else "3\r\nabc\r\n0\r\n\r\n"
    with gateway.connect() as wire:
        wire.send(f"POST /h HTTP/1.1\r\nHost: h\r\nConnection: {framing.partition(':')[0]}\r\n{framing}\r\n\r\n{body}")
        assert wire.answer().status == 200
    assert (received[0].body, received[0].complete, len(received)) == (b"abc", True, 1)


OWNED = [
    "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix",
    "X-Forwarded-User", "Forwarded", "X-Real-IP", "X-Request-ID", "X-Gateway-Subject", "X-Gateway-Scopes",
    "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "Proxy",
    "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Cluster-Client-IP", "X-Forwarded", "Forwarded-For",
    "X-Original-Host", "X-Original-Forwarded-For", "X-Scheme", "X-Url-Scheme", "Front-End-Https",
]  # fmt: skip


def spellings(name: str) -> list[str]:
    return [name, name.lower(), name.upper(), name.replace("-", "_"), name.replace("-", "."), name.replace("-", "_", 1)]


@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize("name", OWNED)
def test_what_the_gateway_says_cannot_be_said_by_a_client_in_any_spelling(
    distrusting: Gateway, received: list[Received], name: str
):
    for spelling in spellings(name):
        with distrusting.connect() as wire:
            assert wire.get("/h", f"{spelling}: forged", f"{spelling}: forged-again").status == 200
    for request in received:
        assert b"forged" not in request.head


def test_the_gateway_says_who_asked_for_what(distrusting: Gateway, received: list[Received]):
    forged = {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    answer = distrusting.get("/h", headers={**forged, "Host": "shop.example"})
    told = ("Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-ID")
    assert [received[0].value(name) for name in told] == [
        "shop.example", "127.0.0.1", "http", "shop.example", answer.header("X-Request-ID"),
    ]  # fmt: skip
    assert (received[0].value("Via") or "").startswith("1.1 gateway-")


def test_a_trusted_proxy_is_believed(gateway: Gateway, received: list[Received]):
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}
    answer = gateway.get("/h", headers={**headers, "X-Forwarded-Port": "443", "X-Request-ID": "from-nginx.1"})
    told = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Request-ID")
    assert [received[0].value(name) for name in told] == [
        "203.0.113.9, 127.0.0.1", "https", "shop.example", "443", "from-nginx.1",
    ]  # fmt: skip
    assert gateway.access_line(answer.header("X-Request-ID"))["client"] == "203.0.113.9"


def test_the_environments_proxies_are_ignored(distrusting: Gateway, received: list[Received]):
    assert distrusting.get("/direct").status == 200
    assert received[0].target == "/direct"


# --- in a circle ----------------------------------------------------------------------------------------------------
def test_a_request_that_comes_back_is_a_loop(gateway: Gateway, received: list[Received]):
    gateway.get("/first")
    via = received[0].value("Via") or ""
    answer = gateway.get("/again", headers={"Via": f"1.0 other, {via}"})
    assert (answer.status, answer.json()["reason"]) == (508, "loop_detected")
    assert gateway.get("/again", headers={"Via": "1.1 gateway-ffffffffffff"}).status == 200
    assert received[-1].values("Via") == ["1.1 gateway-ffffffffffff", via]
