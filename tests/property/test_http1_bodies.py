"""Request bodies over generated framings, packets and reads: whole bytes or a refusal, however the packets are cut."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ClientGone, Refusal
from gateway.server.body import LengthBody
from gateway.server.chunks import ChunkedBody
from gateway.server.http1 import HeadLimits

LIMITS = HeadLimits(line=100, count=3, size=60)
NEXT = b"GET /next HTTP/1.1\r\n"


class Packets:
    """A client whose bytes arrive in these packets, and who then leaves."""

    def __init__(self, packets: list[bytes]) -> None:
        self.buf, *self.left = packets or [b""]

    def receive(self, size: int) -> bytes:
        while self.left:
            packet = self.left.pop(0)
            if packet[size:]:
                self.left.insert(0, packet[size:])
            if packet:
                return packet[:size]
        raise ClientGone

    def send(self, data: bytes) -> None:
        raise AssertionError("nobody waits for 100 Continue")

    def rest(self) -> bytes:
        return self.buf + b"".join(self.left)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def read(body: LengthBody | ChunkedBody, sizes: list[int]) -> bytes | type[Refusal]:
    """With these sizes in turn, negative ones by read1."""
    parts = []
    try:
        for size in itertools.cycle(sizes):
            part = body.read(size) if size > 0 else body.read1(-size)
            if not part:
                return b"".join(parts)
            parts.append(part)
    except Refusal as refusal:
        assert body.broken
        return type(refusal)
    raise AssertionError("endless")


places = st.lists(st.integers(0, 10_000), max_size=8)
sizes = st.lists(st.one_of(st.integers(1, 40), st.integers(-40, -1)), min_size=1, max_size=5)
extension = st.sampled_from([b"", b";a", b";a=b", b';a="b;c"'])


@given(st.binary(max_size=100), places, sizes)
@settings(deadline=None)
def test_a_body_of_a_length_is_that_many_bytes(data: bytes, where: list[int], how: list[int]) -> None:
    source = Packets(cut(data + NEXT, where))
    body = LengthBody(source, len(data), 1000, False)
    assert read(body, how) == data
    assert source.rest() == NEXT


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), extension), max_size=6), places, sizes)
@settings(deadline=None)
def test_a_chunked_body_is_its_chunks(chunks: list[tuple[bytes, bytes]], where: list[int], how: list[int]) -> None:
    framed = b"".join(b"%x%b\r\n%b\r\n" % (len(data), more, data) for data, more in chunks) + b"0\r\nX: y\r\n\r\n"
    source = Packets(cut(framed + NEXT, where))
    body = ChunkedBody(source, LIMITS, 1000, False)
    assert read(body, how) == b"".join(data for data, _ in chunks)
    assert body.finished
    assert source.rest() == NEXT


@given(
    st.lists(st.sampled_from([b"0", b"5", b"a", b"A", b";", b"x", b" ", b"\r", b"\n", b"\r\n", b"hello"]), max_size=20),
    places,
    sizes,
)
@settings(deadline=None, max_examples=500)
def test_how_the_bytes_are_cut_does_not_matter(pieces: list[bytes], where: list[int], how: list[int]) -> None:
    data = b"".join(pieces)
    whole = read(ChunkedBody(Packets([data]), LIMITS, 1000, False), [1000])
    assert read(ChunkedBody(Packets(cut(data, where)), LIMITS, 1000, False), how) == whole
