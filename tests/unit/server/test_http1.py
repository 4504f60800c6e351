from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import (
    BadHost,
    BodyTooLarge,
    ExpectationFailed,
    HeadersTooLarge,
    Malformed,
    NotSupported,
    Refusal,
    UriTooLong,
)
from gateway.server.http1 import CHUNKED, HeadLimits, check_partial, parse_head

DEFAULTS = HeadLimits()
LIMITS = HeadLimits(line=100, count=5, size=200)


def parse(head: bytes, limits: HeadLimits = DEFAULTS) -> tuple[dict[str, Any], bool, int, bool]:
    environ: dict[str, Any] = {"wsgi.version": (1, 0)}
    persistent, length, expects = parse_head(head, environ, limits)
    return environ, persistent, length, expects


def get(*lines: str, start: str = "GET / HTTP/1.1", host: bool = True) -> bytes:
    return "\r\n".join([start, *(["Host: h"] if host else []), *lines]).encode("latin-1")


def test_a_request_becomes_an_environ() -> None:
    environ, persistent, length, expects = parse(
        get(
            "X-A: 1",
            "X-a:2 ",
            "Content-Type:\ttext/x\t",
            "Cookie: a=b",
            "cookie: c=d",
            start="GET /a%20b?c=%20d HTTP/1.1",
        )
    )
    assert (persistent, length, expects) == (True, 0, False)
    assert environ == {
        "wsgi.version": (1, 0),
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/a%20b?c=%20d",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=%20d",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "h",
        "HTTP_X_A": "1,2",
        "CONTENT_TYPE": "text/x",
        "HTTP_COOKIE": "a=b; c=d",
        "gateway.headers": [
            ("Host", "h"), ("X-A", "1"), ("X-a", "2"), ("Content-Type", "text/x"), ("Cookie", "a=b"), ("cookie", "c=d"),
        ],
    }  # fmt: skip


def test_paths_are_decoded_once_and_as_latin_1() -> None:
    assert parse(get(start="GET /%2561/%c3%a4 HTTP/1.1"))[0]["PATH_INFO"] == "/%61/\xc3\xa4"


@pytest.mark.parametrize("name", ["X_Forwarded_For", "x_forwarded-for", "Content_Length", "_"])
def test_a_name_with_an_underscore_has_no_environ_key(name: str) -> None:
    environ = parse(get(f"{name}: 9"))[0]
    assert (name, "9") in environ["gateway.headers"]
    assert {key for key in environ if key.startswith(("HTTP_", "CONTENT_"))} == {"HTTP_HOST"}


def test_a_header_cannot_take_the_place_of_another_environ_key() -> None:
    environ = parse(get("wsgi.input: x", "Request-Method: PUT", "Path-Info: /y"))[0]
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["HTTP_PATH_INFO"] == "/y"
    assert "wsgi.input" not in environ


@pytest.mark.parametrize("method", ["GET", "HEAD", "PURGE", "M-SEARCH", "get", "x!#$%&'*+-.^_`|~"])
def test_every_token_is_a_method(method: str) -> None:
    assert parse(get(start=f"{method} / HTTP/1.1"))[0]["REQUEST_METHOD"] == method


@pytest.mark.parametrize(
    ("start", "host", "path", "query"),
    [
        ("GET http://other:81/a/b?c HTTP/1.1", "other:81", "/a/b", "c"),
        ("GET HTTP://other HTTP/1.1", "other", "/", ""),
        ("GET https://other?x=/ HTTP/1.1", "other", "/", "x=/"),
        ("GET http://[::1]:80/ HTTP/1.1", "[::1]:80", "/", ""),
        ("OPTIONS http://other HTTP/1.1", "other", "*", ""),
    ],
)
def test_the_host_of_an_absolute_target_replaces_the_header(start: str, host: str, path: str, query: str) -> None:
    environ = parse(get("A: b", start=start))[0]
    assert environ["HTTP_HOST"] == host
    assert environ["gateway.headers"] == [("Host", host), ("A", "b")]
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)
    assert environ["RAW_URI"] == start.split(" ")[1]


def test_an_absolute_target_of_http_1_0_needs_no_host_header() -> None:
    environ = parse(get(start="GET http://other/ HTTP/1.0", host=False))[0]
    assert environ["HTTP_HOST"] == "other"


def test_options_may_ask_for_the_server_itself() -> None:
    assert parse(get(start="OPTIONS * HTTP/1.1"))[0]["PATH_INFO"] == "*"


@pytest.mark.parametrize(
    ("start", "lines", "persistent"),
    [
        ("GET / HTTP/1.1", [], True),
        ("GET / HTTP/1.1", ["Connection: close"], False),
        ("GET / HTTP/1.1", ["Connection: foo, CLOSE"], False),
        ("GET / HTTP/1.1", ["Connection: foo", "Connection: close"], False),
        ("GET / HTTP/1.1", ["Connection: close-not, keep-alive"], True),
        ("GET / HTTP/1.0", [], False),
        ("GET / HTTP/1.0", ["Connection: Keep-Alive"], True),
        ("GET / HTTP/1.0", ["Connection: keep-alive, close"], False),
    ],
)
def test_persistence_follows_version_and_connection_header(start: str, lines: list[str], persistent: bool) -> None:
    assert parse(get(*lines, start=start))[1] is persistent


@pytest.mark.parametrize(
    ("lines", "length", "expects"),
    [
        (["Content-Length: 0"], 0, False),
        (["Content-Length: 007"], 7, False),
        (["Transfer-Encoding: Chunked"], CHUNKED, False),
        (["Content-Length: 5", "Expect: 100-Continue"], 5, True),
        (["Expect: 100-continue"], 0, False),
    ],
)
def test_the_framing_of_the_body_is_told(lines: list[str], length: int, expects: bool) -> None:
    assert parse(get(*lines))[2:] == (length, expects)


def test_an_expectation_of_http_1_0_is_ignored() -> None:
    assert parse(get("Content-Length: 5", "Expect: anything", start="POST / HTTP/1.0"))[2:] == (5, False)


REFUSED: list[tuple[bytes, type[Refusal]]] = [
    # the request line
    (b"", Malformed),
    (b"GET", Malformed),
    (b"GET /", Malformed),
    (get(start="GET  / HTTP/1.1"), Malformed),
    (get(start="GET / HTTP/1.1 "), Malformed),
    (get(start=" GET / HTTP/1.1"), Malformed),
    (get(start="GET\t/ HTTP/1.1"), Malformed),
    (get(start="GET /a b HTTP/1.1"), Malformed),
    (get(start="GET / HTTP/1.2"), NotSupported),
    (get(start="GET / HTTP/2.0"), NotSupported),
    (get(start="GET / HTTP/0.9"), NotSupported),
    (get(start="GET / HTTP/11"), Malformed),
    (get(start="GET / http/1.1"), Malformed),
    (get(start="GET / HTTP/1.1x"), Malformed),
    (get(start="G(T / HTTP/1.1"), Malformed),
    (get(start="G\xe4T / HTTP/1.1"), Malformed),
    (b"PRI * HTTP/2.0", NotSupported),
    # the target
    (get(start="GET /\xe4 HTTP/1.1"), Malformed),
    (get(start="GET /a#b HTTP/1.1"), Malformed),
    (get(start="GET /a\tb HTTP/1.1"), Malformed),
    (get(start="GET a/b HTTP/1.1"), Malformed),
    (get(start="GET h:80 HTTP/1.1"), Malformed),
    (get(start="GET * HTTP/1.1"), Malformed),
    (get(start="GET ftp://h/ HTTP/1.1"), Malformed),
    (get(start="GET http:///a HTTP/1.1"), Malformed),
    (get(start="GET http://u@h/ HTTP/1.1"), Malformed),
    (get(start="GET http://h:x/ HTTP/1.1"), Malformed),
    (get(start="GET http://[::1/ HTTP/1.1"), Malformed),
    (get(start="CONNECT h:443 HTTP/1.1"), NotSupported),
    (get(start="CONNECT / HTTP/1.1"), NotSupported),
    # header lines
    (get("X"), Malformed),
    (get(": x"), Malformed),
    (get("X : y"), Malformed),
    (get(" X: y"), Malformed),
    (get("X: y", " folded"), Malformed),
    (get("X: y", "\tfolded: z"), Malformed),
    (get("X\xe4: y"), Malformed),
    (get("X(: y"), Malformed),
    (get("X: a\0b"), Malformed),
    (get("X: a\x0bb"), Malformed),
    (get("X: a\x7fb"), Malformed),
    (get("X: a\nY: b"), Malformed),
    (get("X: a\rY: b"), Malformed),
    (get("X: a\r"), Malformed),
    (get("") + b"\r\nX: y", Malformed),
    # Host
    (get(host=False), BadHost),
    (get("Host: h"), BadHost),
    (get("host: other"), BadHost),
    (get(start="GET http://h/ HTTP/1.1", host=False), BadHost),
    # framing
    (get("Content-Length: 5", "Content-Length: 5"), Malformed),
    (get("Content-Length: 5", "content-length: 6"), Malformed),
    (get("Content-Length: 5, 5"), Malformed),
    (get("Content-Length: +5"), Malformed),
    (get("Content-Length: -5"), Malformed),
    (get("Content-Length: 0x5"), Malformed),
    (get("Content-Length: 5_0"), Malformed),
    (get("Content-Length: 5 0"), Malformed),
    (get("Content-Length: \xb2"), Malformed),
    (get("Content-Length:"), Malformed),
    (get(f"Content-Length: {'9' * 19}"), BodyTooLarge),
    (get(f"Content-Length: {'9' * 5000}"), BodyTooLarge),
    (get("Content-Length: 5", "Transfer-Encoding: chunked"), Malformed),
    (get("Transfer-Encoding: chunked", "Content-Length: 5"), Malformed),
    (get("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), Malformed),
    (get("Transfer-Encoding: chunked", start="POST / HTTP/1.0"), Malformed),
    (get("Transfer-Encoding: gzip, chunked"), NotSupported),
    (get("Transfer-Encoding: chunked, identity"), NotSupported),
    (get("Transfer-Encoding: identity"), NotSupported),
    (get("Transfer-Encoding: xchunked"), NotSupported),
    (get("Transfer-Encoding: \x0bchunked"), Malformed),
    (get("Transfer-Encoding:"), NotSupported),
    # others
    (get("Expect: 200-ok"), ExpectationFailed),
    (get("Expect: 100-continue, x"), ExpectationFailed),
    (get("Authorization: a", "Authorization: b"), Malformed),
    (get("Content-Type: a", "Content-Type: b"), Malformed),
]


@pytest.mark.parametrize(("head", "refusal"), REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(head: bytes, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal) as caught:
        parse(head)
    assert type(caught.value) is refusal


@pytest.mark.parametrize("coding", ["chunked", "gzip"])
def test_a_length_beside_any_coding_is_malformed(coding: str) -> None:
    with pytest.raises(Malformed):
        parse(get("Content-Length: 1", f"Transfer-Encoding: {coding}"))


@pytest.mark.parametrize(
    ("head", "refusal"),
    [
        (get(start=f"GET /{'a' * 86} HTTP/1.1"), None),
        (get(start=f"GET /{'a' * 87} HTTP/1.1"), UriTooLong),
        (get(*["A: b"] * 4), None),
        (get(*["A: b"] * 5), HeadersTooLarge),
        (get(f"A: {'b' * 186}"), None),
        (get(f"A: {'b' * 187}"), HeadersTooLarge),
    ],
)
def test_limits_are_exact(head: bytes, refusal: type[Refusal] | None) -> None:
    if refusal is None:
        parse(head, LIMITS)
        return
    with pytest.raises(refusal):
        parse(head, LIMITS)


@pytest.mark.parametrize(
    ("received", "refusal"),
    [
        (b"\r", None),
        (b"GE", None),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r", None),
        (b"\x16\x03\x01", Malformed),
        (b"\n", Malformed),
        (b"GET / HTTP/1.1\n", Malformed),
        (b"GET / HTTP/1.1\r\nHost: h\n\n", Malformed),
        (b"GET /" + b"a" * 95, None),
        (b"GET /" + b"a" * 95 + b"\r", None),
        (b"GET /" + b"a" * 97, UriTooLong),
        (b"GET /" + b"a" * 96 + b"\r\n", UriTooLong),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 195 + b"\r\n\r", None),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 200, HeadersTooLarge),
    ],
)
def test_a_beginning_that_cannot_become_a_request_is_refused_at_once(
    received: bytes, refusal: type[Refusal] | None
) -> None:
    if refusal is None:
        check_partial(received, LIMITS)
        return
    with pytest.raises(refusal):
        check_partial(received, LIMITS)


def test_strange_names_do_not_fill_the_memory_of_names() -> None:
    from gateway.server import http1

    for number in range(5000):
        parse(get(f"X-{number}: y"))
    parse(get(f"{'y' * 65}: y"))
    assert len(http1._keys) <= 4096
    assert "y" * 65 not in http1._keys
    assert parse(get("X-4999: y"))[0]["HTTP_X_4999"] == "y"
