import pytest

from gateway.config.model import HeaderEdits, Rewrite, Split
from gateway.errors import MethodNotAllowed, NoRoute
from gateway.routing.routes import RouteError
from gateway.routing.table import rows

from .support import exchange, route, table, taken


# --- paths ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/a/b", ["/a/b"], ["/a", "/a/", "/a/b/", "/a/b/c", "/A/b"]),
        ("/", ["/"], ["/a", "//"]),
        ("/a/*", ["/a", "/a/", "/a/b", "/a/b/c/"], ["/", "/ab", "/b/a"]),
        ("/*", ["/", "/a", "/a/b/"], []),
        ("/users/{id}", ["/users/5", "/users/x%2Fy"], ["/users", "/users/", "/users/5/", "/users/5/x"]),
        ("/users/{id}/", ["/users/5/"], ["/users/5", "/users//"]),
        ("/{name}/*", ["/x", "/x/", "/x/y"], ["/", "//x"]),
        ("/{a}/x/{b}", ["/1/x/2"], ["/1/y/2", "/1/x", "/1/x/"]),
        ("~^/v[0-9]+/", ["/v1/", "/v12/x"], ["/v/", "/x/v1/", "/v1"]),
        ("~/a", ["/a", "/abc"], ["/b/a"]),
    ],
)
def test_a_pattern_matches_its_paths_and_no_others(pattern, matching, others):
    found = table(pattern)
    for path in matching:
        assert taken(found, path) == pattern
    for path in others:
        with pytest.raises(NoRoute):
            taken(found, path)


@pytest.mark.parametrize(
    ("patterns", "path"),
    [
        (["/a/b", "/a/{x}", "/a/*", "~^/a/b$"], "/a/b"),
        (["/{x}/b", "~^/a/b$"], "/a/b"),
        (["/a/b/*", "/a/*", "/*", "~/"], "/a/b/c"),
        (["/a/b/*", "/a/{x}", "/{x}/b", "/a/*", "/{x}/{y}", "/{x}/*"], "/a/b"),
        (["/api/{version}/items", "/{x}/v1/items", "/api/v1/*"], "/api/v1/items"),
        (["/users/{id}/orders", "/users/{id}/*", "/users/*"], "/users/5/orders"),
        (["/users/{id}", "/users/{id}/*", "/users/*"], "/users/5"),
        (["/api/*", "/{name}/{id}"], "/api/5"),
        (["/*", "~^/"], "/x"),
    ],
)
def test_the_first_by_path_is_taken_wherever_it_stands_in_the_file(patterns, path):
    for start in range(len(patterns)):
        assert taken(table(*patterns[start:], *patterns[:start]), path) == patterns[0]
        assert taken(table(*reversed(patterns)), path) == patterns[0]


def test_a_dead_end_of_literals_leads_to_variables_and_prefixes():
    found = table("/a/b/c/d", "/a/b/{x}/e", "/a/{y}/c/f", "/{z}/b/c/g", "/a/*")
    assert taken(found, "/a/b/c/e") == "/a/b/{x}/e"
    assert taken(found, "/a/b/c/f") == "/a/{y}/c/f"
    assert taken(found, "/a/b/c/g") == "/{z}/b/c/g"
    assert taken(found, "/a/b/c/h") == "/a/*"
    with pytest.raises(NoRoute):
        taken(found, "/b/b/c/h")


def test_equal_patterns_are_taken_in_the_order_of_the_file():
    assert taken(table("/x/{a}", "/x/{b}"), "/x/1") == "/x/{a}"
    assert taken(table("~^/x", "~^/"), "/x/1") == "~^/x"
    assert taken(table("~^/", "~^/x"), "/x/1") == "~^/"


def test_regexes_under_any_anchor_are_found_in_the_order_of_the_file():
    patterns = ["~/b/c", "~/[ab]/c", "~/(a|b)", "~(?i)/B", "~.*d", "~/x?b", "~/b", "~/a/+"]
    for start in range(len(patterns)):
        shifted = patterns[start:] + patterns[:start]
        assert taken(table(*shifted), "/b/c/d") == next(each for each in shifted if each != "~/a/+")


# --- hosts ----------------------------------------------------------------------------------------------------------
def test_hosts_go_exact_then_longest_wildcard_then_none():
    routes = [
        route("/*", id="none"),
        route("/*", id="short", hosts=("*.example.com",)),
        route("/*", id="long", hosts=("*.api.example.com",)),
        route("/*", id="exact", hosts=("v1.api.example.com", "other.org")),
    ]
    found = table(*routes)
    for host, expected in {
        "v1.api.example.com": "exact",
        "V1.Api.Example.Com.": "exact",
        "v1.api.example.com:8443": "exact",
        "other.org": "exact",
        "v2.api.example.com": "long",
        "a.b.api.example.com": "long",
        "api.example.com": "short",
        "example.com": "none",
        "notexample.com": "none",
        "": "none",
        "[::1]:8000": "none",
    }.items():
        assert taken(found, "/x", host=host) == expected, host


def test_an_address_may_be_a_host():
    found = table(route("/*", id="v6", hosts=("[::1]",)), route("/*", id="v4", hosts=("10.0.0.1",)))
    assert taken(found, "/", host="[::1]:80") == "v6"
    assert taken(found, "/", host="10.0.0.1:80") == "v4"


def test_a_host_without_a_matching_path_falls_to_the_less_specific_ones():
    found = table(
        route("/a", id="exact", hosts=("x.example.com",)),
        route("/b", id="wildcard", hosts=("*.example.com",)),
        route("/*", id="none"),
    )
    assert [taken(found, path, host="x.example.com") for path in ("/a", "/b", "/c")] == ["exact", "wildcard", "none"]


def test_the_host_goes_before_the_path():
    found = table(route("/a/b", id="none"), route("/*", id="host", hosts=("x.org",)))
    assert taken(found, "/a/b", host="x.org") == "host"


# --- headers --------------------------------------------------------------------------------------------------------
def test_most_header_conditions_go_first():
    found = table(
        route("/a", id="plain"),
        route("/a", id="present", headers={"X-Beta": "*"}),
        route("/a", id="two", headers={"x-beta": "*", "X-Version": "v2"}),
        route("/a", id="late", headers={"X-Beta": "1"}),
    )
    assert taken(found, "/a") == "plain"
    assert taken(found, "/a", headers=[("x-BETA", "1")]) == "present"
    assert taken(found, "/a", headers=[("X-Beta", ""), ("X-Version", "v2")]) == "two"
    assert taken(found, "/a", headers=[("X-Version", "v2")]) == "plain"
    assert taken(found, "/a", headers=[("X-Version", "V2"), ("X-Beta", "0")]) == "present"


def test_one_of_several_lines_is_enough():
    found = table(route("/a", headers={"X-V": "2"}))
    assert taken(found, "/a", headers=[("X-V", "1"), ("X-V", "2")]) == "/a"
    with pytest.raises(NoRoute):
        taken(found, "/a", headers=[("X-V", "1, 2")])


def test_the_path_goes_before_header_conditions():
    found = table(route("/a/*", id="short", headers={"X-A": "*"}), route("/a/b/*", id="long"))
    assert taken(found, "/a/b/c", headers=[("X-A", "1")]) == "long"


# --- methods --------------------------------------------------------------------------------------------------------
def test_the_next_route_that_takes_the_method_gets_the_request():
    found = table(
        route("/a", id="get", methods=("GET",)),
        route("/*", id="post", methods=("POST",)),
        route("/a", id="delete", methods=("DELETE",), hosts=("x.org",)),
    )
    assert taken(found, "/a", "GET", host="x.org") == "get"
    assert taken(found, "/a", "POST", host="x.org") == "post"
    assert taken(found, "/a", "DELETE", host="x.org") == "delete"


def test_a_method_that_no_matching_route_takes_is_told_all_that_are():
    found = table(
        route("/a", methods=("GET",)),
        route("/{x}", methods=("PUT", "post")),
        route("/a", id="other", methods=("DELETE",), headers={"X-No": "*"}),
        route("/b", methods=("PATCH",)),
    )
    with pytest.raises(MethodNotAllowed) as refused:
        taken(found, "/a", "OPTIONS")
    assert refused.value.headers == [("Allow", "GET, HEAD, POST, PUT")]
    assert refused.value.status == 405


def test_head_is_taken_where_get_is():
    found = table(route("/a", methods=("GET",)), route("/b", methods=("POST",)))
    assert taken(found, "/a", "HEAD") == "/a"
    with pytest.raises(MethodNotAllowed):
        taken(found, "/b", "HEAD")


def test_a_route_without_methods_takes_any():
    assert taken(table("/a"), "/a", "BREW") == "/a"


# --- the table ------------------------------------------------------------------------------------------------------
def test_each_listener_has_its_own_routes():
    routes = (
        route("/a", id="out"),
        route("/a", id="in", listeners=("internal",)),
        route("/b", id="both", listeners=("external", "internal")),
    )
    outside, inside = table(*routes), table(*routes, plane="internal")
    assert (taken(outside, "/a"), taken(inside, "/a")) == ("out", "in")
    assert taken(outside, "/b") == taken(inside, "/b") == "both"
    assert [len(outside.routes), len(inside.routes)] == [2, 2]


def test_an_empty_table_has_no_route_for_anything():
    with pytest.raises(NoRoute, match="/a on host localhost"):
        taken(table(), "/a")


def test_match_sets_route_and_variables_as_the_client_encoded_them():
    found = table("/{name}/users/{id}/*")
    one = exchange("/%61b/%75sers/x%c3%a9/rest/of/it")
    one.path = "/ab/users/x%C3%A9/rest/of/it"
    assert found.match(one) is one.route is found.routes[0]
    assert one.variables == {"name": "%61b", "id": "x%c3%a9"}


def test_many_variables_cost_no_more_than_the_nodes_of_the_trie(monkeypatch):
    """A path that fails only at its end, on patterns that differ in where they have variables."""
    depth = 14
    patterns = []
    for bits in range(2**7):
        segments = [f"{{v{place}}}" if bits >> place % 7 & 1 else "a" for place in range(depth)]
        patterns.append("/" + "/".join(segments) + "/end")
    found = table(*patterns)
    visited = 0

    class Counting(dict):
        def get(self, key, default=None):
            nonlocal visited
            visited += 1
            return super().get(key, default)

    nodes = 0

    def count(node):
        nonlocal nodes
        nodes += 1
        children = [*(node.literals or {}).values(), *([node.variable] if node.variable else [])]
        if node.literals:
            node.literals = Counting(node.literals)
        for child in children:
            count(child)

    count(found._anywhere[0]._root)
    with pytest.raises(NoRoute):
        taken(found, "/a" * depth + "/nowhere")
    assert visited <= nodes <= (depth + 1) * len(patterns) + 1


def test_header_edits_are_prepared_once_and_only_where_there_are_any():
    edits = HeaderEdits(set={"X-A": "1"})
    prepared = table("/a", route("/b", rewrite=Rewrite(request_headers=edits)), compile_edits=lambda one: [one])
    assert [one.request_headers for one in prepared.routes] == [None, [edits]]
    assert [one.response_headers for one in prepared.routes] == [None, None]


def test_header_edits_that_cannot_be_applied_are_named():
    def refuse(edits):
        raise ValueError("no")

    with pytest.raises(RouteError) as refused:
        table(route("/b", rewrite=Rewrite(response_headers=HeaderEdits(remove=("X",)))), compile_edits=refuse)
    assert refused.value.key == "rewrite.response_headers"


@pytest.mark.parametrize(
    ("keys", "key", "says"),
    [
        ({"path": "/a/../b"}, "path", "dot segment"),
        ({"path": "~("}, "path", "regular expression"),
        ({"path": "/a%2fb"}, "path", "allow_encoded"),
        ({"service": "{name}"}, "service", "no variable"),
        ({"service": None}, "service", "exactly one"),
        ({"split": (Split(service="a", weight=0),)}, "split", "every weight is 0"),
        ({"strip_prefix": "/b"}, "strip_prefix", "begins with"),
        ({"rewrite": Rewrite(path="/{x}")}, "rewrite.path", "no variable"),
        ({"strip_prefix": "/a", "rewrite": Rewrite(path="/")}, "strip_prefix", "one of the two"),
    ],
)
def test_a_route_that_cannot_be_built_is_named_with_the_key_at_fault(keys, key, says):
    with pytest.raises(RouteError) as refused:
        table(route(**{"path": "/a/*", "id": "r1", **keys}))
    assert (refused.value.route, refused.value.key) == ("r1", key)
    assert says in str(refused.value)


# --- rows -----------------------------------------------------------------------------------------------------------
def test_rows_are_in_the_order_of_matching():
    routes = [
        route("~^/x", id="regex"),
        route("/*", id="all"),
        route("/{a}/*", id="variable"),
        route("/x", id="plain", listeners=("internal",)),
        route("/x", id="conditional", headers={"X-A": "*"}),
        route("/x/*", id="wild", hosts=("*.org", "*.x.org", "a.org", "B.org.")),
    ]
    assert [(row["id"], row["hosts"]) for row in rows(routes)] == [
        ("wild", ["a.org", "b.org"]),
        ("wild", ["*.x.org"]),
        ("wild", ["*.org"]),
        ("conditional", []),
        ("plain", []),
        ("variable", []),
        ("all", []),
        ("regex", []),
    ]


def test_a_row_tells_what_the_route_does():
    [row] = rows(
        [
            route(
                "/a/{id}", id="r", methods=("GET",), headers={"X-A": "1"}, strip_prefix="/a", allow_encoded=("%2F",),
                split=(Split(service="a", weight=9), Split(service="b")),
            )
        ]
    )  # fmt: skip
    assert row == {
        "id": "r", "listeners": ["external"], "hosts": [], "path": "/a/{id}", "match": "template", "methods": ["GET"],
        "headers": {"X-A": "1"}, "service": None, "balancer": None, "fixed_response": None,
        "strip_prefix": "/a", "rewrite": None,
        "split": [{"service": "a", "weight": 9}, {"service": "b", "weight": 1}], "allow_encoded": ["%2F"], "tags": [],
    }  # fmt: skip
