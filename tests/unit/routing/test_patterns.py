import pytest

from gateway.routing.patterns import parse


@pytest.mark.parametrize(
    ("text", "kind", "segments", "variables"),
    [
        ("/", "exact", ("",), ()),
        ("/a/b", "exact", ("a", "b"), ()),
        ("/a/", "exact", ("a", ""), ()),
        ("/*", "prefix", (), ()),
        ("/a/*", "prefix", ("a",), ()),
        ("/users/{id}", "template", ("users", None), (("id", 2),)),
        ("/{name}/*", "prefix", (None,), (("name", 1),)),
        ("/{a}/x/{b_2}/", "template", (None, "x", None, ""), (("a", 1), ("b_2", 3))),
    ],
)
def test_path_forms(text, kind, segments, variables):
    pattern = parse(text)
    assert (pattern.kind, pattern.segments, pattern.variables) == (kind, segments, variables)


def test_the_path_of_an_exact_pattern_is_canonical():
    assert parse("/").path == "/"
    assert parse("/%61dmin/größe/").path == "/admin/gr%C3%B6%C3%9Fe/"


def test_a_regex_matches_from_the_beginning():
    regex = parse("~^/v[0-9]+/").regex
    assert regex is not None
    assert regex.match("/v12/x")
    assert not regex.match("/x/v1/")


def test_positions_of_variables():
    pattern = parse("/users/{id}/*")
    assert pattern.position("id") == 2
    assert pattern.position("name") is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a/b", "/a/{x}"),
        ("/a/b/*", "/a/*"),
        ("/api/v1/*", "/api/*"),
        ("/api/*", "/{name}/{id}"),
        ("/api/{version}/items", "/api/v1/*"),
        ("/{tenant}/users/{id}", "/admin/*"),
        ("/a/{y}", "/{x}/b"),
        ("/{x}/b", "/a/*"),
        ("/users/{id}", "/users/{id}/*"),
        ("/users/{id}/", "/users/{id}/*"),
        ("/users/*", "/{x}/"),
        ("/{x}/*", "/*"),
        ("/*", "~^/long/regex$"),
    ],
)
def test_the_longer_goes_first(first, second):
    assert parse(first).order < parse(second).order


def test_variable_names_do_not_count():
    assert parse("/users/{a}").order == parse("/users/{b}").order
