"""Whether there is a body, how long it is, how much may be read."""

import io
from types import SimpleNamespace

import pytest

from gateway.edge.bodies import BodyLimit, attach_body, limit_body
from gateway.errors import BodyTooLarge, Malformed, NotSupported
from gateway.exchange import Exchange


def exchange(data=b"hello", **environ):
    made = Exchange({"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(data), **environ}, "external")
    attach_body(made)
    return made


class Limited(io.BytesIO):
    limit = 0


def test_no_length_and_no_coding_means_no_body():
    made = exchange()
    assert (made.body, made.content_length, made.chunked) == (None, None, False)


def test_a_length_tells_the_body():
    made = exchange(CONTENT_LENGTH="5")
    assert (made.content_length, made.chunked) == (5, False)
    assert made.body.read() == b"hello"


def test_a_length_of_zero_is_kept_without_a_body():
    made = exchange(CONTENT_LENGTH="0")
    assert (made.body, made.content_length) == (None, 0)


def test_an_empty_length_is_none():
    assert exchange(CONTENT_LENGTH="").content_length is None


def test_chunked_means_a_body_of_unknown_length():
    made = exchange(HTTP_TRANSFER_ENCODING="Chunked ")
    assert (made.chunked, made.content_length) == (True, None)
    assert made.body.read() == b"hello"


@pytest.mark.parametrize("length", ["-1", "+5", "5 5", "0x5", "five", "٥", "5.0"])
def test_a_length_that_is_no_number_is_refused(length):
    with pytest.raises(Malformed):
        exchange(CONTENT_LENGTH=length)


def test_a_length_beyond_all_limits_is_too_large():
    with pytest.raises(BodyTooLarge):
        exchange(CONTENT_LENGTH="9" * 5000)


def test_length_and_coding_exclude_each_other():
    with pytest.raises(Malformed):
        exchange(CONTENT_LENGTH="5", HTTP_TRANSFER_ENCODING="chunked")


def test_other_codings_are_not_supported():
    with pytest.raises(NotSupported):
        exchange(HTTP_TRANSFER_ENCODING="gzip, chunked")


def test_an_announced_length_over_the_limit_is_refused_before_reading():
    made = exchange(CONTENT_LENGTH="5")
    with pytest.raises(BodyTooLarge, match="5 bytes long, 4 are allowed"):
        limit_body(made, 4)
    assert made.body.tell() == 0
    limit_body(made, 5)
    assert made.body.read() == b"hello"


@pytest.mark.parametrize("framing", [{"CONTENT_LENGTH": "5"}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
def test_a_body_that_limits_itself_is_told_the_limit(framing):
    body = Limited(b"hello")
    made = exchange(**framing, **{"wsgi.input": body})
    limit_body(made, 7)
    assert made.body is body
    assert body.limit == 7


@pytest.mark.parametrize("size", [-1, 1, 3, 100])
def test_a_chunked_body_is_limited_as_it_is_read(size):
    made = exchange(HTTP_TRANSFER_ENCODING="chunked")
    limit_body(made, 4)
    with pytest.raises(BodyTooLarge):
        while made.body.read(size):
            pass


@pytest.mark.parametrize("size", [-1, 1, 3, 100])
def test_a_chunked_body_up_to_the_limit_passes(size):
    made = exchange(HTTP_TRANSFER_ENCODING="chunked")
    limit_body(made, 5)
    assert b"".join(iter(lambda: made.body.read(size), b"")) == b"hello"


def test_the_last_limit_holds():
    made = exchange(HTTP_TRANSFER_ENCODING="chunked")
    limit_body(made, 2)
    limit_body(made, 5)
    assert made.body.read() == b"hello"


def test_a_request_without_a_body_has_nothing_to_limit():
    limit_body(exchange(), 0)


@pytest.mark.parametrize(("route", "passes"), [(None, True), (5, True), (4, False), (0, False)])
def test_the_routes_limit_goes_before_the_servers(route, passes):
    made = exchange(CONTENT_LENGTH="5")
    made.route = SimpleNamespace(max_request_body=route)
    stage = BodyLimit(default=100 if route is None else 1)
    if passes:
        assert stage(made, lambda exchange: "answered") == "answered"
    else:
        with pytest.raises(BodyTooLarge):
            stage(made, lambda exchange: "answered")


def test_a_request_without_a_body_passes_any_limit():
    assert BodyLimit(default=0)(exchange(), lambda exchange: "answered") == "answered"
