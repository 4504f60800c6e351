"""The path that is matched is the canonical one; what the backend is asked for are the client's own bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.servers import Gateway, Promise, Server


@pytest.fixture(scope="module")
def backend() -> Iterator[FakeBackend]:
    with FakeBackend(behaviours.echo) as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(server: Server, backend: FakeBackend) -> Iterator[Gateway]:
    every = ["%2F", "%5C", "//", ";"]
    routes = [
        {"id": "admin", "path": "/admin/*"},
        {"id": "café", "path": "/café"},
        {"id": "open", "path": "/open/*", "allow_encoded": every},
        {"id": "project", "path": "/projects/{id}", "allow_encoded": ["%2F"]},
        {"id": "detour", "path": "/*", "hosts": ["detour.test"], "allow_encoded": every},
        {"id": "detour admin", "path": "/admin/*", "hosts": ["detour.test"]},
        {"id": "rest", "path": "/rest/*"},
    ]
    config = {
        "services": {"s": {"instances": [{"id": "a", "url": backend.url}]}},
        "routes": [{**route, "service": "s"} for route in routes],
    }
    with server.serve(config) as started:
        yield started


@pytest.mark.parametrize(
    "target, route",
    [
        ("/%61dmin", "admin"),
        ("/%61dmin/%7e%41?%61=%7e", "admin"),
        ("/admin/a%20b%c3%a9", "admin"),
        ("/caf%c3%a9", "café"),
        ("/caf%C3%A9", "café"),
        ("/rest/a..b/.well-known/...", "rest"),
        ("/rest/!$&'()*+,=:@", "rest"),
        ("/rest/?a=/../b;c//d%2F%00&e=%zz", "rest"),
        ("/rest?", "rest"),
    ],
)
def test_a_path_is_matched_decoded_and_forwarded_as_sent(gateway: Gateway, target: str, route: str):
    answer = gateway.get(target)
    assert answer.json()["target"] == target
    assert gateway.access_line(answer.header("X-Request-ID"))["route"] == route


@pytest.mark.parametrize(
    "path",
    [
        "/rest/../admin", "/rest/./x", "/rest/..", "/rest/.", "/%2e%2e/admin", "/rest/.%2E/x", "/rest/%2E",
        "/rest/a%2F..", "/rest/..;/b", "/rest/%00", "/rest/a%00b", "/rest/%zz", "/rest/%4", "/rest/%",
    ],
)  # fmt: skip
def test_a_path_that_can_be_read_in_two_ways_is_refused(gateway: Gateway, backend: FakeBackend, path: str):
    before = len(backend.requests)
    answer = gateway.get(path)
    assert (answer.status, answer.json()["reason"]) == (400, "bad_path")
    # Not even a route that allows every encoded form takes dot segments and NUL.
    allowed = gateway.get(path.replace("/rest", "/open"))
    assert allowed.json()["reason"] == "bad_path"
    assert len(backend.requests) == before


@pytest.mark.parametrize(
    "path, form",
    [
        ("/rest/a%2Fb", "%2F"),
        ("/rest/a%2fb", "%2F"),
        ("/rest/a%5Cb", "%5C"),
        ("/rest//b", "//"),
        ("/rest/a;v=1", ";"),
    ],
)
def test_an_ambiguous_form_is_refused_unless_the_route_allows_it(gateway: Gateway, path: str, form: str):
    answer = gateway.get(path)
    assert (answer.status, answer.json()["reason"]) == (400, "bad_path")
    assert form in answer.json()["detail"]
    allowed = path.replace("/rest", "/open")
    assert gateway.get(allowed).json()["target"] == allowed


def test_an_allowed_slash_is_a_part_of_its_segment(gateway: Gateway):
    assert gateway.get("/projects/a%2fb").json()["target"] == "/projects/a%2fb"
    assert gateway.get("/projects/a;b").json()["reason"] == "bad_path"


@pytest.mark.parametrize("path", ["/admin%2Fx", "//admin/x", "/admin;v/x", "/x%2F%2Fadmin", "/%5Cadmin%5Cx"])
def test_an_allowed_form_is_no_way_round_another_route(gateway: Gateway, path: str):
    headers = {"Host": "detour.test"}
    assert gateway.get("/other%2Fx", headers=headers).status == 200
    answer = gateway.get(path, headers=headers)
    if path == "/x%2F%2Fadmin":  # however it is read, /admin/* does not take it
        assert answer.json()["target"] == path
    else:
        assert (answer.status, answer.json()["reason"]) == (400, "bad_path")


@pytest.mark.needs(Promise.SOCKET)
@pytest.mark.parametrize("target", ["http://other.test/%61dmin/x?y", "HTTP://other.test:80/%61dmin/x?y"])
def test_the_host_of_an_absolute_url_takes_the_place_of_host(gateway: Gateway, target: str):
    with gateway.connect() as wire:
        echoed = wire.get(target).json()
        assert echoed["target"] == "/%61dmin/x?y"
        assert [value for name, value in echoed["headers"] if name == "Host"] == [target.split("/")[2]]


@pytest.mark.needs(Promise.SOCKET)
def test_no_route_answers_for_the_gateway_itself(gateway: Gateway):
    with gateway.connect() as wire:
        answer = wire.get("*", method="OPTIONS")
        assert (answer.status, answer.json()["reason"]) == (404, "no_route")


@pytest.mark.needs(Promise.OWN_REFUSALS)
@pytest.mark.parametrize("path", [b"/rest/a b", b"/rest/\xc3\xa9", b"/rest/#x", b"/rest/\x7f", b"rest"])
def test_bytes_that_a_path_cannot_hold_are_refused(gateway: Gateway, path: bytes):
    with gateway.connect() as wire:
        wire.send(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = wire.answer()
        assert (answer.status, answer.json()["reason"]) == (400, "malformed_request")
