from __future__ import annotations

from typing import Any

import pytest

from gateway.upstream.keys import key_of, with_fallback
from tests.unit.upstream.balancers.support import exchange


@pytest.mark.parametrize(
    ("spec", "fields", "key"),
    [
        ("client_ip", {"client": "10.0.0.1"}, "10.0.0.1"),
        ("client_ip", {}, None),
        ("path", {"path": "/a/b"}, "/a/b"),
        ("principal", {"principal": "ann"}, "ann"),
        ("principal", {}, None),
        ("header:X-User", {"headers": [("Host", "h"), ("x-user", "ann"), ("X-User", "bob")]}, "ann"),
        ("header:X-User", {"headers": [("X-Use", "ann")]}, None),
        ("header:X-User", {"headers": [("X-User", "")]}, None),
        ("cookie:id", {"headers": [("Cookie", "a=1; id=7")]}, "7"),
        ("cookie:id", {"headers": [("Cookie", "id=; id=7")]}, "7"),
        ("cookie:id", {"headers": [("Cookie", "ID=7")]}, None),
        ("query:q", {"query": "a=1&q=7&q=8"}, "7"),
        ("query:q", {"query": "q=a%20b"}, "a b"),
        ("query:q", {"query": "q=a+b"}, "a b"),
        ("query:q", {"query": "%71=7"}, "7"),
        ("query:q", {"query": "q=%e9\xe9"}, "\xe9\xe9"),
        ("query:q", {"query": "q=%zz%"}, "%zz%"),
        ("query:q", {"query": "q"}, None),
        ("query:q", {"query": ""}, None),
        ("query:q", {"query": None}, None),
    ],
)
def test_the_key_of_a_request(spec: str, fields: dict[str, Any], key: str | None) -> None:
    assert key_of(spec)(exchange(**fields)) == key


def test_the_fallback_is_for_requests_without_the_key() -> None:
    key = with_fallback(key_of("header:X-User"), key_of("client_ip"))
    assert key(exchange(client="10.0.0.1", headers=[("X-User", "ann")])) == "ann"
    assert key(exchange(client="10.0.0.1")) == "10.0.0.1"
    assert key(exchange()) is None


def test_nothing_else_is_a_key() -> None:
    with pytest.raises(ValueError, match="moon"):
        key_of("moon")
