from __future__ import annotations

import warnings

import pytest

from gateway.config.patterns import compile_regex, parse, parse_prefix, parse_rewrite


@pytest.mark.parametrize(
    ("text", "kind", "segments", "variables"),
    [
        ("/", "exact", ("",), ()),
        ("/a/b", "exact", ("a", "b"), ()),
        ("/a/b/", "exact", ("a", "b", ""), ()),
        ("/users/{id}", "template", ("users", None), ("id",)),
        ("/{a}/x/{b}", "template", (None, "x", None), ("a", "b")),
        ("/*", "prefix", (), ()),
        ("/a/*", "prefix", ("a",), ()),
        ("/{name}/*", "prefix", (None,), ("name",)),
        ("~^/v[0-9]+/", "regex", (), ()),
    ],
)
def test_kinds_of_paths(text: str, kind: str, segments: tuple[str | None, ...], variables: tuple[str, ...]):
    pattern = parse(text)
    assert (pattern.kind, pattern.segments, pattern.variables) == (kind, segments, variables)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/gr%c3%b6%c3%9fe", "/größe", True),
        ("/%61", "/a", True),
        ("/users/{id}", "/users/{name}", True),
        ("/a/*", "/a", False),
        ("/a", "/a/", False),
        ("/{a}", "/{a}/*", False),
        ("/a", "/A", False),
        ("~^/a", "~^/a", True),
        ("~^/a", "/a", False),
    ],
)
def test_the_same_paths_have_the_same_shape(one: str, other: str, same: bool):
    assert (parse(one).shape == parse(other).shape) is same


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begins neither"),
        ("a", "begins neither"),
        ("*", "begins neither"),
        ("/a*", "only at the end"),
        ("/*/a", "only at the end"),
        ("/a/{x", "variable"),
        ("/a/{1}", "variable"),
        ("/v{x}", "variable"),
        ("/{x}/{x}", "twice"),
        ("/a/../b", "dot segment"),
        ("/a/.", "dot segment"),
        ("/a/%2e%2E/b", "dot segment"),
        ("/a%2f..%2fb", "dot segment"),
        ("/..;/a", "dot segment"),
        ("/%", "hexadecimal"),
        ("/%g1", "hexadecimal"),
        ("/%00", "%00"),
        ("/a?b", "?"),
        ("/a#b", "#"),
        ("/a b", "space"),
        ("/a\n", "control"),
        ("~(", "regular expression"),
        ("~[z-a]", "regular expression"),
        ("~" + "(" * 2000, "regular expression"),
        ("~a{99999999999}", "regular expression"),
        ("/" + "a" * 2048, "longer"),
    ],
)
def test_what_is_no_path_is_refused_without_being_quoted(text: str, why: str):
    with pytest.raises(ValueError, match=why.replace("?", r"\?")) as refused:
        parse(text)
    if len(text) > 3:
        assert text not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["(?P<hunter2", "[hunter2", "(?P=hunter2)", r"(?P<a>)\hunter2", "(?hunter2)", "(hunter2"]
)
def test_messages_about_regular_expressions_do_not_quote_them(text: str):
    with pytest.raises(ValueError, match="regular expression") as refused:
        compile_regex(text)
    assert "hunter2" not in str(refused.value)


def test_a_regular_expression_that_python_only_warns_of_is_taken():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compile_regex("[[a]").match("[")


@pytest.mark.parametrize(
    ("text", "forms"),
    [("/a", set()), ("/a//b", {"//"}), ("/a;b", {";"}), ("/a%2fb", {"%2F"}), ("/a\\b", {"%5C"}), ("/{x}/b", set())],
)
def test_forms_that_a_route_has_to_allow(text: str, forms: set[str]):
    assert parse(text).forms == forms


def test_what_matches_everything():
    assert all(parse(text).everything for text in ("/*", "~", "~^/", "~.*"))
    assert not any(parse(text).everything for text in ("/a/*", "/{x}/*", "~^/a", "/"))


def test_prefixes_to_strip():
    assert parse_prefix("/api").segments == parse_prefix("/api/").segments == ("api",)
    assert parse_prefix("/{name}").variables == ("name",)
    for text in ("api", "/api/*", "~^/api", ""):
        with pytest.raises(ValueError):
            parse_prefix(text)


def test_rewrites():
    assert parse_rewrite("/v2/{id}/x-{name}") == ({"id", "name"}, False)
    assert parse_rewrite("/v2/*") == (set(), True)
    assert parse_rewrite("/*") == (set(), True)
    for text in ("v2", "/v2/{id", "/v2?x=1", "/a/*/b", "/../a", ""):
        with pytest.raises(ValueError):
            parse_rewrite(text)
