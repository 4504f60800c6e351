"""Framings of answers' bodies, over a connection that plays back."""

from __future__ import annotations

import pytest

from gateway.errors import BadAnswer
from gateway.forward.answers import Head
from gateway.forward.bodies import SMALL, AnswerBody, ChunkDecoder, small
from gateway.forward.connection import Closed


def decode(*pieces):
    decoder = ChunkDecoder()
    return b"".join(decoder.feed(piece) for piece in pieces), decoder


def test_chunks_are_joined_and_trailers_dropped():
    found, decoder = decode(b"5;ext=1\r\nhello\r\n1 \r\n \r\nA\r\n0123456789\r\n0\r\nX-Trailer: 1\r\nY: 2\r\n\r\nrest")
    assert (found, decoder.done, decoder.rest) == (b"hello 0123456789", True, b"rest")


def test_chunks_may_be_cut_anywhere():
    data = b"5;a\r\nhello\r\n0006\r\n world\r\n00\r\nX: 1\r\n\r\n"
    for at in range(len(data)):
        found, decoder = decode(data[:at], data[at:])
        assert (found, decoder.done, decoder.rest) == (b"hello world", True, b"")
    found, decoder = decode(*(data[at : at + 1] for at in range(len(data))))
    assert (found, decoder.done) == (b"hello world", True)


@pytest.mark.parametrize(
    "data", [b"", b"5", b"5\r\nhell", b"5\r\nhello", b"5\r\nhello\r\n", b"0\r\n", b"0\r\nX: 1\r\n"]
)
def test_chunks_are_not_done_before_their_end(data):
    assert not decode(data)[1].done


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n", b"g\r\n", b"-5\r\nhello\r\n", b"+5\r\n", b"0x5\r\n", b" 5\r\n", b"5\nhello\n\r\n", b"5\r\nhelloX\r\n",
        b"5 5\r\n", b"5\r\nhello\n\r", b"1234567890123456\r\n", b"5;\x00\r\n", b"5" * 5000,
        b"5;" + b"x" * 5000 + b"\r\n", b"0\r\n" + b"X: 1\r\n" * 20000, b"0\r\n" + b"x" * 70000,
    ],
)  # fmt: skip
def test_broken_chunks_are_refused(data):
    with pytest.raises(BadAnswer):
        decode(data)


class Played:
    """A connection that has received `buffer` and will receive `pieces`; an exception among them is raised."""

    def __init__(self, buffer=b"", *pieces):
        self.buffer = buffer
        self.pieces = list(pieces)
        self.broken = False
        self.limits = []

    def receive(self, limit):
        self.limits.append(limit)
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def more(self, seconds):
        """None among the pieces: nothing comes for a while."""
        if not self.pieces:
            return None
        return self.receive(seconds) if self.pieces[0] is not None else self.pieces.pop(0)


class Owner:
    def __init__(self):
        self.finished = []

    def finish(self, connection, reusable):
        self.finished.append(reusable)

    def failure(self, error, deadline=None):
        return RuntimeError(type(error).__name__)


class Beside:
    """A request that goes on beside its answer, and is whole when `pieces` of that were read."""

    def __init__(self, connection, pieces):
        self.connection = connection
        self.pieces = pieces

    @property
    def whole(self):
        return not self.pieces

    def receive(self):
        self.pieces -= 1
        return self.connection.receive(0)


def body(connection, *, length=None, keep=True, decoder=None, first=b"", sending=None):
    owner = Owner()
    head = Head(200, "OK", [], length, decoder is not None, keep)
    return AnswerBody(connection, head, owner, 7.0, lambda: 100.0, sending, decoder=decoder, first=first), owner


def test_a_body_of_known_length_gives_the_connection_back_with_its_last_piece():
    made, owner = body(Played(b"he", b"ll", b"o"), length=5)
    assert [next(made), next(made)] == [b"he", b"ll"]
    assert owner.finished == []
    assert next(made) == b"o"
    assert owner.finished == [True]
    assert list(made) == []
    made.close()
    assert owner.finished == [True]


def test_every_read_has_the_whole_timeout():
    connection = Played(b"a", b"b", b"c")
    assert b"".join(body(connection, length=3)[0]) == b"abc"
    assert connection.limits == [107.0, 107.0]


@pytest.mark.parametrize("keep, behind, reusable", [(True, b"", True), (False, b"", False), (True, b"x", False)])
def test_a_connection_that_closes_or_says_more_is_not_kept(keep, behind, reusable):
    made, owner = body(Played(b"", b"hello" + behind), length=5, keep=keep)
    assert b"".join(made) == b"hello"
    assert owner.finished == [reusable]


@pytest.mark.parametrize("pieces, reusable", [(2, True), (3, False)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_goes_on_with_each_read_and_unless_it_is_whole_its_connection_is_not_kept(pieces, reusable, chunked):
    connection = Played(b"he", *((b"l", b"lo") if not chunked else (b"l\r\n0\r\n", b"\r\n")))
    framing = {"length": 5}
    if chunked:
        connection.buffer = b""
        framing = {"decoder": ChunkDecoder()}
        framing["first"] = framing["decoder"].feed(b"3\r\nhe")
    made, owner = body(connection, sending=Beside(connection, pieces), **framing)
    assert b"".join(made) == (b"hel" if chunked else b"hello")
    assert owner.finished == [reusable]


def test_a_chunked_body_goes_on_where_the_head_left_it():
    decoder = ChunkDecoder()
    first = decoder.feed(b"2\r\nhe\r\n3\r\nl")
    made, owner = body(Played(b"", b"lo\r\n", b"0\r\n\r\n"), decoder=decoder, first=first)
    assert list(made) == [b"hel", b"lo"]
    assert owner.finished == [True]


@pytest.mark.parametrize(
    "pieces, arguments",
    [
        ([b"hello"], {"length": 5}),
        ([b"5\r\nhello\r\n0\r\n\r\n"], {"decoder": True}),
        ([b"hello", b""], {}),
    ],
)
def test_the_first_piece_is_empty_when_nothing_is_there_yet(pieces, arguments):
    for ready in (False, True):
        connection = Played(b"", *([] if ready else [None]), *pieces)
        made, _ = body(connection, **{**arguments, **({"decoder": ChunkDecoder()} if "decoder" in arguments else {})})
        assert list(made) == ([b"hello"] if ready else [b"", b"hello"])


def test_a_body_without_length_ends_with_the_connection_which_is_not_kept():
    made, owner = body(Played(b"he", b"llo", b""))
    assert list(made) == [b"he", b"llo"]
    assert owner.finished == [False]


def test_a_reset_that_was_noticed_before_does_not_end_a_body_in_order():
    connection = Played(b"he", b"")
    connection.broken = True
    made, owner = body(connection)
    with pytest.raises(RuntimeError, match="Closed"):
        list(made)
    assert owner.finished == [False]


@pytest.mark.parametrize(
    "connection, arguments",
    [
        (Played(b"he", b""), {"length": 5}),
        (Played(b"he", ConnectionResetError()), {"length": 5}),
        (Played(b"he", TimeoutError()), {}),
        (Played(b"", b""), {"decoder": ChunkDecoder()}),
        (Played(b"", b"zz\r\n"), {"decoder": ChunkDecoder()}),
    ],
)
def test_a_body_that_breaks_off_raises_what_the_owner_makes_of_it(connection, arguments):
    made, owner = body(connection, **arguments)
    with pytest.raises(RuntimeError):
        list(made)
    assert owner.finished == [False]
    assert list(made) == []  # and stays broken off


def test_closing_a_body_early_closes_its_connection_once():
    made, owner = body(Played(b"he"), length=5)
    made.close()
    made.close()
    assert owner.finished == [False]


def small_of(connection, length):
    return small(connection, Head(200, "", [], length, False, True), lambda: 100.0)


def test_a_small_body_is_taken_with_the_head():
    connection = Played(b"he", b"l", b"lox")
    assert small_of(connection, 5) == b"hello"
    assert connection.buffer == b"x"
    assert small_of(Played(), 0) == b""


@pytest.mark.parametrize(
    "connection, length",
    [
        (Played(b"he", b"l", None), 5),
        (Played(b"hel", b""), 5),
        (Played(b"hel", ConnectionResetError()), 5),
        (Played(b"hel"), SMALL + 1),
        (Played(b"hel"), None),
    ],
)
def test_what_is_not_there_or_not_small_is_left_to_the_stream(connection, length):
    assert small_of(connection, length) is None
    assert connection.buffer == b"hel"


def test_closed_is_a_connection_error():
    assert issubclass(Closed, ConnectionError)
