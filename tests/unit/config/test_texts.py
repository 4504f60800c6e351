from __future__ import annotations

import re

import pytest

from gateway.config import texts
from gateway.config.quantities import UnitError
from gateway.config.units import Unit

CASES: list[tuple[Unit, list[str], list[tuple[str, str | None]]]] = [
    (
        texts.NAME,
        ["a", "9", "orders-v2", "a.b_c", "a" * 128],
        [("", None), ("-a", "a"), ("a b", "a-b"), ("ä", None), ("a" * 129, "a" * 128), ("a\n", None), ("a:b", None)],
    ),
    (
        texts.METHOD,
        ["GET", "PURGE", "M-SEARCH", "get2"],
        [("get", "GET"), ("Get", "GET"), ("", None), ("G T", None), ("CONNECT", None), ("GET\n", None)],
    ),
    (
        texts.HEADER_NAME,
        ["X-Version", "a", "!#$%&'*+.^_`|~1"],
        [("X Version", None), ("X:", "X"), ("", None), ("ä", None)],
    ),
    (
        texts.HEADER_VALUE,
        ["", "a", "a b\tc", "é", "*"],
        [(" a", None), ("a ", None), ("a\nb", None), ("a\rb", None), ("a\0", None), ("€", None)],
    ),
    (texts.PRINTABLE, ["a b", "ä", "a" * 128], [("", None), ("a\n", None), ("a" * 129, None)]),
    (
        texts.HOST,
        ["api.example.com", "*.example.com", "10.0.0.1", "[::1]", "localhost"],
        [
            ("a.b:80", "a.b"),
            ("*", None),
            ("*.*.a", None),
            ("a.*", None),
            ("*.10.0.0.1", None),
            ("*.[::1]", None),
            ("", None),
            ("http://a", None),
        ],
    ),
    (
        texts.HOOK,
        ["my_routes:choose", "a.b.c:d"],
        [("a", None), ("a:", None), ("a.b", None), ("a:b()", None), ("a-b:c", None), ("a:b:c", None)],
    ),
    (texts.PLAIN_PATH, ["/", "/metrics"], [("metrics", None), ("/a b", None), ("", None)]),
    (texts.STATUSES, ["200", "200-399"], [("600", None), ("399-200", None), ("2xx", None), ("200-", None)]),
    (
        texts.HASH_KEY,
        ["client_ip", "header:X-User", "cookie:a", "query:id", "path", "principal"],
        [("header:", None), ("ip", None), ("body:x", None)],
    ),
    (
        texts.LIMIT_KEY,
        ["client_ip", "api_key", "route", "service", "global", "header:X"],
        [("query:x", None), ("path", None)],
    ),
    (texts.CREDENTIAL, ["header:X-API-Key", "query:key", "cookie:key"], [("X-API-Key", None), ("header: X", None)]),
    (
        texts.ORIGIN,
        ["*", "https://a.com", "https://*.a.com", "~^https://"],
        [("a.com:1/", "http://a.com:1"), ("https://a.com/x", "https://a.com"), ("~(", None)],
    ),
    (texts.STATUSES, ["200", "200-399", "200,204", "200, 300-304"], [("600", None), ("399-200", None), ("200,", None)]),
    (texts.SHA256, ["0aF" + "0" * 61], [("0" * 63, None), ("g" * 64, None)]),
    (texts.EXPIRY, ["2027-01-01", "2027-01-01T10:00:00+00:00"], [("tomorrow", None), ("2027-13-01", None), ("", None)]),
    (texts.REDIS_URL, ["redis://:p@h:1/0", "redis+cluster://h"], [("http://h", None), ("h:6379", None)]),
]


@pytest.mark.parametrize(("unit", "text"), [(unit, text) for unit, good, _ in CASES for text in good])
def test_what_a_unit_takes_fits_its_pattern_and_is_its_own_normal_form(unit: Unit, text: str):
    value = unit.parse(text)
    assert unit.parse(unit.format(value)) == value
    if unit.pattern:
        assert re.search(unit.pattern, text)


@pytest.mark.parametrize(("unit", "text", "likely"), [(unit, *one) for unit, _, bad in CASES for one in bad])
def test_what_a_unit_refuses(unit: Unit, text: str, likely: str | None):
    with pytest.raises(UnitError) as refused:
        unit.parse(text)
    assert refused.value.likely == likely


def test_hosts_are_lower_case():
    assert texts.HOST.parse("*.Example.COM") == "*.example.com"


def test_valid_name():
    assert texts.valid_name("orders-v2")
    assert not any(map(texts.valid_name, ("", ".a", "a/b", "a\n", "a" * 129)))
