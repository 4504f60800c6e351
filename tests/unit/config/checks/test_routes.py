from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.support import config_of, everything_built, problem_of, problems_of

__all__ = ["everything_built"]


def text(*routes: str) -> str:
    lines = "".join(f"  - {{{route}}}\n" for route in routes)
    return f"version: 1\nservices: {{echo: {{}}, other: {{}}}}\nroutes:\n{lines}"


def test_ids_differ(tmp_path: Path):
    problem = problem_of(tmp_path, text("id: a, path: /a, service: echo", "id: a, path: /b, service: echo"))
    assert (problem.line, problem.path) == (5, "routes[1].id")
    assert problem.why == f"another route has this id, in {tmp_path / 'gateway.yaml'}:4"


@pytest.mark.parametrize(
    ("route", "path", "why"),
    [
        ("id: a, path: /a", "routes[0]", "leads nowhere"),
        ("id: a, path: /a, service: null, split: []", "routes[0]", "leads nowhere"),
        ("id: a, path: /a, service: echo, split: [{service: other}]", "routes[0].split", "has service already"),
        ("id: a, path: /a, service: echo, fixed_response: {}", "routes[0].fixed_response", "has service already"),
        (
            "id: a, path: /a, split: [{service: echo}], fixed_response: {}",
            "routes[0].fixed_response",
            "has split already",
        ),
        ("id: a, path: /a, split: [{service: echo, weight: 0}]", "routes[0].split", "every weight is 0"),
        ("id: a, path: /a, service: eco", "routes[0].service", "there is no such service"),
        ("id: a, path: /a, split: [{service: echo}, {service: no}]", "routes[0].split[1].service", "no such service"),
        ("id: a, path: /a, service: echo, mirror: {service: no}", "routes[0].mirror.service", "no such service"),
        ("id: a, path: /a, service: echo, rate_limit: no", "routes[0].rate_limit", "no such rate limit"),
        ("id: a, path: /a, service: echo, rate_limit: [no]", "routes[0].rate_limit[0]", "no such rate limit"),
        ("id: a, path: /a, service: echo, cors: no", "routes[0].cors", "no such cors rule"),
        ('id: a, path: /a, service: "{name}"', "routes[0].service", "no such variable"),
        ('id: a, path: "/{id}", service: "{name}"', "routes[0].service", "no such variable"),
        ('id: a, path: "/{id}", service: "x-{id}"', "routes[0].service", "the whole name"),
        ('id: a, path: "~/(?P<name>a)", service: "{name}"', "routes[0].service", "no such variable"),
        ('id: a, path: "/{id}", service: echo, rewrite: {path: "/{no}"}', "routes[0].rewrite.path", "no such variable"),
        (
            'id: a, path: "/{id}", service: echo, rewrite: {path: /v2/*}',
            "routes[0].rewrite.path",
            "has a rest to put in",
        ),
        (
            "id: a, path: /a/*, service: echo, strip_prefix: /a, rewrite: {path: /b}",
            "routes[0].strip_prefix",
            "rewrite.path replaces the whole path",
        ),
        (
            "id: a, path: /a, fixed_response: {status: 204, body: gone}",
            "routes[0].fixed_response.body",
            "an answer with status 204 has no body",
        ),
        ("id: a, path: /a/*, service: echo, strip_prefix: /b", "routes[0].strip_prefix", "not what the path begins"),
        ("id: a, path: /a/*, service: echo, strip_prefix: /a/b", "routes[0].strip_prefix", "not what the path begins"),
        ('id: a, path: "/{x}/*", service: echo, strip_prefix: "/{y}"', "routes[0].strip_prefix", "not what the path"),
        ('id: a, path: "~^/a", service: echo, strip_prefix: "/{y}"', "routes[0].strip_prefix", "has no variables"),
        ("id: a, path: /a//b, service: echo", "routes[0].path", "unless allow_encoded"),
        ("id: a, path: /a%2fb, service: echo, allow_encoded: [//]", "routes[0].path", "%2F are refused unless"),
        (
            "id: a, path: /a, service: echo, rewrite: {request_headers: {set: {Content-length: x}}}",
            "routes[0].rewrite.request_headers.set.Content-length",
            "own to set",
        ),
        (
            "id: a, path: /a, service: echo, rewrite: {response_headers: {remove: [connection]}}",
            "routes[0].rewrite.response_headers.remove[0]",
            "own to set",
        ),
        ("id: a, path: /a, fixed_response: {status: 100}", "routes[0].fixed_response.status", "out of range"),
        ("id: a, path: /a, fixed_response: {body: 5}", "routes[0].fixed_response.body", "wrong type"),
        ("id: a, path: /a, service: echo, timeouts: {conect: 1s}", "routes[0].timeouts.conect", "unknown key"),
        ("id: a, path: /a, service: echo, timeouts: {connect: 0s}", "routes[0].timeouts.connect", "zero"),
        ("id: a, path: /a, service: echo, allow_encoded: ['%2f']", "routes[0].allow_encoded[0]", "unknown value"),
        ("id: '', path: /a, service: echo", "routes[0].id", "empty"),
    ],
)
def test_one_mistake_is_one_problem(tmp_path: Path, everything_built: None, route: str, path: str, why: str):
    problem = problem_of(tmp_path, text(route))
    assert (problem.line, problem.path) == (4, path)
    assert why in problem.why


@pytest.mark.parametrize(
    "route",
    [
        'id: a, path: "/{name}/*", service: "{name}", strip_prefix: "/{name}"',
        'id: a, path: "/{name}/*", service: "{name}", rewrite: {path: "/v2/{name}/*"}',
        "id: a, path: /a/b/*, service: echo, strip_prefix: /a/",
        "id: a, path: /a/*, service: echo, strip_prefix: /",
        "id: a, path: /%61/*, service: echo, strip_prefix: /a",
        'id: a, path: "~^/v[0-9]+/", service: echo, strip_prefix: /v1',
        "id: a, path: /a//b, service: echo, allow_encoded: [//]",
        "id: a, path: /a, split: [{service: echo, weight: 90}, {service: other, weight: 0}]",
        "id: a, path: /a, fixed_response: {status: 503, body: maintenance}",
        "id: a, path: /a, service: echo, methods: [GET, PURGE], hosts: [a.b, '*.a.b'], headers: {X-Beta: '*'}",
    ],
)
def test_good_routes(tmp_path: Path, route: str):
    config_of(tmp_path, text(route))


def test_near_names_are_proposed(tmp_path: Path):
    assert problem_of(tmp_path, text("id: a, path: /a, service: ehco")).likely == "echo"
    assert problem_of(tmp_path, text("id: a, path: /a, service: zzz")).allowed == "echo, other"


def test_a_wrong_value_is_not_told_again_as_something_else(tmp_path: Path):
    problems = problems_of(
        tmp_path,
        text(
            "id: a, path: x, service: '{name}'", "id: a2, path: /a, servce: echo", "id: a3, path: /b, service: [echo]"
        ),
    )
    assert [problem.path for problem in problems] == ["routes[0].path", "routes[1].servce", "routes[2].service"]


def test_a_service_that_is_wrong_itself_is_still_there(tmp_path: Path):
    problem = problem_of(tmp_path, "version: 1\nservices: {echo: 5}\nroutes: [{id: a, path: /a, service: echo}]")
    assert problem.path == "services.echo"
