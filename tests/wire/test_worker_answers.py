"""Answers as they go out on the wire, against a real gunicorn with the worker class."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from tests.support.process import eventually
from tests.support.worker import WorkerProcess


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess() as process:
        yield process


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3_000_000])
def test_a_whole_answer_has_its_length(worker: WorkerProcess, size: int) -> None:
    with worker.connect() as wire:
        for _ in range(2):
            heard = wire.get(f"/hello?size={size}")
            assert heard.values("Content-Length") == [str(size)]
            assert len(heard.body) == size


def test_several_pieces_in_a_list_are_one_answer(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        heard = wire.get("/parts")
        assert (heard.body, heard.value("Content-Length")) == (b"onetwo", "6")
        assert wire.get("/hello").status == 200


def test_what_was_written_goes_before_what_is_returned(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        assert wire.get("/write").body == b"written and returned"
        assert wire.get("/hello").body == b"hello"


def test_the_date_is_added_where_it_is_missing(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        date = wire.get("/hello").value("Date")
        assert date is not None
        assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 5
        heard = wire.get("/headers")
        assert heard.value("Date") == "then"
        assert heard.value("Server") == "mine"


@pytest.mark.parametrize("code", ["204", "304"])
def test_answers_that_have_no_body_have_none(worker: WorkerProcess, code: str) -> None:
    with worker.connect() as wire:
        heard = wire.get(f"/status?code={code}")
        assert heard.start == f"HTTP/1.1 {code} Whatever"
        assert heard.value("Content-Length") is None
        assert heard.value("Transfer-Encoding") is None
        assert wire.get("/hello").body == b"hello"


def test_only_a_304_may_tell_a_length(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        assert wire.get("/status?code=304&length=7").value("Content-Length") == "7"
        assert wire.get("/status?code=204&length=7").value("Content-Length") is None
        assert wire.get("/hello").body == b"hello"


def test_head_is_answered_without_a_body(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        assert wire.get("/hello", method="HEAD").value("Content-Length") == "5"
        heard = wire.get("/stream?length=12", method="HEAD")
        assert (heard.value("Content-Length"), heard.value("Transfer-Encoding")) == ("12", None)
        assert wire.get("/stream", method="HEAD").value("Transfer-Encoding") is None
        assert wire.get("/hello").body == b"hello"
    eventually(lambda: len([name for [name] in worker.events("closed") if name.startswith("/stream")]) == 2)


@pytest.mark.parametrize("name", ["Connection", "transfer-encoding", "Keep-Alive", "Upgrade", "TE"])
def test_hop_by_hop_headers_of_the_application_are_dropped(worker: WorkerProcess, name: str) -> None:
    with worker.connect() as wire:
        heard = wire.get(f"/headers?name={name}&value=close")
        assert heard.value(name) is None
        assert wire.get("/hello").body == b"hello"


@pytest.mark.parametrize(
    "query",
    [
        "name=X-A&value=a%0d%0aX-B:%20c",
        "name=X-A&value=a%0aX-B:%20c",
        "name=X-A&value=a%0d",
        "name=X-A&value=a%00",
        "name=X%0d%0aY&value=a",
        "name=X%20Y&value=a",
        "name=:&value=a",
        "name=X-A&value=%E2%82%AC",
        "status=200%20OK%0d%0aX-B:%20c",
        "status=OK",
        "name=Content-Length&value=3",
        "name=Content-Length&value=-2",
    ],
)
def test_headers_that_cannot_be_sent_are_an_error_of_the_application(worker: WorkerProcess, query: str) -> None:
    with worker.connect() as wire:
        heard = wire.get(f"/headers?{query}")
        assert heard.status == 500
        assert heard.value("X-B") is None
        assert heard.value("X-Reason") == "internal_error"
        assert wire.ended() == "closed"


@pytest.mark.parametrize("path", ["/raise", "/raise?kind=SystemExit", "/forgot", "/stream?fail=0", "/hello?nonsense=1"])
def test_an_application_that_fails_before_its_answer_is_a_500_that_tells_nothing(
    worker: WorkerProcess, path: str
) -> None:
    with worker.connect() as wire:
        heard = wire.get(path)
        assert (heard.status, heard.value("X-Reason")) == (500, "internal_error")
        assert b"secret" not in heard.body
        assert wire.ended() == "closed"
    assert f"Error handling GET {path.partition('?')[0]}" in worker.log
    assert worker.get("/hello").body == b"hello"


def test_start_response_may_replace_an_answer_that_has_not_begun(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        heard = wire.get("/replace")
        assert (heard.status, heard.body) == (502, b"replaced")


def test_start_response_raises_when_the_answer_has_begun(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        heard = wire.get("/late_error")
        assert (heard.status, heard.body, heard.complete) == (200, b"begun", False)


# --- streams
def closes(worker: WorkerProcess, name: str) -> int:
    return [event for [event] in worker.events("closed")].count(name)


@pytest.mark.parametrize("size", [1, 1000, 300_000])
def test_a_stream_is_chunked_and_the_connection_stays(worker: WorkerProcess, size: int) -> None:
    path = f"/stream?pieces=5&size={size}"
    with worker.connect() as wire:
        for _ in range(2):
            heard = wire.get(path)
            assert heard.complete
            assert heard.value("Transfer-Encoding") == "chunked"
            assert heard.body == b"".join(bytes([97 + number]) * size for number in range(5))
            assert heard.chunks == 5
    eventually(lambda: closes(worker, path) == 2)


def test_a_stream_of_a_known_length_is_sent_as_it_is(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        for _ in range(2):
            heard = wire.get("/stream?pieces=3&size=100000&length=300000")
            assert heard.value("Transfer-Encoding") is None
            assert len(heard.body) == 300_000
            assert heard.complete


def test_a_generator_may_call_start_response_late(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        assert wire.get("/lazy").body == b"lazy"
        assert wire.get("/lazy", method="HEAD").status == 200
        assert wire.get("/hello").body == b"hello"


@pytest.mark.parametrize("empty", ["/stream?pieces=0", "/stream?pieces=2&size=0", "/stream?pieces=0&length=0"])
def test_an_empty_stream_is_an_empty_answer(worker: WorkerProcess, empty: str) -> None:
    with worker.connect() as wire:
        heard = wire.get(empty)
        assert (heard.body, heard.complete) == (b"", True)
        assert wire.get("/hello").body == b"hello"


def test_an_empty_first_piece_sends_the_head_at_once(worker: WorkerProcess) -> None:
    worker.get("/shut")
    with worker.connect() as wire:
        wire.send("GET /flush HTTP/1.1\r\nHost: h\r\n\r\n")
        start, headers = wire.head()
        assert start == "HTTP/1.1 200 OK"
        assert wire.silent(0.1)
        worker.get("/open")
        assert wire._chunked(start, headers).body == b"late"


def test_http_1_0_gets_a_stream_up_to_the_close(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        heard = wire.answer()
        assert heard.value("Transfer-Encoding") is None
        assert (heard.body, heard.complete) == (b"aaaabbbbcccc", True)
        assert heard.value("Connection") == "close"


def test_http_1_0_keeps_its_connection_where_the_length_is_known(worker: WorkerProcess) -> None:
    with worker.connect() as wire:
        wire.send("GET /stream?length=12 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert wire.answer().value("Connection") == "keep-alive"
        assert wire.get("/hello").body == b"hello"


@pytest.mark.parametrize(
    "path",
    [
        "/stream?fail=2",
        "/stream?fail=end",
        "/stream?refuse=1",
        "/stream?fail=2&length=12",
        "/stream?length=13",
        "/stream?length=11",
        "/stream?fail=1&size=1000000",
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_answer_that_breaks_off_never_looks_whole(worker: WorkerProcess, path: str, version: str) -> None:
    with worker.connect() as wire:
        wire.send(f"GET {path} HTTP/{version}\r\nHost: h\r\n\r\n")
        try:
            heard = wire.answer()
        except EOFError:  # the reset was quicker than the head
            return
        assert heard.status == 200
        assert not heard.complete
    eventually(lambda: closes(worker, path))


@pytest.mark.parametrize(("path", "logged"), [("/stream?fail=1&x", True), ("/stream?refuse=1&x", False)])
def test_only_what_nobody_expected_is_logged(worker: WorkerProcess, path: str, logged: bool) -> None:
    mark = len(worker.log)
    with worker.connect() as wire:
        wire.send(f"GET {path.replace('&x', '')} HTTP/1.1\r\nHost: h\r\n\r\n")
        wire._until_end()
    worker.get("/hello")
    assert ("Error handling GET /stream" in worker.log[mark:]) is logged


def test_a_body_is_closed_once_when_the_client_leaves(worker: WorkerProcess) -> None:
    path = "/stream?pieces=100&size=1000000&pause=0.01"
    with worker.connect() as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.head()
    eventually(lambda: closes(worker, path) == 1)
    worker.get("/hello")
    assert closes(worker, path) == 1


def test_a_client_that_leaves_is_no_error(worker: WorkerProcess) -> None:
    mark = len(worker.log)
    for path in ("/hello?size=5000000", "/stream?pieces=50&size=100000"):
        with worker.connect() as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
    worker.get("/sleep?seconds=0.1")
    assert worker.log[mark:] == ""


def test_a_large_download_does_not_grow_the_worker(worker: WorkerProcess) -> None:
    worker.get("/stream?pieces=10&size=262144")
    before = worker.rss()
    with worker.connect() as wire:
        wire.send("GET /stream?pieces=400&size=262144 HTTP/1.0\r\n\r\n")
        wire.head()
        received = len(wire.buf)
        while data := wire.sock.recv(1 << 20):
            received += len(data)
    assert received == 400 * 262144
    assert worker.rss() - before < 8 * 1024**2


def test_an_application_that_knows_nothing_of_the_gateway_is_served() -> None:
    with WorkerProcess(alone=True, app="tests.support.worker_app:bare") as worker, worker.connect() as wire:
        assert wire.get("/hello").body == b"hello"
        heard = wire.get("/raise")
        assert (heard.status, heard.json()["reason"], heard.json()["origin"]) == (500, "internal_error", "gateway")
