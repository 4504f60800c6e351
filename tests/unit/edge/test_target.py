"""Request targets in their forms, and what may stand in Host."""

import pytest

from gateway.edge import target
from gateway.errors import BadHost, Malformed, NotSupported


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("/a@b?c@d", "/a@b?c@d"),
        ("http://user:secret@h/a?b", "http://***@h/a?b"),
        ("http://user@h", "http://***@h"),
        ("HTTP://user:sec/re?t@h@i/a", "HTTP://***@i/a"),
        ("user:secret@h:80", "***@h:80"),
        ("http://h/a", "http://h/a"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_what_may_be_a_password_is_left_out(sent, told):
    assert target.without_user(sent) == told


@pytest.mark.parametrize(
    ("method", "sent", "parts"),
    [
        ("GET", "/", (None, "/", None)),
        ("GET", "/a%20b?x=1&y", (None, "/a%20b", "x=1&y")),
        ("GET", "/a?", (None, "/a", "")),
        ("GET", "/a?b?c", (None, "/a", "b?c")),
        ("GET", "//evil/a", (None, "//evil/a", None)),
        ("OPTIONS", "*", (None, "*", None)),
        ("GET", "http://example.com/a?b", ("example.com", "/a", "b")),
        ("GET", "HTTPS://example.com:8443", ("example.com:8443", "/", None)),
        ("GET", "http://example.com?b", ("example.com", "/", "b")),
        ("GET", "http://[::1]:80/a", ("[::1]:80", "/a", None)),
        ("OPTIONS", "http://example.com", ("example.com", "*", None)),
    ],
)
def test_a_target_is_split(method, sent, parts):
    assert target.split(method, sent) == parts


@pytest.mark.parametrize(
    ("method", "sent", "refusal"),
    [
        ("CONNECT", "example.com:443", NotSupported),
        ("GET", "*", Malformed),
        ("GET", "", Malformed),
        ("GET", "a/b", Malformed),
        ("GET", "ftp://example.com/", Malformed),
        ("GET", "/a#b", Malformed),
        ("GET", "/a?b#c", Malformed),
        ("GET", "http://user@example.com/", BadHost),
        ("GET", "http:///a", BadHost),
        ("GET", "http://exa mple/", BadHost),
        ("GET", "http://example.com:99999/", BadHost),
    ],
)
def test_what_is_no_target_is_refused(method, sent, refusal):
    with pytest.raises(refusal):
        target.split(method, sent)


@pytest.mark.parametrize(
    "text",
    ["localhost", "a.example.com:8000", "EXAMPLE.com.", "127.0.0.1", "[::1]", "[2001:db8::1]:65535", "my_host:1"],
)
def test_hosts_with_and_without_port(text):
    assert target.is_authority(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "a,b",
        "a/b",
        "u@a",
        "a:",
        "a:x",
        "a:65536",
        "::1",
        "[::1",
        "[:::1]",
        "[1.2.3.4]",
        ".a",
        "a\n",
        "ä",
        "x" * 300,
    ],
)
def test_what_is_no_host(text):
    assert not target.is_authority(text)


def test_the_target_is_taken_as_sent():
    assert target.as_sent({"RAW_URI": "/%61?b", "REQUEST_URI": "/c", "PATH_INFO": "/d"}) == "/%61?b"
    assert target.as_sent({"REQUEST_URI": "/%61?b", "PATH_INFO": "/d"}) == "/%61?b"


def test_without_it_it_is_put_together_from_the_decoded_path():
    environ = {"SCRIPT_NAME": "/s", "PATH_INFO": "/a b/\u00c3\u00bc?#", "QUERY_STRING": "x=%20"}
    assert target.as_sent(environ) == "/s/a%20b/%C3%BC%3F%23?x=%20"
    assert target.as_sent({"PATH_INFO": "/a", "QUERY_STRING": ""}) == "/a"


def test_a_target_that_is_not_encoded_or_lacks_its_query_is_completed():
    environ = {"RAW_URI": "/a b", "PATH_INFO": "/a b", "QUERY_STRING": "x=1"}
    assert target.as_sent(environ) == "/a%20b?x=1"
    assert target.as_sent({"RAW_URI": "/a", "PATH_INFO": "/a", "QUERY_STRING": "x=1"}) == "/a?x=1"
