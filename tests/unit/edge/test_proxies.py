"""Who the client is, when what proxies say can be believed, and how far."""

import pytest

from gateway.config.units import Network
from gateway.edge.proxies import Proxies, Sender, address

TRUSTED = [Network("127.0.0.1/32"), Network("10.0.0.0/8"), Network("2001:db8:1::/48"), "unix"]


@pytest.fixture
def proxies():
    return Proxies(TRUSTED)


@pytest.mark.parametrize(
    ("peer", "told", "trusted"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("192.0.2.1", "192.0.2.1", False),
        ("::ffff:10.1.2.3", "10.1.2.3", True),
        ("2001:DB8:1:0::5", "2001:db8:1::5", True),
        ("2001:db8:2::5", "2001:db8:2::5", False),
        ("fe80::1%eth0", "fe80::1", False),
        ("unix", "unix", True),
        ("unknown", "unknown", False),
    ],
)
def test_a_peer_is_trusted_by_its_address(proxies, peer, told, trusted):
    assert proxies.peer(peer) == (told, trusted)


def test_unix_peers_are_trusted_only_when_listed():
    assert Proxies([Network("127.0.0.1/32")]).peer("unix") == ("unix", False)
    assert Proxies([]).peer("127.0.0.1") == ("127.0.0.1", False)


@pytest.mark.parametrize(
    ("listed", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.7, 203.0.113.9", "203.0.113.9"),  # the left one is the client's own invention
        ("203.0.113.9, 10.0.0.5", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.5,10.0.0.6", "203.0.113.9"),
        ("10.0.0.4, 10.0.0.5", "10.0.0.4"),  # all trusted: the outermost
        ("203.0.113.9, nonsense", "127.0.0.1"),
        ("203.0.113.9, nonsense, 10.0.0.5", "10.0.0.5"),
        ("203.0.113.9, unknown", "127.0.0.1"),
        ("", "127.0.0.1"),
        (",", "127.0.0.1"),
        ("203.0.113.9:1234", "203.0.113.9"),
        ("[2001:db8::9]:1234", "2001:db8::9"),
        ("2001:DB8::9", "2001:db8::9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9\t", "203.0.113.9"),
    ],
)
def test_x_forwarded_for_is_walked_from_the_right(proxies, listed, client):
    assert proxies.sender("127.0.0.1", {"HTTP_X_FORWARDED_FOR": listed}).client == client


@pytest.mark.parametrize(
    ("text", "scheme"),
    [("https", "https"), ("HTTP", "http"), ("http, https", "https"), ("wss", "https"), ("gopher", None), ("", None)],
)
def test_x_forwarded_proto_of_the_nearest_proxy_counts(proxies, text, scheme):
    assert (proxies.sender("127.0.0.1", {"HTTP_X_FORWARDED_PROTO": text}).scheme or None) == scheme


@pytest.mark.parametrize(
    ("text", "host"),
    [("api.example.com", "api.example.com"), ("evil, api:8443", "api:8443"), ("a b", None), ("", None)],
)
def test_x_forwarded_host_of_the_nearest_proxy_counts(proxies, text, host):
    assert (proxies.sender("127.0.0.1", {"HTTP_X_FORWARDED_HOST": text}).host or None) == host


@pytest.mark.parametrize(
    ("listed", "sender"),
    [
        ("for=203.0.113.9", Sender("203.0.113.9")),
        ("for=203.0.113.9;proto=https;host=api.example.com", Sender("203.0.113.9", "https", "api.example.com")),
        ('For="[2001:db8::9]:47011" ; Proto=HTTPS', Sender("2001:db8::9", "https")),
        ('for="203.0.113.9:80";host="api:8443"', Sender("203.0.113.9", None, "api:8443")),
        ("for=198.51.100.7, for=203.0.113.9", Sender("203.0.113.9")),
        ("for=203.0.113.9;proto=https, for=10.0.0.5;proto=http", Sender("203.0.113.9", "https")),
        ("for=unknown", Sender("127.0.0.1")),
        ("for=_hidden, for=10.0.0.5", Sender("10.0.0.5")),
        ("for=[2001:db8::9]", Sender("127.0.0.1")),  # must be quoted
        ('for=", for=203.0.113.9', Sender("203.0.113.9")),  # the client's open quote swallows nothing
        ('for="x, for="[2001:db8::9]"', Sender("2001:db8::9")),
        ('by="a,b";for=203.0.113.9', Sender("203.0.113.9")),
        ("", Sender("127.0.0.1")),
        ("," * 5000, Sender("127.0.0.1")),
    ],
)
def test_forwarded_is_walked_from_the_right(proxies, listed, sender):
    assert proxies.sender("127.0.0.1", {"HTTP_FORWARDED": listed}) == sender


def test_x_forwarded_for_goes_before_forwarded(proxies):
    environ = {"HTTP_X_FORWARDED_FOR": "203.0.113.9", "HTTP_FORWARDED": "for=198.51.100.7;proto=https"}
    assert proxies.sender("127.0.0.1", environ) == Sender("203.0.113.9")


def test_without_any_header_the_peer_is_the_client(proxies):
    assert proxies.sender("10.0.0.5", {}) == Sender("10.0.0.5")


@pytest.mark.parametrize(
    "text", ["1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4:", "[1.2.3.4]", "::1:80:x", "a" * 60, "1.2.3.4%0"]
)
def test_what_is_no_address(text):
    assert address(text) is None
