from __future__ import annotations

import pytest

from gateway.config.nodes import Items, Scalar, Table, describe, kind_of


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("null", ["", "~", "null", "Null", "NULL"]),
        ("flag", ["true", "True", "TRUE", "false", "False", "FALSE"]),
        ("whole", ["0", "7", "-7", "+7", "007", "0o17", "0x1F", "0xff"]),
        ("number", ["1.0", ".5", "1.", "-1e3", "+1.5E-3", ".inf", "-.INF", ".nan", ".NaN"]),
        (
            "text",
            [
                "yes",
                "no",
                "on",
                "off",
                "y",
                "nULL",
                "tRUE",
                "12:30",
                "1:30:00",
                "2027-01-01",
                "2027-01-01T10:00:00Z",
                "1_000",
                "0b11",
                "0o8",
                "0xg",
                "+0x1",
                "1e",
                ".",
                "-",
                "+",
                "-.nan",
                "30s",
                "5xx",
                "1.2.3",
                "a",
            ],
        ),
    ],
)
def test_plain_scalars_are_those_of_the_yaml_1_2_core_schema(kind: str, texts: list[str]):
    assert {text: kind_of(text) for text in texts} == dict.fromkeys(texts, kind)


def scalar(text: str, plain: bool = True) -> Scalar:
    return Scalar(0, 1, 1, text, plain)


def test_quoted_scalars_are_texts():
    assert [scalar(text, plain=False).kind for text in ("true", "7", "null", "")] == ["text"] * 4


def test_nodes_are_described_as_written():
    assert describe(scalar("many")) == '"many"'
    assert describe(scalar("7")) == "the number 7"
    assert describe(scalar("7", plain=False)) == '"7"'
    assert describe(scalar("true")) == "true"
    assert describe(scalar("~")) == "null"
    assert describe(Items(0, 1, 1)) == "a list"
    assert describe(Table(0, 1, 1)) == "a mapping"


def test_descriptions_are_one_short_line_without_passwords():
    assert describe(scalar("a\nb\x1b[0m\u202e", plain=False)) == '"a\\nb\\x1b[0m\\u202e"'
    assert len(describe(scalar("a" * 1000))) < 70
    assert describe(scalar("redis://:hunter2@host/0")) == '"***@host/0"'


def test_secrets_are_described_by_their_kind():
    assert describe(scalar("hunter2"), secret=True) == "a text"
    assert describe(scalar("12345"), secret=True) == "a number"
