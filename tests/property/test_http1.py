"""The request parser over generated heads: it refuses or parses, never anything else, and never differently by how the
bytes were cut on their way."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.server.http1 import CHUNKED, HeadLimits, check_partial, parse_head

LIMITS = HeadLimits(line=60, count=6, size=160)

token = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12)
value = st.text([chr(code) for code in (9, 32, *range(33, 127, 9), 0x80, 0xFF)], max_size=20)
line = st.one_of(
    st.builds("{}: {}".format, token, value),
    st.sampled_from(
        [
            "Host: h", "host: h", "Host:", "Content-Length: 5", "Content-Length: 05", "Content-Length: x",
            "Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "Expect: 100-continue", "Expect: x",
            "Connection: close", "Connection: keep-alive", "X : y", " folded", "X", "", "X: a\nb", "X: a\rb", "X: a\0b",
        ]
    ),
)  # fmt: skip
target = st.one_of(
    st.text([chr(code) for code in range(0x20, 0x80)], max_size=30).map("/{}".format),
    st.sampled_from(["*", "http://h/", "http://", "https://[::1]:8/a?b", "h:80", "/%", "/%zz?%", "/a?b?c", ""]),
)
start = st.one_of(
    st.builds("{} {} {}".format, token, target, st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1", ""])),
    st.text(max_size=30).map(lambda text: text.encode().decode("latin-1")),
)
heads = st.builds(
    lambda first, lines: "\r\n".join([first, *lines]).encode("latin-1"), start, st.lists(line, max_size=8)
)
anything = st.one_of(heads, st.binary(max_size=200))


def parse(head: bytes) -> dict[str, Any] | None:
    environ: dict[str, Any] = {}
    try:
        environ["parsed"] = parse_head(head, environ, LIMITS)
    except Refusal as refusal:
        assert 400 <= refusal.status < 600
        assert refusal.detail.isascii()
        return None
    return environ


def receive(pieces: list[bytes]) -> dict[str, Any] | None:
    """As a connection does it: what is there is judged, and more is waited for."""
    buf = b""
    for piece in pieces:
        buf += piece
        end = buf.find(b"\r\n\r\n")
        if end >= 0:
            return parse(buf[:end])
        if buf:
            try:
                check_partial(buf, LIMITS)
            except Refusal:
                return None
    raise AssertionError("the head does not end")


@given(anything)
@settings(deadline=None, max_examples=500)
@example(b"")
@example(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: " + "٣".encode())
def test_a_head_is_parsed_or_refused(head: bytes) -> None:
    environ = parse(head)
    if environ is None:
        return
    persistent, length, expects = environ["parsed"]
    assert type(persistent) is bool
    assert length >= CHUNKED
    assert not expects or length
    headers = environ["gateway.headers"]
    assert len(headers) <= LIMITS.count
    names = [name.lower() for name, _ in headers]
    for single in ("host", "content-length", "transfer-encoding"):
        assert names.count(single) <= 1
    assert not {"content-length", "transfer-encoding"} <= set(names)
    assert "host" in names or environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert " " not in environ["RAW_URI"]
    for name, text in headers:
        assert text == text.strip(" \t")
        assert not set(f"{name}{text}") & set("\r\n\0")
    for key in environ:
        assert key.startswith(("HTTP_", "CONTENT_")) or key in {
            "parsed", "gateway.headers", "REQUEST_METHOD", "RAW_URI", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL",
        }  # fmt: skip


@given(anything, st.lists(st.integers(0, 220), max_size=6))
@settings(deadline=None, max_examples=500)
@example(b"GET / HTTP/1.1\r\nHost: h", [14, 15, 16])
def test_how_the_bytes_are_cut_does_not_matter(head: bytes, cuts: list[int]) -> None:
    data = head + b"\r\n\r\n"
    if data.find(b"\r\n\r\n") != len(head) or data[:1] == b"\r":
        return  # it ends earlier; or it begins with the empty line that the connection skips
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    assert receive([data[a:b] for a, b in itertools.pairwise(places)]) == receive([data])


@given(heads)
@settings(deadline=None)
def test_what_was_parsed_once_is_parsed_again_from_its_parts(head: bytes) -> None:
    """Nothing of a head that passed is repaired: written out anew it means the same."""
    environ = parse(head)
    if environ is None or environ["RAW_URI"][:1] != "/":
        return
    lines = [f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}"]
    lines += [f"{name}:{text}" for name, text in environ["gateway.headers"]]
    assert parse("\r\n".join(lines).encode("latin-1")) == environ
