from __future__ import annotations

import pytest

from gateway.config.substitution import Expansion, SubstitutionError, expand

ENVIRONMENT = {"A": "1", "B": "two words", "EMPTY": "", "NESTED": "${A}", "P": "secret.txt"}
FILES = {"secret.txt": "s3cret", "braces.txt": "${A}}"}


def read(path: str) -> str:
    if path not in FILES:
        raise SubstitutionError("no such file")
    return FILES[path]


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${A}", "1"),
        ("x${A}y${B}z", "x1ytwo wordsz"),
        ("$A $ {A} }", "$A $ {A} }"),
        ("${EMPTY}", ""),
        ("${A:-d}", "1"),
        ("${C:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${C:-}", ""),
        ("${C:-a:-b}", "a:-b"),
        ("${C:-${A}}", "1"),
        ("${C:-${D:-${A}}x}", "1x"),
        ("${A:-${C}}", "1"),
        ("${file:secret.txt}", "s3cret"),
        ("${file:${P}}", "s3cret"),
        ("${file:${C:-secret.txt}}", "s3cret"),
        ("${C:-${file:secret.txt}}", "s3cret"),
        ("${file:-d}", "d"),
        ("${NESTED}", "${A}"),
        ("${file:braces.txt}", "${A}}"),
    ],
)
def test_what_a_text_becomes(text: str, becomes: str):
    assert expand(text, ENVIRONMENT, read).text == becomes


@pytest.mark.parametrize(
    ("text", "fallback"),
    [("${C:-null}", True), ("${C:-${D:-null}}", True), ("${A:-null}", False), ("${A}", False), ("${C:-${A}}", False)],
)
def test_a_default_that_the_file_writes_out_is_told_from_what_came_from_outside(text: str, fallback: bool):
    assert expand(text, ENVIRONMENT, read).fallback is fallback


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${C}", "variable C is not set"),
        ("${C:-${D}}", "variable D is not set"),
        ("${", "without the name"),
        ("${}", "without the name"),
        ("${1}", "without the name"),
        ("${A", "neither } nor :-"),
        ("${A:x}", "neither } nor :-"),
        ("${A-x}", "neither } nor :-"),
        ("${A:-x", "no } closes"),
        ("${file:}", "without a path"),
        ("${file:x", "no } closes"),
        ("${file:nowhere}", "no such file"),
        ("${C:-" * 9 + "}" * 9, "deeper than 8"),
    ],
)
def test_what_stands_for_nothing_is_refused(text: str, why: str):
    with pytest.raises(SubstitutionError, match=why):
        expand(text, ENVIRONMENT, read)


def test_the_result_is_a_value():
    assert expand("a", {}, read) == Expansion("a", fallback=True)
