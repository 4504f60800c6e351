from __future__ import annotations

from typing import Any

import pytest
import yaml

from gateway.config import compose
from gateway.config.compose import Composer, Refused
from gateway.config.nodes import Items, Node, Scalar, Table
from gateway.config.problems import Problem


@pytest.fixture(params=["libyaml", "pure Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure Python":
        monkeypatch.setattr(compose, "_Loader", yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")


pytestmark = pytest.mark.usefixtures("parser")


def values(node: Node | None) -> Any:
    if isinstance(node, Table):
        return {key: values(value) for key, (_, value) in node.entries.items()}
    if isinstance(node, Items):
        return [values(item) for item in node.items]
    return node.text if isinstance(node, Scalar) else None


def composed(text: str) -> tuple[Any, list[Problem]]:
    composer = Composer("f.yaml", 0)
    return values(composer.compose(text)), composer.problems


def refused(text: str) -> Problem:
    with pytest.raises(Refused) as found:
        Composer("f.yaml", 0).compose(text)
    return found.value.problem


def test_a_tree_with_places():
    root = Composer("f.yaml", 0).compose("a: 1\nb:\n  - x\n  - {c: 'y'}\n")
    assert isinstance(root, Table)
    assert values(root) == {"a": "1", "b": ["x", {"c": "y"}]}
    key, items = root.entries["b"]
    assert (key.line, key.column) == (2, 1)
    assert isinstance(items, Items)
    assert [(item.line, item.column) for item in items.items] == [(3, 5), (4, 5)]
    inner = items.items[1]
    assert isinstance(inner, Table)
    value = inner.get("c")
    assert isinstance(value, Scalar)
    assert (value.line, value.column, value.plain) == (4, 9, False)


def test_columns_count_characters():
    root = Composer("f.yaml", 0).compose('{"ä€😀": x}')
    assert isinstance(root, Table)
    assert next(iter(root.entries.values()))[1].column == 9


def test_nothing_is_none():
    assert composed("") == (None, [])
    assert composed("# only a comment\n") == (None, [])


def test_a_key_that_stands_twice_is_told_with_both_lines_and_reading_goes_on():
    found, problems = composed("s:\n  a: 1\n  b: 2\n  a: {c: 3}\nt: [{x: 1, x: 2}]\n")
    assert found == {"s": {"a": "1", "b": "2"}, "t": [{"x": "1"}]}
    assert [(one.line, one.column, one.path) for one in problems] == [(4, 3, "s.a"), (5, 12, "t[0].x")]
    assert "the first is in line 2" in problems[0].why


def test_anchors_and_aliases():
    assert composed("a: &x {b: 1}\nc: *x\nd: [*x, *x]\n")[0] == {
        "a": {"b": "1"},
        "c": {"b": "1"},
        "d": [{"b": "1"}] * 2,
    }
    assert composed("a: &x 1\nb: &x 2\nc: *x\n")[0]["c"] == "2"


def test_aliases_that_would_amount_to_billions_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    problem = refused("\n".join(lines))
    assert problem.line == 5
    assert "aliases that stand for more than 100000 nodes" in problem.why


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a: *x", 1, "without its anchor"),
        ("a: &x [*x]", 1, "within its own anchor"),
        ("a: &x 1\n*x : 2", 2, "alias as a key"),
        ("a: !x 1", 1, "a tag"),
        ("a: !!str 1", 1, "a tag"),
        ("a: !x [1]", 1, "a tag"),
        ("a: !x {b: 1}", 1, "a tag"),
        ("? [a]\n: 1", 1, "keys are names"),
        ("{a: 1}: 1", 1, "keys are names"),
        ("a: 1\n---\nb: 1", 2, "a second document"),
        ("a: [1", 1, "not YAML"),
        ("a: 1\nb: 'x", 2, "not YAML"),
        ("a:\n\t- b", 2, "not YAML"),
        ("a: b: c", 1, "not YAML"),
        ("a: 1\n b: 2", 2, "not YAML"),
        ("a: @x", 1, "not YAML"),
        ("%YAML 9.9\n---\na: 1", 1, "not YAML"),
        ("a: \0", 1, "not a text file"),
        ("a\nb\x07", 2, "not a text file"),
        ('a: "\\ud800"', 1, ""),
        ("[" * 33 + "]" * 33, 1, "nested deeper"),
        ("[" * 200_000, 1, "nested deeper"),
        ("{a: " * 33, 1, "nested deeper"),
    ],
)
def test_what_is_refused(text: str, line: int, why: str):
    problem = refused(text)
    assert problem.file == "f.yaml"
    assert problem.line in (line, line + 1)  # the parsers differ in whether the end is a line of its own
    assert why in problem.why


def test_a_syntax_error_tells_the_section_it_stands_in():
    assert refused("services:\n  echo:\n    instances: [{id: a, url: @b}]").path == "services.echo.instances[0]"


def test_an_unquoted_substitution_within_brackets_gets_a_hint():
    assert "${…} needs quotes" in refused("a: [${X}, b]").why


@pytest.mark.parametrize(
    "text",
    [
        "token: *hunter2",
        "token: !hunter2 x",
        "token: 'x' hunter2",
        "token: |hunter2",
        "token:\n  a\n  hunter2: [",
        "? hunter2\n? [",
        'token: "\\hunter2"',
        "{token: hunter2",
        "token: %hunter2",
        "a: &hunter2 [*hunter2]",
        "hunter2",
        "- a\nhunter2: c",
    ],
)
def test_messages_do_not_quote_the_text(text: str):
    composer = Composer("f.yaml", 0)
    try:
        composer.compose(text)
    except Refused as found:
        assert "hunter2" not in found.problem.message


def test_the_largest_nesting_that_is_taken():
    assert composed("[" * 32 + "]" * 32)[1] == []
