"""The head of an answer: what is taken, what is refused."""

from __future__ import annotations

import pytest

from gateway.errors import AnswerTooLarge, BadAnswer
from gateway.forward.answers import MAX_FIELDS, parse


def head(*fields, status="HTTP/1.1 200 OK"):
    return parse("\r\n".join([status, *fields]).encode("latin-1"))


def test_fields_pass_in_order_with_their_case_and_repetitions():
    fields = ["Set-Cookie: a=1", "x-B:\t2 ", "Set-Cookie: b=2", "Content-Encoding: gzip", "X-Empty:", "X-E: \xe9"]
    found = head(*fields)
    assert found.headers == [
        ("Set-Cookie", "a=1"), ("x-B", "2"), ("Set-Cookie", "b=2"), ("Content-Encoding", "gzip"), ("X-Empty", ""),
        ("X-E", "\xe9"),
    ]  # fmt: skip
    assert (found.status, found.phrase, found.length, found.chunked, found.keep) == (200, "OK", None, False, True)


@pytest.mark.parametrize(
    "field",
    [
        "Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: x", "TE: x", "Trailer: x", "Upgrade: h2c",
        "Proxy-Authenticate: x", "Transfer-Encoding: chunked", "X-Accel-Redirect: /secret", "x_accel.buffering: no",
    ],
)  # fmt: skip
def test_fields_of_the_connection_and_orders_to_the_nginx_in_front_go(field):
    assert head(field, "X-Kept: 1").headers == [("X-Kept", "1")]


def test_what_connection_names_goes_but_not_the_length():
    found = head("X-Foo: 1", "Content-Length: 5", "Connection: X-Foo, content-length", "x-foo: 2")
    assert found.headers == [("Content-Length", "5")]
    assert found.length == 5


@pytest.mark.parametrize(
    "status, fields, keep",
    [
        ("HTTP/1.1 200 OK", [], True),
        ("HTTP/1.1 200 OK", ["Connection: Close"], False),
        ("HTTP/1.1 200 OK", ["Connection: keep-alive", "Connection: close"], False),
        ("HTTP/1.0 200 OK", [], False),
        ("HTTP/1.0 200 OK", ["Connection: Keep-Alive"], True),
        ("HTTP/1.0 200 OK", ["Connection: keep-alive", "Transfer-Encoding: chunked"], False),
    ],
)
def test_whether_the_connection_may_be_kept(status, fields, keep):
    assert head(*fields, status=status).keep is keep


@pytest.mark.parametrize(
    "line, status, phrase",
    [
        ("HTTP/1.1 204", 204, ""),
        ("HTTP/1.1 404 ", 404, ""),
        ("HTTP/1.1 599 Who Knows?", 599, "Who Knows?"),
        ("HTTP/1.0 999 Denied", 999, "Denied"),
    ],
)
def test_status_lines(line, status, phrase):
    found = head(status=line)
    assert (found.status, found.phrase) == (status, phrase)


@pytest.mark.parametrize(
    "line",
    [
        "", "HTTP/1.1", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK", "HTTP/1.1 200OK", "HTTP/2 200 OK",
        "HTTP/1.2 200 OK", "http/1.1 200 OK", "HTTP/1.1 099 OK", "HTTP/1.1 2\xb20 OK", " HTTP/1.1 200 OK", "ICY 200 OK",
        "GET / HTTP/1.1",
    ],
)  # fmt: skip
def test_what_is_no_status_line_is_refused(line):
    with pytest.raises(BadAnswer):
        head(status=line)


@pytest.mark.parametrize(
    "fields",
    [
        ["no colon"], [": 1"], ["A B: 1"], ["A : 1"], [" folded: 1"], ["X: 1", " folded"], ["X: 1", "\tfolded: 2"],
        ["X: a\x00b"], ["X: a\x7fb"], ["X: a\nY: b"], ["X: a\rY: b"], ["\xe9: 1"], [""],
        ["Content-Length: "], ["Content-Length: -1"], ["Content-Length: +5"], ["Content-Length: 5, 5"],
        ["Content-Length: 0x5"], ["Content-Length: 5_0"], ["Content-Length: \xb2"], ["Content-Length: " + "9" * 19],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Transfer-Encoding: gzip, chunked"], ["Transfer-Encoding: identity"], ["Transfer-Encoding: "],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], ["Transfer-Encoding: xchunked"],
    ],
)  # fmt: skip
def test_what_two_readers_could_take_differently_is_refused(fields):
    with pytest.raises(BadAnswer):
        head(*fields)


def test_a_length_that_comes_twice_the_same_is_one():
    assert head("Content-Length: 5", "content-length: 05").headers == [("Content-Length", "5")]


def test_too_many_fields_are_refused():
    head(*["X: 1"] * MAX_FIELDS)
    with pytest.raises(AnswerTooLarge):
        head(*["X: 1"] * (MAX_FIELDS + 1))
