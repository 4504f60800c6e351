"""Requests as they arrive on the wire, against a real gunicorn with the worker class."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.worker import WorkerProcess


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess(planes=("external", "internal")) as process:
        yield process


def test_an_answer_comes_and_the_connection_stays(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        for _ in range(3):
            heard = wire.get("/hello")
            assert (heard.start, heard.body) == ("HTTP/1.1 200 OK", b"hello")
            assert heard.value("Connection") is None
            assert heard.value("Server") is None
            assert heard.value("Date")


def test_the_environ_is_that_of_pep_3333_and_ours(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        environ = wire.get("/environ?a=%20b", "X-A:  1 ", "x-a: 2", "X_B: 3", "Host2: x").json()
        peer, port = wire.sock.getsockname()
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/environ"
    assert environ["QUERY_STRING"] == "a=%20b"
    assert environ["RAW_URI"] == "/environ?a=%20b"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (peer, str(port))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(worker.ports[0]))
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.multithread"] is True
    assert environ["HTTP_X_A"] == "1,2"
    assert "HTTP_X_B" not in environ
    assert environ["gateway.headers"] == [["Host", "h"], ["X-A", "1"], ["x-a", "2"], ["X_B", "3"], ["Host2", "x"]]
    assert environ["gateway.plane"] == "external"
    assert environ["gateway.peer"] == peer
    assert 0 <= time.monotonic() - environ["gateway.received"] < 10


def test_the_plane_is_that_of_the_listener_whatever_the_host_says(worker: WorkerProcess) -> None:
    for plane, name in enumerate(("external", "internal")):
        with worker.connect(plane) as wire:
            wire.send(f"GET /environ HTTP/1.1\r\nHost: 127.0.0.1:{worker.ports[1 - plane]}\r\n\r\n")
            environ = wire.answer().json()
            assert environ["gateway.plane"] == name
            assert environ["SERVER_PORT"] == str(worker.ports[plane])


def test_nothing_of_one_request_is_seen_by_the_next(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        assert wire.get("/environ", "X-Once: x", "Cookie: a").json()["HTTP_COOKIE"] == "a"
        assert not {"HTTP_X_ONCE", "HTTP_COOKIE"} & set(wire.get("/environ").json())


def test_pipelined_requests_are_answered_in_order(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send(
            "GET /sleep?seconds=0.05 HTTP/1.1\r\nHost: h\r\n\r\n"
            "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nfirst"
            "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n"
            "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        assert [wire.answer().body for _ in range(4)] == [b"slept", b"first", b"second", b"hello"]


def test_pipelined_requests_are_answered_when_there_are_more_connections_than_threads(worker: WorkerProcess) -> None:
    others = [worker.connect() for _ in range(8)]
    try:
        with worker.connect() as wire:
            wire.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n" * 50 + "GET /hello HTTP/1.1\r\nHo")
            assert [wire.answer().body for _ in range(50)] == [b"hello"] * 50
            wire.send("st: h\r\n\r\n")
            assert wire.answer().body == b"hello"
    finally:
        for other in others:
            other.sock.close()


def test_a_request_may_come_byte_by_byte(worker: WorkerProcess) -> None:
    request = b"\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    with worker.connect() as wire:
        for octet in request:
            wire.send(bytes([octet]))
        assert wire.answer().body == b"abc"
        assert wire.get("/hello").body == b"hello"


def test_one_empty_line_before_a_request_is_ignored_and_no_more(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("\r\nGET /hello HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
        assert [wire.answer().status, wire.answer().status] == [200, 200]
    for before in ("\r\n\r\n", "\r", "\rX", "\n", "\r\r\n"):
        with worker.connect() as wire:
            wire.send(f"{before}GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
            assert wire.answer().status == 400


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        ("GET / HTTP/1.1\nHost: h\n\n", 400, "malformed_request"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400, "malformed_request"),
        ("\x16\x03\x01\x02\x00", 400, "malformed_request"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "bad_host"),
        ("GET /" + "a" * 1000 + " HTTP/1.1\r\nHost: h\r\n\r\n", 414, "uri_too_long"),
        ("GET /" + "a" * 1000, 414, "uri_too_long"),
        ("GET / HTTP/1.1\r\nHost: h\r\n" + "A: b\r\n" * 20 + "\r\n", 431, "headers_too_large"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: " + "b" * 2000 + "\r\n\r\n", 431, "headers_too_large"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: " + "b" * 2000, 431, "headers_too_large"),
        ("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 501, "not_supported"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 501, "not_supported"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "not_supported"),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 1\r\n\r\n", 417, "expectation_failed"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            400,
            "malformed_request",
        ),
    ],
)
def test_what_is_not_http_is_refused_by_the_applications_words_and_the_connection_closed(
    worker: WorkerProcess, request_: str, status: int, reason: str
) -> None:
    with worker.connect() as wire:
        wire.send(request_)
        heard = wire.answer()
        assert (heard.status, heard.value("X-Reason")) == (status, reason)
        assert heard.value("Connection") == "close"
        assert heard.value("Content-Type") == "application/problem+json"
        assert wire.ended() == "closed"
    refused = worker.events("refused")[-1]
    assert refused[:3] == [reason, "external", "127.0.0.1"]
    assert request_.startswith(refused[3])


def test_a_refusal_on_the_internal_plane_says_so(worker: WorkerProcess) -> None:
    with worker.connect(1) as wire:
        wire.send("nonsense\r\n\r\n")
        assert wire.answer().status == 400
    assert worker.events("refused")[-1][:2] == ["malformed_request", "internal"]


def test_a_refusal_of_a_head_request_has_no_body(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("HEAD / HTTP/1.1\r\n\r\n")
        assert wire.answer(head=True).status == 400
        assert wire.ended() == "closed"


def test_requests_before_a_malformed_one_are_answered(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\nnonsense\r\n\r\nGET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
        assert wire.answer().status == 200
        assert wire.answer().status == 400
        assert wire.ended() == "closed"


def test_half_a_head_and_an_end_is_no_request(worker: WorkerProcess) -> None:
    before = len(worker.events("refused"))
    with worker.connect() as wire:
        wire.send("GET /hello HTTP/1.1\r\nHo")
        wire.sock.shutdown(1)
        assert wire.ended() == "closed"
    assert len(worker.events("refused")) == before


def test_a_client_that_has_sent_all_it_will_gets_its_answer(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("GET /sleep?seconds=0.1 HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.sock.shutdown(1)
        assert wire.answer().body == b"slept"
        assert wire.ended() == "closed"


@pytest.mark.parametrize(
    ("version", "header", "stays", "said"),
    [
        ("HTTP/1.1", "A: b", True, None),
        ("HTTP/1.1", "Connection: close", False, "close"),
        ("HTTP/1.0", "A: b", False, "close"),
        ("HTTP/1.0", "Connection: keep-alive", True, "keep-alive"),
        ("HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket", True, None),
    ],
)
def test_the_client_decides_whether_its_connection_stays(
    worker: WorkerProcess, version: str, header: str, stays: bool, said: str | None
) -> None:
    with worker.connect() as wire:
        wire.send(f"GET /hello {version}\r\nHost: h\r\n{header}\r\n\r\n")
        heard = wire.answer()
        assert heard.status == 200
        assert heard.value("Connection") == said
        if stays:
            assert wire.get("/hello").body == b"hello"
        else:
            assert wire.ended() == "closed"


# --- bodies
@pytest.mark.parametrize("size", [1, 100, 100_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_arrive_whole(worker: WorkerProcess, size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with worker.connect() as wire:
        for _ in range(2):
            if chunked:
                wire.send("POST /echo?size=1000 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
                for at in range(0, size, 30_000):
                    part = body[at : at + 30_000]
                    wire.send(b"%x\r\n%b\r\n" % (len(part), part))
                wire.send("0\r\n\r\n")
            else:
                wire.send(f"POST /echo?size=1000 HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n".encode() + body)
            assert wire.answer().body == body


def test_100_continue_is_sent_when_the_application_reads(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert wire.head() == ("HTTP/1.1 100 Continue", [])
        wire.send("body")
        assert wire.answer().body == b"body"
        assert wire.get("/hello").body == b"hello"


def test_100_continue_is_not_sent_within_an_answer(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("POST /answer_first HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert wire.head()[0] == "HTTP/1.1 200 OK"
        assert wire.chunk() == b"begin "
        wire.send("body")
        assert (wire.chunk(), wire.chunk()) == (b"body", b"")


def test_100_continue_is_not_sent_when_it_does_not(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        heard = wire.answer()
        assert heard.status == 200
        assert heard.value("Connection") == "close"  # nobody knows whether the body comes
        assert wire.ended() == "closed"


@pytest.mark.parametrize("framing", ["Content-Length: 100001", "Transfer-Encoding: chunked"])
def test_a_body_over_the_limit_is_refused_without_waiting_for_it(worker: WorkerProcess, framing: str) -> None:
    with worker.connect() as wire:
        wire.send(f"POST /echo HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n186a1\r\n")
        heard = wire.answer()
        assert (heard.status, heard.value("X-Reason")) == (413, "body_too_large")
        assert wire.ended() == "closed"


def test_a_client_that_sends_on_reads_the_refusal_before_any_reset(worker: WorkerProcess) -> None:
    body = b"x" * 5_000_000
    with worker.connect() as wire:
        wire.send(f"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n")
        wire.send(body)
        assert wire.answer().status == 413


def test_the_application_may_allow_more(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("POST /echo?limit=100001 HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n\r\n")
        wire.send(b"x" * 100_001)
        assert len(wire.answer().body) == 100_001


def test_an_upload_that_breaks_off_is_no_request(worker: WorkerProcess) -> None:
    for framing, sent in (("Content-Length: 50", "7 bytes"), ("Transfer-Encoding: chunked", "32\r\n7 bytes")):
        before = len(worker.events("read"))
        with worker.connect() as wire:
            wire.send(f"POST /echo HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n{sent}")
            wire.sock.shutdown(1)
            wire._until_end()
            assert wire.buf == b""
        assert worker.events("read")[before:] == [["client_gone"]]


def test_bad_chunks_are_refused(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n")
        heard = wire.answer()
        assert (heard.status, heard.value("X-Reason")) == (400, "malformed_request")
        assert wire.ended() == "closed"


@pytest.mark.parametrize("read", [0, 10])
def test_a_small_unread_body_does_not_cost_the_connection(worker: WorkerProcess, read: int) -> None:
    with worker.connect() as wire:
        for framing, body in (
            ("Content-Length: 50000", "x" * 50_000),
            ("Transfer-Encoding: chunked", "a\r\n0123456789\r\n0\r\n\r\n"),
        ):
            wire.send(f"POST /unread?read={read} HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n")
            wire.send(body)
            assert wire.answer().body == b"not read"
        assert wire.get("/hello").body == b"hello"


def test_a_large_unread_body_ends_the_connection_behind_the_answer(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\n")
        heard = wire.answer()
        assert (heard.body, heard.value("Connection")) == (b"not read", "close")
        wire.send(b"x" * 90_000)
        assert wire.ended() == "closed"


def test_a_small_unread_body_that_does_not_come_is_not_waited_for(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n")
        started = time.monotonic()
        assert wire.answer().body == b"not read"
        assert wire.ended() == "closed"
        assert time.monotonic() - started < 2


def test_a_body_is_not_taken_for_the_next_request(worker: WorkerProcess) -> None:
    inner = "GET /headers HTTP/1.1\r\nHost: h\r\n\r\n"
    with worker.connect() as wire:
        wire.send(f"POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: {len(inner)}\r\n\r\n{inner}")
        wire.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
        assert [wire.answer().body, wire.answer().body] == [b"not read", b"hello"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload_does_not_grow_the_worker(worker: WorkerProcess, chunked: bool) -> None:
    part, parts = b"x" * 262_144, 400
    worker.get("/hello?size=262144")
    before = worker.rss()
    with worker.connect() as wire:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(part) * parts}"
        wire.send(f"POST /count?limit=1000000000 HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n")
        for _ in range(parts):
            wire.send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            wire.send("0\r\n\r\n")
        assert wire.answer().body == str(len(part) * parts).encode()
    assert worker.rss() - before < 8 * 1024**2
