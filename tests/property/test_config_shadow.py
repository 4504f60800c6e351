"""Routes that the loader calls unreachable, against the router: no request finds them; and they are all it can tell."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.load import load
from gateway.config.model import FixedResponse, Route
from gateway.config.problems import ConfigErrors
from gateway.errors import MethodNotAllowed, NoRoute
from gateway.routing.table import Table

PATHS = ["/a", "/{x}", "/{y}", "/a/*", "/{x}/*", "/*", "~^/a", "~", "~.*", "/a/b"]
HOSTS = ["x.org", "*.x.org", "y.x.org"]
METHODS = ["GET", "POST", "HEAD"]


@st.composite
def routes(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "path": draw(st.sampled_from(PATHS)),
        "hosts": draw(st.lists(st.sampled_from(HOSTS), max_size=2, unique=True)),
        "methods": draw(st.lists(st.sampled_from(METHODS), max_size=2, unique=True)),
        "headers": {name: draw(st.sampled_from(["1", "*"])) for name in draw(st.sets(st.sampled_from(["X-A", "X-B"])))},
        "fixed_response": {},
    }


def shadowed(written: list[dict[str, Any]]) -> set[int]:
    """Places of the routes that the loader refuses as unreachable."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.yaml"
        listed = [{"id": f"r{place}", **route} for place, route in enumerate(written)]
        path.write_text(json.dumps({"version": 1, "services": {}, "routes": listed}))
        try:
            load(path)
        except ConfigErrors as errors:
            assert all("no request can match" in problem.why for problem in errors)
            return {int(problem.path.removeprefix("routes[").removesuffix("]")) for problem in errors}
    return set()


REQUESTS = [
    (path, method, host, headers)
    for path in ("/a", "/a/b", "/a/c", "/b", "/b/c", "/")
    for method in ("GET", "POST", "HEAD", "PUT")
    for host in ("x.org", "y.x.org", "z.x.org", "other")
    for headers in ([], [("X-A", "1")], [("X-A", "2")], [("X-B", "1"), ("X-A", "1")], [("X-B", "2")], [("X-B", "1")])
]


@settings(deadline=None, max_examples=150)
@given(st.lists(routes(), min_size=2, max_size=6))
def test_no_request_finds_a_route_that_is_called_unreachable(written: list[dict[str, Any]]):
    unreachable = shadowed(written)
    table = Table(
        [
            Route(
                id=f"r{place}",
                path=route["path"],
                hosts=tuple(route["hosts"]),
                methods=tuple(route["methods"]),
                headers=route["headers"],
                fixed_response=FixedResponse(),
            )
            for place, route in enumerate(written)
        ],
        "external",
    )
    for path, method, host, headers in REQUESTS:
        try:
            found = table.find(path, method, host, headers)
        except (NoRoute, MethodNotAllowed):
            continue
        assert int(found.id[1:]) not in unreachable


@settings(deadline=None, max_examples=100)
@given(routes(), routes())
def test_of_two_like_routes_the_second_is_called_unreachable(first: dict[str, Any], between: dict[str, Any]):
    assert 2 in shadowed([first, between, first]) | ({2} if 0 in shadowed([first, between]) else set())
