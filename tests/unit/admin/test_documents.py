"""Bodies: JSON, short, whole, unambiguous; each refusal names the place."""

import io

import pytest

from gateway.admin.documents import MAX_SIZE, parse, receive
from gateway.errors import BodyTooLarge, ClientGone, InvalidBody, WrongContentType
from gateway.exchange import Exchange


def exchange(body=b"{}", content_type="application/json", length=True):
    made = Exchange({"REQUEST_METHOD": "POST", "CONTENT_TYPE": content_type}, "internal")
    made.body = io.BytesIO(body)
    made.content_length = len(body) if length is True else length
    made.chunked = length is None
    return made


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", "application/json;"])
def test_json_is_taken_with_parameters_and_in_any_case(content_type):
    assert receive(exchange(b'{"a": [1, "\\u00e9"]}', content_type)) == {"a": [1, "é"]}


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "text/json"])
def test_other_types_are_refused(content_type):
    with pytest.raises(WrongContentType):
        receive(exchange(content_type=content_type))


def test_a_missing_body_is_told():
    made = exchange()
    made.body = None
    with pytest.raises(InvalidBody, match="missing"):
        receive(made)


def test_what_was_read_is_counted():
    made = exchange(b'{"a":1}')
    receive(made)
    assert made.bytes_in == 7


@pytest.mark.parametrize("length", [True, None])
def test_64_kib_is_the_limit(length):
    fits = b'"' + b"x" * (MAX_SIZE - 2) + b'"'
    assert len(receive(exchange(fits, length=length))) == MAX_SIZE - 2
    with pytest.raises(BodyTooLarge):
        receive(exchange(fits + b" ", length=length))


def test_an_announced_length_over_the_limit_is_refused_unread():
    made = exchange(length=MAX_SIZE + 1)
    with pytest.raises(BodyTooLarge):
        receive(made)
    assert made.body.tell() == 0


def test_a_body_that_ends_early_is_not_a_document():
    with pytest.raises(ClientGone):
        receive(exchange(b"{}", length=3))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"a":\n 1,}', "line 2"),
        (b"{} {}", "line 1, column 4: extra data"),
        (b"{'a': 1}", "line 1, column 2"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' is there twice"),
        (b'{"o": {"x": 1, "x": 1}}', "'x' is there twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": "\xff"}', "UTF-8 at byte 7"),
        (b"\xef\xbb\xbf{}", "line 1, column 1"),
        (b"[" * 60_000, "nested too deeply"),
        (b"1" * 10_000, "number that is too long"),
        (b'"a\nb"', "line 1, column 3"),
    ],
)
def test_what_is_not_one_json_text_is_refused_with_the_place(text, why):
    with pytest.raises(InvalidBody, match=why):
        parse(text)
