from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from gateway.server import answer
from gateway.server.answer import CHUNKED, CLOSE, KEEP_ALIVE, NONE, UNTIL_CLOSE, connection_line, streamed, whole

DATED = [("Date", "then")]


def head(lines: bytes) -> list[str]:
    assert lines.endswith(b"\r\n\r\n")
    return lines[:-4].decode("latin-1").split("\r\n")


def test_a_whole_answer_says_what_is_sent() -> None:
    first, body = whole("200 OK", [*DATED, ("X-A", "b"), ("X-A", "c")], b"body", "GET", "")
    assert head(first) == ["HTTP/1.1 200 OK", "Date: then", "X-A: b", "X-A: c", "Content-Length: 4"]
    assert body == b"body"


def test_a_length_that_the_application_gives_stays_where_it_is() -> None:
    first, _ = whole("200 OK", [("content-length", "4"), *DATED], b"body", "GET", CLOSE)
    assert head(first) == ["HTTP/1.1 200 OK", "content-length: 4", "Date: then", "Connection: close"]


@pytest.mark.parametrize(
    ("status", "method", "headers", "data", "length"),
    [
        ("200 OK", "HEAD", [], b"body", ["4"]),
        ("200 OK", "HEAD", [], b"", []),
        ("200 OK", "HEAD", [("Content-Length", "99")], b"", ["99"]),
        ("204 No Content", "GET", [("Content-Length", "4")], b"body", []),
        ("304 Not Modified", "GET", [("Content-Length", "4")], b"", ["4"]),
        ("304 Not Modified", "GET", [], b"body", []),
        ("103 Early Hints", "GET", [("Content-Length", "4")], b"", []),
        ("200", "GET", [], b"", ["0"]),
    ],
)
def test_where_there_must_be_no_body_there_is_none(
    status: str, method: str, headers: list[tuple[str, str]], data: bytes, length: list[str]
) -> None:
    first, body = whole(status, [*DATED, *headers], data, method, "")
    assert body == b""
    assert [line.partition(": ")[2] for line in head(first) if line.startswith("Content-Length")] == length


@pytest.mark.parametrize(
    ("method", "status", "headers", "at_least_11", "framing", "said"),
    [
        ("GET", "200 OK", [], True, CHUNKED, ["Transfer-Encoding: chunked"]),
        ("GET", "200 OK", [], False, UNTIL_CLOSE, ["Connection: close"]),
        ("GET", "200 OK", [("Content-Length", "7")], True, 7, ["Content-Length: 7"]),
        ("GET", "200 OK", [("Content-Length", "7")], False, 7, ["Content-Length: 7", "Connection: keep-alive"]),
        ("HEAD", "200 OK", [], True, NONE, []),
        ("GET", "204 None", [("Content-Length", "7")], True, NONE, []),
        ("GET", "304 Same", [], False, NONE, ["Connection: keep-alive"]),
    ],
)
def test_a_streamed_answer_is_framed_as_client_and_status_allow(
    method: str, status: str, headers: list[tuple[str, str]], at_least_11: bool, framing: int, said: list[str]
) -> None:
    first, found, persistent = streamed(status, [*DATED, *headers], method, at_least_11, True)
    assert found == framing
    assert persistent is (framing != UNTIL_CLOSE)
    assert head(first)[2:] == said


@pytest.mark.parametrize(
    ("persistent", "at_least_11", "line"),
    [(True, True, ""), (True, False, KEEP_ALIVE), (False, True, CLOSE), (False, False, CLOSE)],
)
def test_only_what_is_not_understood_is_said_of_the_connection(persistent: bool, at_least_11: bool, line: str) -> None:
    assert connection_line(persistent, at_least_11) == line


@pytest.mark.parametrize(
    "status", ["", "20", "2000", "OK", "200\r\nX: y", "\xb2\xb2\xb2 x", "099 x", "200-OK", "20x y"]
)
def test_a_status_that_is_none_is_refused(status: str) -> None:
    with pytest.raises(ValueError):
        whole(status, DATED, b"", "GET", "")


@pytest.mark.parametrize(
    "header",
    [
        ("X", "a\r\nY: b"), ("X", "a\n"), ("X", "\ra"), ("X", "a\0"), ("X\r\n", "a"), ("X:", "a"), ("", "a"),
        ("X", "€"), ("Content-Length", "x"), ("Content-Length", "+4"), ("Content-Length", ""), ("Content-Length", "5"),
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_sent_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError):
        whole("200 OK", [header], b"body", "GET", "")


def test_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one number"):
        whole("200 OK", [("Content-Length", "4"), ("content-length", "4")], b"body", "GET", "")


@pytest.mark.parametrize("header", [("X", 5), ("X", None), ("X", b"a"), (b"X", "a")])
def test_header_names_and_values_are_texts(header: tuple[str, str]) -> None:
    with pytest.raises(TypeError):
        whole("200 OK", [header], b"body", "GET", "")


def test_the_date_is_of_this_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_700_000_000.9
    monkeypatch.setattr(answer.time, "time", lambda: now)
    assert answer.date_line() == "Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
    assert answer.date_line() is answer.date_line()
    now = 1_700_000_001.0
    assert answer.date_line() == "Date: Tue, 14 Nov 2023 22:13:21 GMT\r\n"
    first, _ = whole("200 OK", [], b"", "GET", "")
    assert parsedate_to_datetime(head(first)[1][6:]).timestamp() == 1_700_000_001


def test_strange_names_do_not_fill_the_memory_of_names() -> None:
    for number in range(5000):
        whole(f"200 {number}", [(f"X-{number}", "y")], b"", "GET", "")
    assert len(answer._fields) <= 4096
    assert len(answer._statuses) <= 1024
