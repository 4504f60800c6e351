"""Who may call: no browser, no foreign host, nobody without the token."""

import pytest

from tests.unit.admin.support import Site, refused

OPEN = ["/healthz", "/readyz"]
CALLS = [("GET", "/services"), ("GET", "/api/v1/config"), ("GET", "/metrics"), ("GET", "/openapi.json")]


@pytest.mark.parametrize("path", [*OPEN, "/services", "/register"])
@pytest.mark.parametrize("origin", ["http://127.0.0.1:8001", "https://evil.example", "null", ""])
def test_a_request_with_an_origin_is_refused(path, origin):
    headers = [("Host", "127.0.0.1:8001"), ("Origin", origin)]
    assert refused(Site().send("GET", path, headers=headers)) == (403, "origin_refused")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8001",
        "10.0.0.5:8001",
        "[::1]",
        "[::1]:8001",
        "localhost",
        "LOCALHOST:8001",
        "localhost.:8001",
    ],
)
def test_addresses_and_localhost_are_hosts_of_ours(host):
    assert Site().send("GET", "/healthz", headers=[("Host", host)]).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8001",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "[evil]:1",
        "127.1",
        "0x7f.1",
        "",
    ],
)
def test_any_other_host_is_refused(host):
    assert refused(Site().send("GET", "/healthz", headers=[("Host", host)])) == (403, "host_refused")


def test_x_forwarded_host_makes_no_host_ours():
    headers = [("Host", "evil.example"), ("X-Forwarded-Host", "127.0.0.1")]
    assert refused(Site().send("GET", "/services", headers=headers)) == (403, "host_refused")


def test_configured_and_bound_names_are_hosts_of_ours():
    site = Site(hosts=("gateway", "*.cluster.local"), binds=("ops.example:8001",))
    for host in ("gateway:8001", "Gateway", "gw.cluster.local:8001", "ops.example:8001"):
        assert site.send("GET", "/healthz", headers=[("Host", host)]).status == 200
    for host in ("cluster.local", "evilcluster.local", "gateway.evil"):
        assert site.send("GET", "/healthz", headers=[("Host", host)]).status == 403


def test_http_1_0_without_a_host_is_let_in():
    assert Site().send("GET", "/healthz", headers=[("Accept", "*/*")]).status == 200


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_with_a_token_every_call_needs_it(method, path):
    site = Site(token="s3cret")
    answer = site.send(method, path)
    assert refused(answer) == (401, "admin_token_required")
    assert ("WWW-Authenticate", 'Bearer realm="gateway admin"') in answer.headers
    for given in ("Bearer s3cret", "bearer  s3cret "):
        assert site.send(method, path, headers=[("Authorization", given)]).status == 200
    twice = "Bearer s3cret,Bearer s3cret"
    for given in ("Bearer wrong", "Bearer", "Bearer ", "Basic s3cret", "s3cret", twice, "Bearer \xff"):
        assert refused(site.send(method, path, headers=[("Authorization", given)]))[0] == 401


@pytest.mark.parametrize("path", OPEN)
def test_health_checks_need_no_token(path):
    assert Site(token="s3cret", register_token="r3g").send("GET", path).status == 200


@pytest.mark.parametrize(
    ("tokens", "accepted", "refused_ones"),
    [
        ({}, ["", "anything"], []),
        ({"register_token": "r3g"}, ["r3g"], ["", "wrong"]),
        ({"register_token": "r3g", "token": "s3cret"}, ["r3g", "s3cret"], ["", "wrong"]),
        ({"token": "s3cret"}, ["s3cret"], ["", "wrong"]),
    ],
)
def test_register_takes_its_own_token_or_the_admin_one(tokens, accepted, refused_ones):
    site = Site(**tokens)
    document = {"service": "s", "id": "i", "addr": "http://127.0.0.1:1"}
    for token in accepted:
        assert site.send("POST", "/register", document, headers=[("Authorization", f"Bearer {token}")]).status == 204
    for token in refused_ones:
        assert site.send("POST", "/register", document, headers=[("Authorization", f"Bearer {token}")]).status == 401


def test_the_register_token_opens_nothing_else():
    site = Site(register_token="r3g", token="s3cret")
    assert site.send("GET", "/services", headers=[("Authorization", "Bearer r3g")]).status == 401


def test_a_token_may_hold_any_character():
    site = Site(token="pässword")
    sent = "Bearer " + "pässword".encode().decode("latin-1")
    assert site.send("GET", "/services", headers=[("Authorization", sent)]).status == 200


def test_without_a_token_nothing_is_read_before_it_is_refused():
    site = Site(token="s3cret")
    assert refused(site.send("POST", "/register", body=b"{not json")) == (401, "admin_token_required")
