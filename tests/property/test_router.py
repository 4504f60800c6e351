"""The router against a naive matcher that follows the contract's words: filter all routes, sort, take the first."""

import re
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.model import Route
from gateway.errors import MethodNotAllowed, NoRoute
from gateway.routing.table import Table, rows

SEGMENTS = ["a", "b", "ab"]
HOSTS = ["x.org", "y.x.org", "z.y.x.org", "*.x.org", "*.y.x.org", "*.org"]
REGEXES = [
    "~^/a", "~/a$", "~/[ab]+/b", "~/(a|ab)/", "~^/[^/]+/ab$", "~.*b$", "~(?i)/A", "~/a?b", "~/(?:a/)?b/", "~^/b?/",
]  # fmt: skip
METHODS = ["GET", "POST", "HEAD"]
HEADERS = {"X-A": ["1", "*"], "X-B": ["2"]}


@st.composite
def patterns(draw):
    if draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(REGEXES))
    chosen = draw(st.lists(st.sampled_from([*SEGMENTS, None]), max_size=4))
    path = "".join(f"/{{v{place}}}" if segment is None else f"/{segment}" for place, segment in enumerate(chosen))
    return path + draw(st.sampled_from(["/*", "/", ""] if path else ["/*", "/"]))


@st.composite
def routes(draw):
    headers = {name: draw(st.sampled_from(HEADERS[name])) for name in draw(st.sets(st.sampled_from(list(HEADERS))))}
    return {
        "path": draw(patterns()),
        "hosts": tuple(draw(st.lists(st.sampled_from(HOSTS), max_size=2, unique=True))),
        "methods": tuple(draw(st.lists(st.sampled_from(METHODS), max_size=2, unique=True))),
        "headers": headers,
    }


@st.composite
def requests(draw):
    path = "".join(f"/{segment}" for segment in draw(st.lists(st.sampled_from(SEGMENTS), max_size=5)))
    return {
        "path": path + draw(st.sampled_from(["/", ""] if path else ["/"])),
        "host": draw(st.sampled_from(["x.org", "y.x.org", "z.y.x.org:80", "w.z.y.x.org", "other"])),
        "method": draw(st.sampled_from([*METHODS, "PUT"])),
        "headers": draw(st.lists(st.tuples(st.sampled_from(["x-a", "X-B"]), st.sampled_from(["1", "2"])), max_size=2)),
    }


# --- the reference --------------------------------------------------------------------------------------------------
def path_rank(pattern, path):
    """How the pattern ranks for the path, less is first; None: it does not match."""
    if pattern.startswith("~"):
        return (2,) if re.match(pattern[1:], path) else None
    prefix = pattern.endswith("/*")
    wanted = pattern.removesuffix("/*").split("/")[1:]
    given = path.split("/")[1:]
    if len(given) < len(wanted) or (len(given) > len(wanted) and not prefix):
        return None
    variables = [segment.startswith("{") for segment in wanted]
    for want, have, variable in zip(wanted, given, variables, strict=False):
        if (not have) if variable else want != have:
            return None
    if not prefix and not any(variables):
        return (0,)
    literals = sum(bool(want) and not variable for want, variable in zip(wanted, variables, strict=True))
    return (1, -literals, -len(wanted), variables, prefix)


def host_rank(hosts, host):
    host = host.partition(":")[0]
    if not hosts:
        return (2, 0)
    ranks = [(0, 0) for pattern in hosts if pattern == host]
    ranks += [(1, -len(each)) for each in hosts if each.startswith("*.") and host.endswith(each[1:])]
    return min(ranks, default=None)


def expected(table, request):
    """The number of the route, or the set of methods that are allowed, or None."""
    matching = []
    for number, route in enumerate(table):
        by_host, by_path = host_rank(route["hosts"], request["host"]), path_rank(route["path"], request["path"])
        given = [(name.lower(), value) for name, value in request["headers"]]
        held = all(
            any(name.lower() == found and value in ("*", text) for found, text in given)
            for name, value in route["headers"].items()
        )
        if by_host is not None and by_path is not None and held:
            matching.append((by_host, by_path, -len(route["headers"]), number))
    allowed = set()
    for *_, number in sorted(matching):
        methods = set(table[number]["methods"]) | ({"HEAD"} if "GET" in table[number]["methods"] else set())
        if not methods or request["method"] in methods:
            return number
        allowed |= methods
    return allowed or None


def asked(table, request):
    try:
        return int(table.find(request["path"], request["method"], request["host"], request["headers"]).id)
    except MethodNotAllowed as refused:
        return set(dict(refused.headers)["Allow"].split(", "))
    except NoRoute:
        return None


def built(table):
    return [Route(id=str(number), service="s", **route) for number, route in enumerate(table)]


# --- the properties -------------------------------------------------------------------------------------------------
@settings(deadline=None, max_examples=300)
@given(st.lists(routes(), max_size=12), st.lists(requests(), min_size=1, max_size=8))
def test_the_table_takes_what_the_definition_takes(table, some):
    made = Table(built(table), "external")
    for request in some:
        assert asked(made, request) == expected(table, request), request


@settings(deadline=None, max_examples=60)
@given(st.lists(patterns(), min_size=1, max_size=12))
def test_every_path_of_up_to_three_segments_is_taken_as_defined(some):
    table = [{"path": pattern, "hosts": (), "methods": (), "headers": {}} for pattern in some]
    made = Table(built(table), "external")
    for size in range(4):
        for segments in product(["a", "b", "ab", ""], repeat=size):
            request = {"path": "/" + "/".join(segments), "method": "GET", "host": "x", "headers": []}
            assert asked(made, request) == expected(table, request), request["path"]


@settings(deadline=None, max_examples=100)
@given(st.lists(routes(), max_size=12), requests())
def test_rows_list_the_taken_route_before_the_others_that_match(table, request):
    made = Table(built(table), "external")
    taken = asked(made, request)
    if not isinstance(taken, int):
        return
    for row in rows([route.source for route in made.routes]):
        number = int(row["id"])
        one = {**table[number], "hosts": tuple(row["hosts"])}
        if expected([one], request) == 0:
            assert number == taken
            return
    raise AssertionError("the taken route is in no row")
