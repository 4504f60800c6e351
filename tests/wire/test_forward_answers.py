"""What a client gets of a backend's answer."""

from __future__ import annotations

import gzip
import threading

import pytest

from gateway.config.model import HeaderEdits, Timeouts
from gateway.errors import AnswerTooLarge, BadAnswer, UpstreamReset, UpstreamTimeout
from gateway.forward.headers import compile_edits
from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.forwarding import Forwarding, content, pieces


@pytest.fixture
def forward():
    with Forwarding() as forwarding:
        yield forwarding


def raw(head, body=b"", **arguments):
    return FakeBackend(behaviours.raw(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body, **arguments))


def test_status_phrase_and_fields_are_passed_on(forward):
    with raw("HTTP/1.1 418 Short And Stout\nX-B: 1\nx-a:2\nX-B: 3\nServer: pot\nContent-Length: 3", b"tea") as backend:
        answer = forward(backend.url)
        assert (answer.status, answer.phrase) == (418, "Short And Stout")
        assert answer.headers == [("X-B", "1"), ("x-a", "2"), ("X-B", "3"), ("Server", "pot"), ("Content-Length", "3")]
        assert answer.body == [b"tea"]


def test_several_cookies_are_several_fields(forward):
    cookies = [("Set-Cookie", "a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT"), ("Set-Cookie", "b=2")]
    with FakeBackend(behaviours.answer(200, cookies)) as backend:
        assert [field for field in forward(backend.url).headers if field[0] == "Set-Cookie"] == cookies


def test_a_compressed_body_is_passed_on_untouched(forward):
    with FakeBackend(behaviours.gzip(b"text" * 1000)) as backend:
        answer = forward(backend.url)
        assert ("Content-Encoding", "gzip") in answer.headers
        assert gzip.decompress(content(answer)) == b"text" * 1000


def test_a_redirect_is_passed_on(forward):
    with FakeBackend(behaviours.answer(302, [("Location", "http://elsewhere/")])) as backend:
        answer = forward(backend.url)
        assert (answer.status, dict(answer.headers)["Location"]) == (302, "http://elsewhere/")


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize(
    "fields, connections",
    [("", 1), ("\nContent-Length: 0", 1), ("\nContent-Length: 5", 2), ("\nTransfer-Encoding: chunked", 2)],
)
def test_204_and_304_have_no_body(forward, status, fields, connections):
    """The connection is kept unless a body was announced that a wrong backend may yet send."""
    with raw(f"HTTP/1.1 {status} X\nETag: x{fields}") as backend:
        for _ in range(2):
            answer = forward(backend.url)
            assert (answer.status, answer.body) == (status, [b""])
        assert backend.connections == connections


def test_a_204_does_not_announce_a_length(forward):
    with raw("HTTP/1.1 204 X\nContent-Length: 0") as backend:
        assert forward(backend.url).headers == []


def test_the_answer_to_head_keeps_its_length_and_has_no_body(forward):
    with raw("HTTP/1.1 200 OK\nContent-Length: 12345") as backend:
        for _ in range(2):
            answer = forward(backend.url, method="HEAD")
            assert (answer.headers, answer.body) == ([("Content-Length", "12345")], [b""])


def test_a_body_sent_to_head_is_nobodys_answer(forward):
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    def behaviour(call):
        call.request()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        if call.head().method == "HEAD":
            call.pause(0.05)
        call.send(body)

    with FakeBackend(behaviour) as backend:
        assert forward(backend.url, method="HEAD").body == [b""]
        assert content(forward(backend.url)) == body


def test_a_body_of_known_length_is_streamed(forward):
    size = 3_000_000
    with FakeBackend(behaviours.stream(size)) as backend:
        for _ in range(2):
            answer = forward(backend.url)
            assert dict(answer.headers)["Content-Length"] == str(size)
            lengths = [len(piece) for piece in pieces(answer)]
            assert sum(lengths) == size
            assert max(lengths) <= 64 * 1024
        assert backend.connections == 1


@pytest.mark.parametrize("fields", ["Content-Length: 3", "Transfer-Encoding: chunked", "X-Until: close"])
def test_the_head_does_not_wait_for_a_body_that_is_not_there_yet(forward, fields):
    gate = threading.Event()

    def behaviour(call):
        call.request()
        call.send(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode())
        gate.wait(30)
        call.send(b"3\r\none\r\n0\r\n\r\n" if "chunked" in fields else b"one")
        call.close()

    with FakeBackend(behaviour) as backend:
        body = iter(forward(backend.url).body)
        assert next(body) == b""
        gate.set()
        assert b"".join(body) == b"one"


def test_the_pieces_of_a_slow_body_are_passed_on_as_they_come(forward):
    gate = threading.Event()

    def behaviour(call):
        call.request()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
        gate.wait(30)
        call.send(b"two")

    with FakeBackend(behaviour) as backend:
        body = iter(forward(backend.url).body)
        assert next(body) == b"one"
        gate.set()
        assert list(body) == [b"two"]


def test_chunks_that_come_with_the_head_become_one_body_of_known_length(forward):
    head = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTrailer: X-T"
    with raw(head, b"3\r\none\r\n3\r\ntwo\r\n0\r\nX-T: 1\r\n\r\n") as backend:
        for _ in range(2):
            answer = forward(backend.url)
            assert (answer.headers, answer.body) == ([("Content-Length", "6")], [b"onetwo"])
        assert backend.connections == 1


def test_chunks_that_come_later_are_passed_on_as_they_come(forward):
    with FakeBackend(behaviours.chunked([b"one", b"two" * 50000, b"three"], trailers=[("X-T", "1")])) as backend:
        for _ in range(2):
            assert content(forward(backend.url)) == b"one" + b"two" * 50000 + b"three"
        assert backend.connections == 1


def test_a_body_without_a_length_ends_with_the_connection(forward):
    with FakeBackend(behaviours.until_close(b"x" * 100_000)) as backend:
        answer = forward(backend.url)
        assert answer.headers == [("Content-Type", "text/plain")]
        assert content(answer) == b"x" * 100_000


@pytest.mark.parametrize("fields, connections", [("", 2), ("\nConnection: keep-alive", 1)])
def test_http_1_0_keeps_the_connection_only_when_it_says_so(forward, fields, connections):
    with raw(f"HTTP/1.0 200 OK\nContent-Length: 2{fields}", b"ok") as backend:
        for _ in range(2):
            assert content(forward(backend.url)) == b"ok"
        assert backend.connections == connections


def test_a_connection_that_says_close_is_not_reused(forward):
    with raw("HTTP/1.1 200 OK\nConnection: close\nContent-Length: 2", b"ok") as backend:
        for _ in range(2):
            assert content(forward(backend.url)) == b"ok"
        assert backend.connections == 2


def test_bytes_behind_an_answer_are_nobodys_answer(forward):
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    with raw("HTTP/1.1 200 OK\nContent-Length: 2", b"ok" + smuggled) as backend:
        assert [content(forward(backend.url)) for _ in range(3)] == [b"ok"] * 3
        assert backend.connections == 3


def test_interim_answers_are_skipped(forward):
    with FakeBackend(
        behaviours.informational(behaviours.echo, *[b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"] * 5)
    ) as backend:
        for _ in range(2):
            assert forward(backend.url).status == 200
        assert backend.connections == 1


def test_endless_interim_answers_are_no_answer(forward):
    with raw("HTTP/1.1 102 Processing\n\n" * 50 + "HTTP/1.1 200 OK") as backend, pytest.raises(BadAnswer):
        forward(backend.url)


@pytest.mark.parametrize(
    "head, kind",
    [
        ("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket", BadAnswer),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6", BadAnswer),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: chunked", BadAnswer),
        ("HTTP/1.1 200 OK\nX: 1\n folded", BadAnswer),
        ("HTTP/1.1 200 OK\nX : 1", BadAnswer),
        ("HTTP/1.1 200 OK\nX: " + "x" * 70000, AnswerTooLarge),
        ("HTTP/1.1 200 OK\n" + "\n".join(["X: 1"] * 201), AnswerTooLarge),
        ("SSH-2.0-OpenSSH_9.2", BadAnswer),
    ],
)
def test_what_is_no_valid_answer_is_refused(forward, head, kind):
    with raw(head) as backend:
        with pytest.raises(kind) as caught:
            forward(backend.url)
        assert (caught.value.status, caught.value.service, caught.value.instance) == (502, "echo", "i1")
        assert repr(forward.pool(backend.url)) == "Pool(0 of 64 connections, 0 idle)"


def test_garbage_is_refused(forward):
    with FakeBackend(behaviours.garbage) as backend, pytest.raises(BadAnswer):
        forward(backend.url)


def test_orders_to_the_nginx_in_front_are_not_passed_on(forward):
    with raw("HTTP/1.1 200 OK\nX-Accel-Redirect: /secret\nx_accel_buffering: no\nContent-Length: 0") as backend:
        assert forward(backend.url).headers == [("Content-Length", "0")]


def test_a_route_edits_the_answers_fields(forward):
    edits = compile_edits(HeaderEdits(set={"X-New": "1"}, remove=("Server",)))
    with raw("HTTP/1.1 200 OK\nServer: x\nContent-Length: 0") as backend:
        assert forward(backend.url, response_headers=edits).headers == [("Content-Length", "0"), ("X-New", "1")]


# --- broken off
@pytest.mark.parametrize("rst", [False, True])
@pytest.mark.parametrize("declared, sent", [(100, b"only ten b"), (100, b""), (1_000_000, b"x" * 500_000)])
def test_an_answer_that_the_backend_breaks_off_is_broken_off(forward, declared, sent, rst):
    with FakeBackend(behaviours.truncated(declared, sent, rst=rst)) as backend:
        answer = forward(backend.url)
        assert answer.status == 200
        assert dict(answer.headers)["Content-Length"] == str(declared)
        got = []
        with pytest.raises(UpstreamReset) as caught:
            got.extend(pieces(answer))
        assert caught.value.instance == "i1"
        assert sent.startswith(b"".join(got))
        assert rst or b"".join(got) == sent
        assert repr(forward.pool(backend.url)) == "Pool(0 of 64 connections, 0 idle)"


@pytest.mark.parametrize("rest", [b"", b"3\r\n", b"3\r\ntwo\r\n", b"3\r\ntwo\r\n0\r\n", b"3\r\ntwo\r\n0\r\nX: 1\r\n"])
def test_chunks_that_end_early_are_broken_off(forward, rest):
    with raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"3\r\none\r\n" + rest, close=True) as backend:
        answer = forward(backend.url)
        with pytest.raises(UpstreamReset):
            content(answer)


def test_chunks_that_are_none_are_broken_off(forward):
    def behaviour(call):
        call.request()
        call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        call.pause(0.1)
        call.send(b"not a size\r\n")

    with FakeBackend(behaviour) as backend:
        body = iter(forward(backend.url).body)
        assert next(body) == b"one"
        with pytest.raises(BadAnswer):
            next(body)


def test_a_reset_does_not_end_a_body_without_length(forward):
    def behaviour(call):
        call.request()
        call.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        call.pause(0.1)
        call.reset()

    with FakeBackend(behaviour) as backend, pytest.raises(UpstreamReset):
        content(forward(backend.url))


def test_a_body_that_stops_coming_is_broken_off_at_the_limit(forward):
    timeouts = Timeouts(upstream=0.3)
    with raw("HTTP/1.1 200 OK\nContent-Length: 9", b"one") as backend, pytest.raises(UpstreamTimeout):
        content(forward(backend.url, timeouts=timeouts))


def test_a_client_that_leaves_closes_the_connection_to_the_backend(forward):
    with FakeBackend(behaviours.stream(50_000_000)) as backend:
        answer = forward(backend.url)
        next(iter(answer.body))
        answer.body.close()
        answer.body.close()
        backend.wait_until(lambda: not backend._sockets)
        assert repr(forward.pool(backend.url)) == "Pool(0 of 64 connections, 0 idle)"


def test_a_slow_client_does_not_hold_the_connection_of_an_answer_that_is_here(forward):
    size = 200_000
    with FakeBackend(behaviours.stream(size)) as backend:
        body = iter(forward(backend.url).body)
        while size:
            size -= len(next(body))
        assert repr(forward.pool(backend.url)) == "Pool(1 of 64 connections, 1 idle)"
        assert list(body) == []
