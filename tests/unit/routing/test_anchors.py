import re

import pytest

from gateway.routing.anchors import ways


def told(regex):
    return [set(way) for way in ways(re.compile(regex))]


@pytest.mark.parametrize(
    ("regex", "prefixes"),
    [
        (r"^/v[0-9]+/", {"/v"}),
        (r"^/a|/b", {"/a", "/b"}),
        (r"/ab?c", {"/a"}),
        (r"/(?:a|ab|ba)", {"/a", "/ba"}),
        (r"/(?:ab)+c", {"/ab"}),
        (r"(?x) /a b", {"/ab"}),
        (r"/a(?:/b)?/c", {"/a"}),
        (r"/[abcdef][abcdef][abcdef]", {"/a", "/b", "/c", "/d", "/e", "/f"}),
    ],
)
def test_what_matches_begin_with(regex, prefixes):
    assert told(regex) == [{(0, prefix) for prefix in prefixes}]


@pytest.mark.parametrize(
    ("regex", "segments"),
    [
        (r"/v[12]/x", [{(1, "v1"), (1, "v2")}]),
        (r"^/(users|teams)/[0-9]+$", [{(1, "users"), (1, "teams")}]),
        (r"/x\.json\Z", [{(1, "x.json")}]),
        (r"^/[a-z]{2}/products/", [{(2, "products")}]),
        (r"^/api/v[0-9]+/svc17/x$", [{(1, "api")}, {(3, "svc17")}, {(4, "x")}]),
        (r"^/[^/]+/admin$", [{(2, "admin")}]),
        (r"/(?i:ab)/cd/", [{(2, "cd")}]),
        (r"(?:/a/b)+/c", [{(1, "a")}]),
        (r"/(?:a|b/c)/admin/", [{(1, "a"), (1, "b")}, {(2, "admin"), (2, "c")}]),
    ],
)
def test_which_segments_matches_have(regex, segments):
    assert told(regex)[:-1] == segments


@pytest.mark.parametrize("regex", ["", r".*\.php$", r"(?i)/a/", r"(?:/a)?/b", r"(?=/a)/a"])
def test_nothing_is_told_where_nothing_is_certain(regex):
    assert told(regex) == [{(0, "")}]


@pytest.mark.parametrize(
    "regex",
    [
        r"/.+/admin/", r"/[\W\d]/admin/", r"/[^a]/admin/", r"/[!-0]/admin/", r"/([/a])\1/admin/",
        r"/a(?:/b)?/admin/", r"/[^\W]/admin/", r"/[^a-z]/admin/",
    ],
)  # fmt: skip
def test_no_segment_is_told_behind_what_may_hold_a_slash(regex):
    assert all(text != "admin" for way in told(regex) for _, text in way)
