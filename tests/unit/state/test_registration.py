from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import InvalidBody
from gateway.state.registration import FieldError, Registration, parse, parse_name

LEAST = {"service": "echo", "id": "inst-1", "addr": "http://127.0.0.1:8081"}


def test_the_least_document_takes_the_defaults() -> None:
    assert parse(LEAST) == Registration(service="echo", id="inst-1", addr="http://127.0.0.1:8081")


def test_every_field_is_taken() -> None:
    document = LEAST | {"weight": 5, "zone": "a", "tags": ["canary", "blue"], "ttl": "1.5m"}
    assert parse(document) == Registration(**LEAST, weight=5, zone="a", tags=("canary", "blue"), ttl=90.0)


def test_null_stands_for_none() -> None:
    assert parse(LEAST | {"zone": None, "tags": None, "ttl": None}) == parse(LEAST)


@pytest.mark.parametrize(
    ("addr", "kept"),
    [
        ("HTTP://Api.Test", "http://api.test:80"),
        ("https://api.test", "https://api.test:443"),
        ("http://10.0.0.1:8080/", "http://10.0.0.1:8080"),
        ("http://[0:0:0::1]:80", "http://[::1]:80"),
    ],
)
def test_an_address_is_kept_in_one_spelling(addr: str, kept: str) -> None:
    assert parse(LEAST | {"addr": addr}).addr == kept


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("service", bad) for bad in ("", "a/b", "a b", "-a", ".a", "é", "a\n", "x" * 129, 1, None, ["a"])],
        *[("id", bad) for bad in ("", "a/b", "a@b", "x" * 129, True)],
        *[
            ("addr", bad)
            for bad in (
                "", "127.0.0.1:80", "ftp://a", "http://", "http://a/path", "http://a/?q", "http://a?q", "http://a#f",
                "http://user@a", "http://user:pw@a", "http://@a", "http://a:0", "http://a:65536", "http://a:", "http://a:x",
                "http://a:8 0", "http://a\\b", "http://a b", "http://é", "http://[::1", "http://[fe80::1%25eth0]",
                "http://127.1", "http://0x7f000001", "http://2130706433", "http://a\r\nb", " http://a", 1, None,
            )
        ],
        *[("weight", bad) for bad in (0, -1, 1_000_001, 1.0, "1", True, None)],
        *[("zone", bad) for bad in ("", "a\n", "x" * 129, 1)],
        *[("tags", bad) for bad in ("a", {"a": 1}, [1], [""], ["x" * 129], ["a"] * 65, [None])],
        *[("ttl", bad) for bad in ("0s", "99ms", "25h", "30", 30, "-1s", "", True, ["30s"])],
    ],
)  # fmt: skip
def test_a_bad_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidBody) as refused:
        parse(LEAST | {field: value})
    assert refused.value.detail.startswith(f"{field} ")
    assert refused.value.detail.isprintable()


@pytest.mark.parametrize("field", LEAST)
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(InvalidBody, match=f"^{field} is missing$"):
        parse({name: value for name, value in LEAST.items() if name != field})


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1.5, "1.5"),
        ("1", "'1'"),
        ([None], "[null]"),
        ({"a": True}, '{"a": true}'),
    ],
)
def test_a_wrong_value_is_told_in_json(weight: object, told: str) -> None:
    with pytest.raises(InvalidBody) as refused:
        parse(LEAST | {"weight": weight})
    assert refused.value.detail == f"weight must be a whole number from 1 to 1000000, not {told}"


def test_a_wrong_value_that_no_json_holds_is_told_by_its_type() -> None:
    with pytest.raises(FieldError, match=r"not object$"):
        Registration(**LEAST, weight=object())


def test_an_unknown_field_is_named_with_the_ones_there_are() -> None:
    with pytest.raises(InvalidBody, match=r"^'wieght' is no field of this call; there are service, id, addr, weight,"):
        parse(LEAST | {"wieght": 1})


@pytest.mark.parametrize("document", [None, [], "x", 1, True])
def test_a_body_that_is_no_object_is_refused(document: object) -> None:
    for read in (parse, parse_name):
        with pytest.raises(InvalidBody, match=r"^body must be a JSON object, not "):
            read(document)


def test_code_meets_the_same_rules() -> None:
    with pytest.raises(FieldError) as refused:
        Registration(service="echo", id="inst-1", addr="http://a/path")
    assert refused.value.field == "addr"


def test_deregistering_takes_a_service_and_an_id() -> None:
    assert parse_name({"service": "echo", "id": "inst-1"}) == ("echo", "inst-1")


@pytest.mark.parametrize("document", [{"service": "echo"}, {"service": "echo", "id": "a/b"}, LEAST])
def test_deregistering_takes_nothing_else(document: object) -> None:
    with pytest.raises(InvalidBody):
        parse_name(document)
