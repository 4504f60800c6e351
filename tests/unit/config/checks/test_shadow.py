from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.support import config_of, problem_of

FIRST = "path: /a/*"


def text(first: str, second: str) -> str:
    return (
        "version: 1\nservices: {echo: {}}\nroutes:\n"
        f"  - {{id: first, service: echo, {first}}}\n  - {{id: second, service: echo, {second}}}\n"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (FIRST, FIRST),
        (FIRST, "path: /%61/*"),
        ("path: '/{x}/*'", "path: '/{y}/*'"),
        ("path: '~^/a'", "path: '~^/a'"),
        (FIRST, FIRST + ", methods: [GET]"),
        (FIRST + ", methods: [GET, POST]", FIRST + ", methods: [POST]"),
        (FIRST + ", methods: [GET]", FIRST + ", methods: [HEAD]"),
        (FIRST + ", listeners: [external, internal]", FIRST),
        (FIRST + ", hosts: [a.b, c.d]", FIRST + ", hosts: [C.D]"),
        (FIRST + ", hosts: ['*.b']", FIRST + ", hosts: ['*.b']"),
        (FIRST + ", headers: {X-A: b}", FIRST + ", headers: {x-a: b}"),
        (FIRST + ", headers: {X-A: '*'}", FIRST + ", headers: {X-A: b}"),
        (FIRST + ", headers: {X-A: '*', X-B: c}", FIRST + ", headers: {X-A: b, X-B: c}, methods: [GET]"),
        ("path: /*", "path: '~^/a'"),
        ("path: /*", "path: '~^/a', headers: {X-A: b}, methods: [GET]"),
        ("path: '~'", "path: '~^/a'"),
        ("path: '~.*'", "path: '~^/a', methods: [GET]"),
    ],
)
def test_a_route_that_nothing_is_left_for(tmp_path: Path, first: str, second: str):
    problem = problem_of(tmp_path, text(first, second))
    assert (problem.line, problem.path) == (5, "routes[1]")
    assert problem.why == f'no request can match: route "first" in {tmp_path / "gateway.yaml"}:4 takes all of them'


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (FIRST, "path: /a"),
        (FIRST, "path: /a/b/*"),
        (FIRST, "path: '/{x}/*'"),
        ("path: '/{x}'", "path: '/{x}/*'"),
        ("path: '~^/a'", "path: '~^/b'"),
        (FIRST + ", methods: [GET]", FIRST),
        (FIRST + ", methods: [GET]", FIRST + ", methods: [GET, POST]"),
        (FIRST + ", methods: [HEAD]", FIRST + ", methods: [GET]"),
        (FIRST, FIRST + ", listeners: [external, internal]"),
        (FIRST, FIRST + ", listeners: [internal]"),
        (FIRST, FIRST + ", hosts: [a.b]"),
        (FIRST + ", hosts: [a.b]", FIRST),
        (FIRST + ", hosts: [a.b]", FIRST + ", hosts: [a.b, c.d]"),
        (FIRST + ", hosts: ['*.b']", FIRST + ", hosts: [a.b]"),
        (FIRST, FIRST + ", headers: {X-A: b}"),
        (FIRST + ", headers: {X-A: b}", FIRST),
        (FIRST + ", headers: {X-A: b}", FIRST + ", headers: {X-A: '*'}"),
        (FIRST + ", headers: {X-A: b}", FIRST + ", headers: {X-A: c}"),
        (FIRST + ", headers: {X-A: '*'}", FIRST + ", headers: {X-A: b, X-B: c}"),
        ("path: /*", "path: /a"),
        ("path: /*, methods: [GET]", "path: '~^/a'"),
        ("path: /*, headers: {X-A: b}", "path: '~^/a'"),
        ("path: /*, hosts: [a.b]", "path: '~^/a'"),
        ("path: '~^/a'", "path: '~'"),
        ("path: '~'", "path: '~^/a', headers: {X-A: b}"),
    ],
)
def test_a_route_that_something_is_left_for(tmp_path: Path, first: str, second: str):
    config_of(tmp_path, text(first, second))


def test_a_regular_expression_before_a_prefix_that_takes_everything(tmp_path: Path):
    problem = problem_of(tmp_path, text("path: '~^/a'", "path: /*"))
    assert (problem.line, problem.path) == (4, "routes[0]")


def test_several_routes_together_leave_nothing(tmp_path: Path):
    routes = "".join(
        f"  - {{id: {method}, path: /a, service: echo, methods: [{method}]}}\n" for method in ("GET", "POST")
    )
    head = f"version: 1\nservices: {{echo: {{}}}}\nroutes:\n{routes}"
    last = "  - {id: last, path: /a, service: echo, methods: [%s]}\n"
    assert problem_of(tmp_path, head + last % "GET, POST").path == "routes[2]"
    config_of(tmp_path, head + last % "GET, PUT")
