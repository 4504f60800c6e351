"""Forwarding over generated input: header hygiene, chunk framing, answers' heads."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import AnswerTooLarge, BadAnswer
from gateway.forward import answers
from gateway.forward.bodies import ChunkDecoder
from gateway.forward.headers import Composer
from tests.support.forwarding import PSEUDONYM, make_exchange

unhurried = settings(deadline=None)
OWNED = [
    "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "Forwarded",
    "X-Real-IP", "X-Request-ID", "X-Gateway-Subject", "X-Gateway-Scopes", "X-Original-URL", "X-Rewrite-URL",
    "X-HTTP-Method-Override", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer",
    "Upgrade", "Proxy-Authorization", "Proxy-Connection", "Expect", "Proxy",
    "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Cluster-Client-IP", "X-Forwarded", "Forwarded-For",
    "X-Original-Host", "X-Original-Forwarded-For", "X-Scheme", "X-Url-Scheme", "Front-End-Https",
]  # fmt: skip
TOKEN = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)


def as_a_backend_sees(name):
    """The name after all the folding that any backend does."""
    return "".join("-" if letter in "-_." else letter for letter in name.lower())


@st.composite
def spellings(draw):
    """An owned name with any case and any of the separators."""
    name = draw(st.sampled_from(OWNED))
    return "".join(
        draw(st.sampled_from("-_.")) if letter == "-" else draw(st.sampled_from([letter.lower(), letter.upper()]))
        for letter in name
    )


def forwarded(headers):
    """The fields that an instance gets."""
    exchange = make_exchange(headers=[("Host", "h")])
    exchange.headers += headers
    lines = Composer(PSEUDONYM).compose(exchange, "a", 9000).decode("latin-1").split("\r\n")[1:-2]
    return [tuple(line.split(": ", 1)) for line in lines]


FIELDS = st.lists(st.tuples(st.text(TOKEN, min_size=1, max_size=30), VALUE), max_size=10)


@unhurried
@given(st.lists(st.tuples(spellings(), st.just("evil")), min_size=1, max_size=5), FIELDS)
def test_no_spelling_of_an_owned_name_gets_through(owned, others):
    others = [(name, value) for name, value in others if as_a_backend_sees(name) not in map(str.lower, OWNED)]
    got = forwarded([*owned, *others])
    seen = [(as_a_backend_sees(name), value) for name, value in got]
    assert [value for name, value in seen if name == "x-forwarded-for"] == ["192.0.2.7"]
    assert [value for name, value in seen if name == "x-forwarded-proto"] == ["http"]
    for name, value in seen:
        if name in map(str.lower, OWNED):
            assert value != "evil"


@unhurried
@given(FIELDS)
def test_every_other_field_passes_byte_for_byte_and_in_order(fields):
    ours = {*(name.lower() for name in OWNED), "host", "via", "proxy-authenticate", "http2-settings"}
    fields = [
        (name, value)
        for name, value in fields
        if as_a_backend_sees(name) not in ours
        and not as_a_backend_sees(name).startswith(("x-forwarded-", "x-gateway-"))
    ]
    assert forwarded(fields)[1 : len(fields) + 1] == fields


@unhurried
@given(st.lists(st.text(TOKEN, min_size=1, max_size=10), min_size=1, max_size=5), FIELDS)
def test_connection_drops_what_it_names_and_never_what_the_gateway_says(named, fields):
    got = forwarded([*fields, ("Connection", ", ".join([*named, "host", "x-forwarded-for", "via", "x-request-id"]))])
    dropped = {name.lower() for name in named}
    assert not [name for name, _ in got[:-6] if name.lower() in dropped - {"host", "via"}]
    assert got[0] == ("Host", "h")
    assert [name for name, _ in got[-6:]] == [
        "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-ID", "X-Gateway-Deadline-Ms", "Via",
    ]  # fmt: skip


@unhurried
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.binary(max_size=10), st.data())
def test_chunks_decode_to_what_was_chunked_however_they_are_cut(pieces, behind, data):
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n" + behind
    cuts = sorted(data.draw(st.lists(st.integers(0, len(framed)), max_size=10)))
    decoder = ChunkDecoder()
    found = b"".join(decoder.feed(framed[a:b]) for a, b in zip([0, *cuts], [*cuts, len(framed)], strict=True))
    assert decoder.done
    assert found == b"".join(pieces)
    assert decoder.rest == behind


@unhurried
@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=8), st.data())
def test_chunks_that_are_cut_off_are_never_whole(pieces, data):
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    decoder = ChunkDecoder()
    decoder.feed(framed[: data.draw(st.integers(0, len(framed) - 1))])
    assert not decoder.done


@unhurried
@given(st.lists(st.binary(max_size=20), max_size=10))
def test_any_bytes_are_chunks_or_refused(pieces):
    decoder = ChunkDecoder()
    try:
        for piece in pieces:
            decoder.feed(piece)
    except BadAnswer:
        pass


HEADS = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            [
                b"HTTP/1.1 200 OK", b"HTTP/1.0 404 ", b"Content-Length: 5", b"Content-Length: 6", b"X: 1", b" y", b"",
                b"Transfer-Encoding: chunked", b"Connection: close, x", b"A:\xff", b"\x00", b"B:\n", b"C: \r",
            ]
        ),
        max_size=8,
    ).map(b"\r\n".join),
)  # fmt: skip


@unhurried
@given(HEADS)
def test_any_head_is_an_answer_or_refused(data):
    try:
        head = answers.parse(data)
    except (BadAnswer, AnswerTooLarge):
        return
    assert 100 <= head.status <= 999
    assert not (head.chunked and head.length is not None)
    for name, value in head.headers:
        assert not set(name + value) & set("\r\n\0")
