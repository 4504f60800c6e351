"""The head of the request that an instance gets."""

from __future__ import annotations

import pytest

from gateway.config.model import HeaderEdits
from gateway.errors import LoopDetected, Malformed
from gateway.forward.headers import Composer, compile_edits, edit, names_us
from tests.support.forwarding import PSEUDONYM, make_exchange

OWN = [
    "X-Forwarded-For: 192.0.2.7",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Host: api.example.com",
    "X-Request-ID: r1",
    "X-Gateway-Deadline-Ms: 9000",
    f"Via: 1.1 {PSEUDONYM}",
]


def composed(headers=(), **arguments):
    """The lines of the head that is made of a client's header fields."""
    exchange = make_exchange(headers=[("Host", "api.example.com"), *headers], **arguments)
    exchange.request_id = "r1"
    text = Composer(PSEUDONYM).compose(exchange, "10.0.0.1:81", 9000).decode("latin-1")
    assert text.endswith("\r\n\r\n")
    return text.split("\r\n")[:-2]


def test_request_line_and_fields_pass_as_they_came():
    headers = [
        ("accept", "a"),
        ("X-Twice", "1"),
        ("x-TWICE", "2"),
        ("X-Twice", ""),
        ("Cookie", "a=b"),
        ("Cookie", "c=d"),
    ]
    lines = composed(headers, method="PURGE", target="/a%2Fb?x=%20&x=1")
    assert lines[0] == "PURGE /a%2Fb?x=%20&x=1 HTTP/1.1"
    assert lines[1:] == ["Host: api.example.com", *(f"{name}: {value}" for name, value in headers), *OWN]


def test_bytes_beyond_ascii_pass():
    exchange = make_exchange(headers=[("Host", "h"), ("X-Name", "Jos\xe9")])
    assert b"X-Name: Jos\xe9\r\n" in Composer(PSEUDONYM).compose(exchange, "a", 9000)


@pytest.mark.parametrize(
    "name",
    [
        "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
        "HTTP2-Settings", "Proxy-Authenticate", "Proxy-Authorization", "Proxy", "Expect", "X-Original-URL",
        "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Real-IP",
        "X-Forwarded-Anything", "X-Gateway-Subject", "Forwarded",
    ],
)  # fmt: skip
def test_fields_of_one_connection_and_of_the_gateway_go(name):
    for spelling in (name, name.lower(), name.upper()):
        assert composed([(spelling, "keep-alive")]) == composed()


@pytest.mark.parametrize(
    "name",
    [
        "X_Forwarded_For", "x.forwarded.for", "X-Forwarded_Proto", "X_REQUEST-ID", "x_gateway.subject",
        "Content_Length", "Transfer.Encoding", "X_Original_URL", "X.HTTP_Method-Override",
        "X_Real_Ip", "x_forwarded_prefix",
    ],
)  # fmt: skip
@pytest.mark.parametrize("trusted", [False, True])
def test_other_spellings_of_them_go_whoever_sends_them(name, trusted):
    assert composed([(name, "6.6.6.6")], trusted=trusted) == composed(trusted=trusted)


def test_other_names_with_underscores_and_dots_pass():
    assert "x_custom.name: 1" in composed([("x_custom.name", "1")])


def test_what_connection_names_goes_wherever_it_stands():
    headers = [
        ("X-Foo", "1"),
        ("Connection", "close, X-Foo"),
        ("x-foo", "2"),
        ("X-Bar", "3"),
        ("connection", "x-bar , ,"),
    ]
    assert composed([*headers, ("X-Kept", "4")]) == ["GET / HTTP/1.1", "Host: api.example.com", "X-Kept: 4", *OWN]


def test_connection_cannot_take_away_what_the_gateway_says():
    named = "Host, Content-Length, X-Request-ID, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via, X-Foo"
    lines = composed([("Connection", named), ("X-Foo", "1"), ("Via", "1.0 fred")], body=b"12345")
    assert lines[1:] == ["Host: api.example.com", "Via: 1.0 fred", "Content-Length: 5", *OWN]


def test_an_untrusted_peer_cannot_say_who_the_client_is():
    spoofed = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Prefix", "/x"), ("Forwarded", "for=6.6.6.6")]
    assert composed(spoofed)[2:] == OWN


PROXYS = [
    "CF-Connecting-IP", "Forwarded-For", "Front-End-Https", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP",
    "X-Forwarded", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Original-Forwarded-For", "X-Original-Host", "X-Scheme",
    "X-Url-Scheme",
]  # fmt: skip


@pytest.mark.parametrize("name", PROXYS)
def test_what_proxies_tell_of_the_client_passes_from_a_trusted_one_alone(name):
    assert composed([(name, "6.6.6.6")]) == composed()
    assert f"{name}: 6.6.6.6" in composed([(name, "6.6.6.6")], trusted=True)
    folded = name.replace("-", "_", 1)
    assert composed([(folded, "6.6.6.6")], trusted=True) == composed(trusted=True)


def test_a_trusted_peer_appends_to_what_is_known():
    headers = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("x-forwarded-for", "10.1.1.1, 10.1.1.2"),
        ("X-Forwarded-Prefix", "/api"),
    ]
    lines = composed([*headers, ("X-Forwarded-Proto", "ftp"), ("X-Forwarded-Host", "evil")], trusted=True)
    assert lines[2:] == [
        "X-Forwarded-Prefix: /api",
        "X-Forwarded-For: 203.0.113.9, 10.1.1.1, 10.1.1.2, 192.0.2.7",
        *OWN[1:],
    ]


def test_a_trusted_peers_forwarded_gets_an_element():
    lines = composed([("Forwarded", 'for=203.0.113.9;proto="https"')], trusted=True, peer="2001:db8::1")
    expected = 'Forwarded: for=203.0.113.9;proto="https", for="[2001:db8::1]";host="api.example.com";proto=http'
    assert expected in lines
    assert "X-Forwarded-For: 2001:db8::1" in lines


def test_a_unix_socket_is_no_hop_in_the_chain():
    assert "X-Forwarded-For: 203.0.113.9" in composed([("X-Forwarded-For", "203.0.113.9")], trusted=True, peer="unix")
    assert not [line for line in composed(trusted=True, peer="unix") if line.startswith("X-Forwarded-For")]


def test_host_is_the_instances_own_when_it_is_not_preserved_or_did_not_come():
    assert composed(preserve_host=False)[1] == "Host: 10.0.0.1:81"
    exchange = make_exchange(headers=[])
    assert b"\r\nHost: 10.0.0.1:81\r\n" in Composer(PSEUDONYM).compose(exchange, "10.0.0.1:81", 9000)
    assert b"X-Forwarded-Host" not in Composer(PSEUDONYM).compose(exchange, "10.0.0.1:81", 9000)


def test_framing_is_the_gateways():
    assert "content-length: 5" in composed([("content-length", "0005")])
    assert composed([("Content-Length", "5"), ("Content-Length", "5")]).count("Content-Length: 5") == 1
    lines = composed([("Transfer-Encoding", "chunked")], chunked=True, body=object())
    assert [line for line in lines if "ncoding" in line] == ["Transfer-Encoding: chunked"]


def test_via_is_added_behind_those_that_came():
    lines = composed([("Via", "1.1 nginx"), ("via", "1.0 other")])
    assert [line for line in lines if line.lower().startswith("via")] == ["Via: 1.1 nginx", "via: 1.0 other", OWN[-1]]


@pytest.mark.parametrize("value", [f"1.1 {PSEUDONYM}", f"1.0 a, 1.1 {PSEUDONYM} (x), 1.1 b", f"HTTP/1.1  {PSEUDONYM}"])
def test_an_own_via_on_arrival_is_a_loop(value):
    with pytest.raises(LoopDetected):
        composed([("via", value)])


@pytest.mark.parametrize("value", [f"1.1 {PSEUDONYM}2", f"1.1 x{PSEUDONYM}", f"1.1 a ({PSEUDONYM})", PSEUDONYM, ""])
def test_a_via_that_only_looks_like_ours_is_none(value):
    assert not names_us(value, PSEUDONYM)


@pytest.mark.parametrize(
    "headers, target", [([("X", "a\nb")], "/"), ([("X", "a\rb")], "/"), ([], "/a b"), ([], "/\r\nX: 1")]
)
def test_what_would_be_another_request_is_refused(headers, target):
    with pytest.raises(Malformed):
        composed(headers, target=target)


def test_a_pseudonym_is_a_token():
    with pytest.raises(ValueError):
        Composer("a b")


# --- a route's edits
def edited(headers=(), *, set=None, remove=(), **arguments):
    edits = compile_edits(HeaderEdits(set=set or {}, remove=tuple(remove)))
    return composed(headers, request_headers=edits, **arguments)


def test_a_route_removes_and_sets_fields_in_every_spelling():
    headers = [("X-Gone", "1"), ("x_gone", "2"), ("X_User", "evil"), ("X-Kept", "3")]
    lines = edited(headers, set={"X-User": "alice"}, remove=["x-gone"])
    assert lines[2:] == ["X-Kept: 3", *OWN[:-1], "X-User: alice", OWN[-1]]


def test_a_route_may_set_or_remove_what_the_gateway_says_of_the_client():
    lines = edited(set={"Host": "internal", "X-Forwarded-Prefix": "/api"}, remove=["X-Forwarded-For"])
    assert lines[1:] == [*OWN[1:-1], "Host: internal", "X-Forwarded-Prefix: /api", OWN[-1]]


def test_connection_does_not_undo_a_routes_edits():
    lines = edited([("Connection", "X-User"), ("X-User", "evil")], set={"X-User": "alice"})
    assert "X-User: alice" in lines
    assert not [line for line in lines if "evil" in line]


def test_edits_that_say_nothing_are_none():
    assert compile_edits(HeaderEdits()) is None


@pytest.mark.parametrize(
    "edits, why",
    [
        ({"set": {"Content-Length": "5"}}, "Content-Length frames"),
        ({"set": {"transfer_encoding": "chunked"}}, "frames"),
        ({"remove": ("Connection",)}, "frames"),
        ({"remove": ("Host",)}, "only set"),
        ({"remove": ("via",)}, "circle"),
        ({"set": {"a b": "1"}}, "'a b' is not"),
        ({"remove": ("",)}, "is not"),
        ({"set": {"X": "a\r\nY: b"}}, "control character"),
    ],
)
def test_edits_that_would_break_messages_are_refused(edits, why):
    with pytest.raises(ValueError, match=why):
        compile_edits(HeaderEdits(**edits))


def test_answers_are_edited_too():
    edits = compile_edits(HeaderEdits(set={"X-Frame-Options": "DENY", "X-U": "ü"}, remove=("Server",)))
    headers = [("server", "x"), ("Set-Cookie", "a=1"), ("x-frame-options", "ALLOW"), ("Set-Cookie", "b=2")]
    assert edit(headers, edits) == [
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-Frame-Options", "DENY"),
        ("X-U", "\xc3\xbc"),
    ]
