import pytest

from gateway.routing.patterns import parse
from gateway.routing.rewrite import replace_path, strip_prefix


@pytest.mark.parametrize(
    ("pattern", "prefix", "raw", "target"),
    [
        ("/api/*", "/api", "/api/x", "/x"),
        ("/api/*", "/api/", "/api/x", "/x"),
        ("/api/*", "/api", "/api", "/"),
        ("/api/*", "/api", "/api/", "/"),
        ("/api/*", "/api", "/api/x/", "/x/"),
        ("/api/*", "/api", "/%61p%69/%78%2f", "/%78%2f"),
        ("/api/*", "/api", "/api//x", "//x"),
        ("/api/v1/*", "/api", "/api/v1", "/v1"),
        ("/api/v1/*", "/api/v1", "/api/v1/x/y", "/x/y"),
        ("/api/{id}", "/api", "/api/5", "/5"),
        ("/{name}/*", "/{name}", "/users/5?", "/5?"),
        ("/{name}/x/*", "/{name}/x", "/%C3%A4/x/5", "/5"),
        ("/api/x", "/api/x", "/api/x", "/"),
        ("/größe/*", "/gr%C3%B6%C3%9Fe", "/gr%c3%b6%C3%9fe/x", "/x"),
    ],
)
def test_strip_prefix_cuts_segments(pattern, prefix, raw, target):
    assert strip_prefix(prefix, parse(pattern))(raw) == target


def test_under_a_regex_the_prefix_is_cut_where_it_is():
    rewriting = strip_prefix("/api", parse("~^/(api|v1)"))
    assert rewriting("/api/x") == rewriting("/%61pi/x") == "/x"
    assert rewriting("/api") == "/"
    assert rewriting("/apix/y") == "/apix/y"
    assert rewriting("/v1/api/y") == "/v1/api/y"


def test_a_slash_strips_nothing():
    assert strip_prefix("/", parse("/api/*")) is None


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("/api/*", "/ap"),
        ("/api/*", "/api/v1"),
        ("/api/*", "/{name}"),
        ("/{name}/*", "/{other}"),
        ("/{name}/*", "/users"),
        ("/a/{b}", "/a/b"),
        ("~^/api", "/{name}"),
        ("/api/*", "/api/*"),
        ("/api/*", "api"),
        ("/api/*", "~^/api"),
    ],
)
def test_a_prefix_that_the_path_does_not_begin_with_is_refused(pattern, prefix):
    with pytest.raises(ValueError):
        strip_prefix(prefix, parse(pattern))


@pytest.mark.parametrize(
    ("pattern", "path", "raw", "target"),
    [
        ("/users/{id}", "/v2/{id}", "/users/5", "/v2/5"),
        ("/users/{id}", "/v2/{id}", "/%75sers/x%2fy", "/v2/x%2fy"),
        ("/{a}/{b}", "/{b}/x-{a}.json", "/1/2", "/2/x-1.json"),
        ("/{a}/{b}", "/{a}/{a}", "/1/2", "/1/1"),
        ("/{a}/*", "/v2/{a}", "/1/2/3", "/v2/1"),
        ("/{a}/*", "/v2/{a}/*", "/1/2/3", "/v2/1/2/3"),
        ("/v1/*", "/v2/*", "/v1", "/v2"),
        ("/v1/*", "/v2/*", "/v1/", "/v2/"),
        ("/v1/*", "/*", "/v1", "/"),
        ("/v1/*", "/*", "/v1/x", "/x"),
        ("/v1/*", "/", "/v1/x", "/"),
        ("/a", "/b/größe%2f", "/a", "/b/gr%C3%B6%C3%9Fe%2f"),
        ("~^/a", "/b", "/a/x", "/b"),
    ],
)
def test_replace_path_inserts_what_the_client_sent(pattern, path, raw, target):
    assert replace_path(path, parse(pattern))(raw) == target


@pytest.mark.parametrize(
    ("pattern", "path", "says"),
    [
        ("/users/{id}", "/v2/{name}", "{name}"),
        ("~^/a", "/v2/{name}", "{name}"),
        ("/users/{id}", "/v2/*", "/*"),
        ("/v1/*", "v2", "begin"),
        ("/v1/*", "/a/../b", "dot segment"),
        ("/v1/*", "/a?b=c", "?"),
        ("/v1/*", "/a%zz", "%"),
        ("/{a}/*", "/{a}/{", "variable"),
    ],
)
def test_a_path_that_cannot_be_made_is_refused(pattern, path, says):
    with pytest.raises(ValueError) as refused:
        replace_path(path, parse(pattern))
    assert says in str(refused.value)
