from __future__ import annotations

import io
from collections.abc import Iterable

import pytest

from gateway.errors import BodyTooLarge, ClientGone, ClientTimeout, HeadersTooLarge, Malformed, Refusal
from gateway.server.body import CONTINUE, EMPTY, Input, LengthBody
from gateway.server.chunks import ChunkedBody
from gateway.server.http1 import HeadLimits

LIMITS = HeadLimits(line=100, count=3, size=60)


class FakeSource:
    """A client that sends `pieces`, one a call, and then closes; an exception among them is raised."""

    def __init__(self, pieces: Iterable[bytes | Exception] = (), buf: bytes = b"") -> None:
        self.pieces = list(pieces)
        self.buf = buf
        self.sent: list[bytes] = []

    def receive(self, size: int) -> bytes:
        if not self.pieces:
            raise ClientGone("end")
        piece = self.pieces[0]
        if isinstance(piece, Exception):
            raise piece
        self.pieces[:1] = [piece[size:]] if len(piece) > size else []
        return piece[:size]

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def wait(self, other: int) -> bool:
        if isinstance(self.pieces[0], Exception):
            raise self.pieces[0]
        return other < 0


def of_length(length: int, *pieces: bytes | Exception, buf: bytes = b"", limit: int = 1000, awaited: bool = False):  # type: ignore[no-untyped-def]
    source = FakeSource(pieces, buf)
    return LengthBody(source, length, limit, awaited), source


def chunked(*pieces: bytes | Exception, buf: bytes = b"", limit: int = 1000, awaited: bool = False):  # type: ignore[no-untyped-def]
    source = FakeSource(pieces, buf)
    return ChunkedBody(source, LIMITS, limit, awaited), source


HELLO = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n"


def test_a_body_of_a_length_ends_there() -> None:
    body, source = of_length(5, b"lo, next", buf=b"hel")
    assert body.read() == b"hello"
    assert body.finished
    assert body.read() == body.read1() == body.read(3) == b""
    assert source.buf + source.pieces[0] == b", next"


def test_chunks_are_joined_and_what_follows_is_kept() -> None:
    body, source = chunked(HELLO + b"GET /next")
    assert body.read() == b"hello world"
    assert body.read(1) == b""
    assert body.finished
    assert source.buf == b"GET /next"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_reading_by_pieces_gives_the_same(size: int) -> None:
    for body, _ in (of_length(11, b"hello", b" world"), chunked(HELLO)):
        parts = []
        while part := body.read(size):
            parts.append(part)
        assert b"".join(parts) == b"hello world"
        assert all(len(part) == size for part in parts[:-1])


def test_a_body_that_arrives_byte_by_byte_is_the_same() -> None:
    body, _ = chunked(*[bytes([octet]) for octet in HELLO])
    assert body.read() == b"hello world"
    assert body.finished


def test_read_waits_for_all_that_it_was_asked_for() -> None:
    body, _ = of_length(6, b"ab", b"cd", b"ef")
    assert body.read(5) == b"abcde"
    assert body.read(5) == b"f"


def test_read1_gives_what_is_there() -> None:
    body, _ = of_length(6, b"cd", b"ef", buf=b"ab")
    assert [body.read1(10), body.read1(1), body.read1(10), body.read1(10)] == [b"ab", b"c", b"d", b"ef"]
    body, _ = chunked(b"1\r\na\r\n1\r\nb\r\n2\r\nc", b"d\r\n0\r\n\r\n")
    assert [body.read1(10), body.read1(10), body.read1(10)] == [b"abc", b"d", b""]
    assert body.finished


def test_read1_does_not_wait_for_a_size_line_with_data_in_hand() -> None:
    body, _ = chunked(b"1\r\na\r\n1", ClientTimeout())
    assert body.read1(10) == b"a"
    with pytest.raises(ClientTimeout):
        body.read1(10)


def test_lines_are_those_of_a_file() -> None:
    text = b"one\ntwo\n\nthree"
    for make in (
        lambda: of_length(len(text), text[:5], text[5:])[0],
        lambda: chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text))[0],
    ):
        assert list(make()) == list(io.BytesIO(text))
        assert make().readlines() == io.BytesIO(text).readlines()
        assert make().readlines(4) == io.BytesIO(text).readlines(4)
        body = make()
        assert (body.readline(2), body.readline(2), body.readline(-1), body.read(2), body.read()) == (
            b"on", b"e\n", b"two\n", b"\nt", b"hree",
        )  # fmt: skip


@pytest.mark.parametrize("read", [Input.read, Input.read1, Input.readline])
def test_a_body_that_breaks_off_raises_and_is_never_short(read) -> None:  # type: ignore[no-untyped-def]
    for body, _ in (of_length(50, buf=b"7 bytes"), chunked(buf=b"32\r\n7 bytes"), chunked(buf=b"7\r\n7 bytes\r\n")):
        with pytest.raises(ClientGone):
            while read(body):
                pass
        assert body.broken
        assert not body.finished


def test_a_client_that_stops_sending_is_timed_out() -> None:
    body, _ = of_length(50, b"7 bytes", ClientTimeout())
    with pytest.raises(ClientTimeout):
        body.read()
    assert body.broken


def test_a_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    body, source = of_length(11, b"hello world", limit=10, awaited=True)
    with pytest.raises(BodyTooLarge):
        body.read(1)
    assert body.broken
    assert source.sent == []


def test_the_application_may_set_another_limit() -> None:
    body, _ = of_length(11, b"hello world", limit=10)
    body.limit = 11
    assert body.read() == b"hello world"


def test_chunks_over_the_limit_are_refused_by_their_size() -> None:
    body, _ = chunked(b"5\r\nhello\r\n6\r\n", limit=10)
    with pytest.raises(BodyTooLarge):
        body.read()
    assert body.broken


def test_100_continue_is_sent_at_the_first_read_that_finds_nothing() -> None:
    for body, source in (of_length(5, b"hel", b"lo", awaited=True), chunked(b"5\r\nhello\r\n0\r\n\r\n", awaited=True)):
        assert source.sent == []
        assert body.read() == b"hello"
        assert source.sent == [CONTINUE]


def test_waiting_is_for_the_client_or_another_descriptor() -> None:
    body, source = of_length(5, b"hello", awaited=True)
    assert not body.wait(7)
    assert source.sent == [CONTINUE]
    assert body.wait(-1)
    body, source = of_length(5, ClientTimeout("idle"))
    with pytest.raises(ClientTimeout):
        body.wait(7)
    assert body.broken


def test_what_is_there_is_not_waited_for() -> None:
    body, _ = of_length(5, buf=b"hello")
    assert body.wait(7)
    body.read()
    assert body.wait(7)
    assert EMPTY.wait(7)


def test_framing_alone_is_nothing_to_read() -> None:
    """The end of a chunk, or a part of a size line, may come long before the next chunk."""
    for buf, pieces in (
        (b"5\r\nhello", [b"\r\n", ClientTimeout("idle")]),
        (b"5\r\nhello\r\n", [b"1", ClientTimeout("idle")]),
        (b"5\r\nhello\r", [b"\n1", b"\r\n", ClientTimeout("idle")]),
    ):
        body, _ = chunked(*pieces, buf=buf)
        assert body.wait(-1)
        assert body.read1(100) == b"hello"
        if len(buf) > 10:
            assert not body.wait(7)
        with pytest.raises(ClientTimeout):
            body.wait(-1)
        assert body.broken


def test_content_and_the_end_are_worth_reading() -> None:
    body, source = chunked(b"lo", b"\r\n", b"0\r\n", b"X: y\r\n\r\nnext", buf=b"5\r\n")
    assert body.wait(-1)  # content is next, which the read receives
    assert source.pieces[0] == b"lo"
    source.pieces[:1] = [b"hel", b"lo"]
    assert [body.read1(100), body.wait(-1), body.read1(100), body.wait(-1)] == [b"hel", True, b"lo", True]
    assert body.finished
    assert (body.read1(100), source.buf) == (b"", b"next")


def test_waiting_finds_wrong_framing() -> None:
    body, _ = chunked(buf=b"zz\r\n")
    with pytest.raises(Malformed):
        body.wait(7)
    assert body.broken


def test_100_continue_is_not_sent_to_a_client_that_did_not_wait() -> None:
    for body, source in (
        of_length(5, b"lo", buf=b"hel", awaited=True),
        chunked(b"0\r\n\r\n", buf=b"3\r\nhel\r\n", awaited=True),
    ):
        body.read()
        assert source.sent == []


MALFORMED_CHUNKS = [
    b"\r\n", b"x\r\n", b"0x5\r\nhello\r\n", b"+5\r\nhello\r\n", b"-5\r\n", b" 5\r\nhello\r\n", b"5 \r\nhello\r\n",
    b"5 ;a\r\nhello\r\n", b"5\nhello\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello!\r\n", b"5\r\nhell\r\n0\r\n\r\n",
    b"5_0\r\n", b"5\0\r\n", b"5;a\0\r\nhello\r\n", b"5;a\rb\r\nhello\r\n", b"1234567890abcdef\r\n", b"\xb25\r\n",
    b"5," + b"\r\n", b"5;" + b"x" * 1100 + b"\r\n", b"5;" + b"x" * 1100, b"0\r\nX : y\r\n\r\n", b"0\r\nX\r\n\r\n",
    b"0\r\n folded\r\n\r\n", b"0\r\nX: a\0\r\n\r\n", b"0\r\nX: a\nb\r\n\r\n", b"5\r\nhello" + b"x" * 1100,
]  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED_CHUNKS)
@pytest.mark.parametrize("split", [False, True])
def test_chunk_framing_is_strict(data: bytes, split: bool) -> None:
    body, _ = chunked(*([bytes([octet]) for octet in data] if split else [data]))
    with pytest.raises(Malformed):
        body.read()
    assert body.broken


def test_extensions_are_bounded_over_the_whole_body() -> None:
    body, _ = chunked(*[b"1;" + b"x" * 1000 + b"\r\na\r\n"] * 20)
    with pytest.raises(Malformed):
        body.read()


def test_trailers_are_checked_and_dropped() -> None:
    body, source = chunked(b"1\r\na\r\n0\r\nX: y\r\nZ:\r\n\r\nnext")
    assert body.read() == b"a"
    assert body.finished
    assert source.buf == b"next"


@pytest.mark.parametrize("trailers", [b"A: b\r\n" * 4, b"A: " + b"b" * 60 + b"\r\n", b"A: " + b"b" * 100])
def test_trailers_have_the_limits_of_headers(trailers: bytes) -> None:
    body, _ = chunked(b"0\r\n" + trailers + b"\r\n")
    with pytest.raises(HeadersTooLarge):
        body.read()


def test_many_small_chunks_cost_no_more_than_their_bytes() -> None:
    """10,000 chunks of a byte from one buffer: a quadratic reader would copy 300 MB for them."""
    body, _ = chunked(buf=b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n", limit=20_000)
    assert body.read1(20_000) == b"a" * 10_000
    assert body.read1() == b""
    assert body.finished


def test_the_empty_body_reads_as_an_empty_file_and_keeps_nothing() -> None:
    EMPTY.limit = 5
    assert (EMPTY.read(), EMPTY.read1(5), EMPTY.readline(), EMPTY.readlines(), list(EMPTY)) == (b"", b"", b"", [], [])
    assert EMPTY.limit == 0


@pytest.mark.parametrize("data", [HELLO, *MALFORMED_CHUNKS])
def test_the_cuts_between_packets_do_not_matter(data: bytes) -> None:
    def outcome(*pieces: bytes) -> object:
        body, _ = chunked(*pieces)
        try:
            return body.read()
        except Refusal as refusal:
            return type(refusal)

    assert {outcome(data[:cut], data[cut:]) for cut in range(1, min(len(data), 60))} | {outcome(data)} == {
        outcome(data)
    }
