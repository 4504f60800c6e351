from __future__ import annotations

import pytest

from gateway.config.addresses import Bind, checked_url, is_loopback, normal_host, normal_url, parse_bind, split_url
from gateway.config.quantities import UnitError


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8000", Bind("127.0.0.1", 8000)),
        ("0.0.0.0:0", Bind("0.0.0.0", 0)),
        ("[::1]:8000", Bind("::1", 8000)),
        ("[0:0::1]:8000", Bind("::1", 8000)),
        ("LocalHost:8000", Bind("localhost", 8000)),
        ("unix:/run/gateway.sock", Bind(path="/run/gateway.sock")),
        ("unix:///run/gateway.sock", Bind(path="/run/gateway.sock")),
    ],
)
def test_binds(text: str, bind: Bind):
    assert parse_bind(text) == bind
    assert parse_bind(str(bind)) == bind


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("8000", "0.0.0.0:8000"),
        (":8000", "0.0.0.0:8000"),
        ("*:8000", "0.0.0.0:8000"),
        ("tcp://a.b:1", "a.b:1"),
        ("localhost", None),
        ("::1:8000", None),
        ("127.0.0.1:65536", None),
        ("127.0.0.1:", None),
        ("127.1:80", None),
        ("unix:", None),
        ("unix:relative.sock", None),
        ("unix:/" + "a" * 107, None),
        ("fd://3", None),
        ("", None),
        ("a b:80", None),
        ("127.0.0.1:+80", None),
    ],
)
def test_what_cannot_be_bound_is_refused(text: str, likely: str | None):
    with pytest.raises(UnitError) as refused:
        parse_bind(text)
    assert refused.value.likely == likely


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "[::1]:80", False),
        ("[::]:80", "127.0.0.1:80", True),
        ("[::]:80", "[::1]:80", True),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "0.0.0.0:80", False),
    ],
)
def test_binds_that_the_kernel_refuses_together_overlap(first: str, second: str, overlap: bool):
    assert parse_bind(first).overlaps(parse_bind(second)) is overlap
    assert parse_bind(second).overlaps(parse_bind(first)) is overlap


@pytest.mark.parametrize(
    ("bind", "host", "port", "answers"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80, True),
        ("127.0.0.1:80", "127.0.0.1", 81, False),
        ("127.0.0.1:80", "127.0.0.2", 80, False),
        ("127.0.0.1:80", "localhost", 80, True),
        ("127.0.0.1:80", "0.0.0.0", 80, True),
        ("localhost:80", "::1", 80, True),
        ("0.0.0.0:80", "127.0.0.2", 80, True),
        ("0.0.0.0:80", "localhost", 80, True),
        ("0.0.0.0:80", "10.0.0.5", 80, False),
        ("10.0.0.5:80", "127.0.0.1", 80, False),
        ("10.0.0.5:80", "10.0.0.5", 80, True),
        ("unix:/a", "127.0.0.1", 80, False),
    ],
)
def test_a_bind_answers_what_surely_ends_there(bind: str, host: str, port: int, answers: bool):
    assert parse_bind(bind).answers(host, port) is answers


def test_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.example.com")))
    assert parse_bind("unix:/a").loopback


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("HTTP://Backend.Internal", "http://backend.internal:80"),
        ("https://backend", "https://backend:443"),
        ("http://my_service:8080/", "http://my_service:8080"),
        ("http://[0::1]:8080", "http://[::1]:8080"),
        ("http://svc.cluster.local.:80", "http://svc.cluster.local.:80"),
    ],
)
def test_instance_urls_have_one_spelling(text: str, normal: str):
    assert normal_url(text) == normal
    assert normal_url(normal) == normal


def test_split_url():
    assert split_url("https://[::1]") == ("https", "::1", 443)


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("backend:80/", "http://backend:80"),
        ("ftp://a", None),
        ("http://a:80/x", "http://a:80"),
        ("http://a?x", "http://a"),
        ("http://a#x", "http://a"),
        ("http://u:p@a", None),
        ("http://", None),
        ("http://a:0", None),
        ("http://a:99999", None),
        ("http://a:", None),
        ("http://a b", None),
        ("http://127.1", None),
        ("http://0x7f000001", None),
        ("http://256.1.1.1", None),
        ("http://[::1", None),
        ("http://[fe80::1%25eth0]", None),
        ("http://a\\b", None),
        ("http://ä", None),
        ("http://-a-", None),
        ("http://" + "a" * 64, None),
        ("http://a..b", None),
        ("http://a\n", None),
        ("u:p@h:80/x", None),
    ],
)
def test_what_is_no_instance_url_is_refused(text: str, likely: str | None):
    with pytest.raises(UnitError) as refused:
        normal_url(text)
    assert refused.value.likely == likely


def test_hosts():
    assert normal_host("Api.Example.COM") == "api.example.com"
    assert normal_host("[0::1]") == "[::1]"


@pytest.mark.parametrize("text", ["redis://:pw@h:6379/0", "redis+sentinel://a:1/x", "unix:///run/redis.sock"])
def test_whole_urls_stay_as_written(text: str):
    assert checked_url(text, ("redis", "unix", "redis+sentinel")) == text


@pytest.mark.parametrize(
    "text", ["http://a", "redis:", "redis://", "redis://a:0", "redis://a:x", "unix://", "redis://a b", ""]
)
def test_urls_of_another_kind_are_refused(text: str):
    with pytest.raises(UnitError):
        checked_url(text, ("redis", "unix"))
