"""From environ to exchange, from whatever happens to an answer."""

import io
import json

import pytest
from werkzeug.test import EnvironBuilder

from gateway.clock import FakeClock
from gateway.config.model import Server
from gateway.edge.enter import Edge
from gateway.edge.planes import Planes
from gateway.edge.proxies import Proxies
from gateway.edge.record import Recorder
from gateway.errors import ClientGone, HeadersTooLarge, Malformed, NoRoute, Overloaded
from gateway.exchange import Answer


class Log:
    def __init__(self):
        self.lines = []

    def write(self, exchange, status, reason, bytes_out, seconds):
        self.lines.append((exchange, status, reason))


class Site:
    """An edge in front of one stage that notes the exchange; `answer` is an answer or what it raises."""

    def __init__(self, answer=None, **server):
        settings = Server(**server)
        self.log = Log()
        self.seen = None
        self.answer = answer
        clock = FakeClock()
        self.edge = Edge(
            {"external": self._stage, "internal": self._stage},
            planes=Planes({}),
            proxies=Proxies(settings.trusted_proxies),
            recorder=Recorder(self.log, None, clock),
            clock=clock,
            security_headers=settings.security_headers,
        )

    def _stage(self, exchange):
        self.seen = exchange
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or Answer(200, [("Content-Type", "text/plain")], [b"ok"])

    def __call__(self, environ):
        return self.edge.serve(environ)

    def entered(self, environ):
        assert self(environ).status == 200
        return self.seen


def environ(target="/a?b", method="GET", headers=(("Host", "example.com"),), peer="192.0.2.1", **more):
    """As our worker makes it."""
    made = {
        "REQUEST_METHOD": method,
        "RAW_URI": target,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "gateway.plane": "external",
        "gateway.received": 990.0,
        "gateway.peer": peer,
        "gateway.headers": list(headers),
    }
    for name, value in headers:
        made["HTTP_" + name.upper().replace("-", "_")] = value
    return {**made, **more}


def reason(answer):
    return json.loads(answer.body[0])["reason"]


# --- what arrived ---
def test_the_exchange_holds_what_the_worker_tells():
    seen = Site().entered(environ("/a%20b?x=%20"))
    assert (seen.plane, seen.method, seen.raw_path, seen.query) == ("external", "GET", "/a%20b", "x=%20")
    assert (seen.received, seen.peer, seen.client, seen.trusted) == (990.0, "192.0.2.1", "192.0.2.1", False)
    assert (seen.scheme, seen.host, seen.headers) == ("http", "example.com", [("Host", "example.com")])
    assert seen.body is None


def test_a_query_that_is_empty_differs_from_none():
    assert Site().entered(environ("/a")).query is None
    assert Site().entered(environ("/a?")).query == ""


def test_any_wsgi_server_will_do():
    builder = EnvironBuilder(
        "/a b", "http://example.com:8000", query_string="x=1", method="POST", data=b"hello", content_type="text/plain",
        headers={"X-Custom-Name": "v"}, environ_base={"REMOTE_ADDR": "192.0.2.1"},
    )  # fmt: skip
    seen = Site().entered(builder.get_environ())
    assert (seen.raw_path, seen.query, seen.host, seen.peer) == ("/a%20b", "x=1", "example.com:8000", "192.0.2.1")
    assert seen.received == 1000.0
    assert seen.content_length == 5
    assert seen.body.read() == b"hello"
    assert ("X-Custom-Name", "v") in seen.headers
    assert ("Content-Type", "text/plain") in seen.headers
    assert ("Content-Length", "5") in seen.headers


def test_an_environ_without_a_peer_is_nobody_to_trust():
    seen = Site().entered(EnvironBuilder("/", headers={"X-Forwarded-For": "203.0.113.9"}).get_environ())
    assert (seen.client, seen.trusted) == ("unknown", False)


def test_gunicorns_empty_remote_address_is_a_unix_socket():
    seen = Site().entered(EnvironBuilder("/", environ_base={"REMOTE_ADDR": ""}).get_environ())
    assert (seen.client, seen.trusted) == ("unix", True)


def test_the_body_is_there_when_it_was_announced():
    seen = Site().entered(environ(method="POST", CONTENT_LENGTH="2", **{"wsgi.input": io.BytesIO(b"hi")}))
    assert seen.body.read() == b"hi"


def test_the_host_of_an_absolute_target_replaces_the_header():
    headers = [("host", "other.example"), ("Accept", "*/*")]
    seen = Site().entered(environ("http://example.com:81/a?b", headers=headers))
    assert (seen.raw_path, seen.query, seen.host) == ("/a", "b", "example.com:81")
    assert seen.headers == [("Host", "example.com:81"), ("Accept", "*/*")]
    assert headers[0] == ("host", "other.example")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (environ(headers=[]), "bad_host"),
        (environ(headers=[("Host", "")]), "bad_host"),
        (environ(headers=[("Host", "a,b")]), "bad_host"),
        (environ("http://example.com/", headers=[]), "bad_host"),
        (environ("example.com:443", method="CONNECT"), "not_supported"),
        (environ("nonsense"), "malformed_request"),
        (environ(CONTENT_LENGTH="x"), "malformed_request"),
    ],
)
def test_what_is_not_a_request_reaches_no_stage(given, expected):
    site = Site()
    answer = site(given)
    assert site.seen is None
    assert reason(answer) == expected
    assert site.log.lines[0][1:] == (answer.status, expected)


def test_http_1_0_needs_no_host():
    seen = Site().entered(environ(headers=[], SERVER_PROTOCOL="HTTP/1.0"))
    assert (seen.host, seen.headers) == ("127.0.0.1:8000", [])
    assert Site().entered(environ(headers=[], SERVER_PROTOCOL="HTTP/1.0", SERVER_NAME="::1")).host == "[::1]:8000"
    assert Site().entered(environ(headers=[], SERVER_PROTOCOL="HTTP/1.0", SERVER_NAME="")).host == "localhost"


# --- from whom ---
FORWARDED = [
    ("Host", "inside"), ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "api.example.com"), ("X-Request-ID", "from-nginx"),
]  # fmt: skip


def test_a_trusted_proxy_is_believed():
    seen = Site().entered(environ(headers=FORWARDED, peer="127.0.0.1"))
    assert (seen.client, seen.scheme, seen.host, seen.request_id, seen.trusted) == (
        "203.0.113.9", "https", "api.example.com", "from-nginx", True,
    )  # fmt: skip


def test_anybody_else_is_not():
    seen = Site().entered(environ(headers=FORWARDED))
    assert (seen.client, seen.scheme, seen.host, seen.trusted) == ("192.0.2.1", "http", "inside", False)
    assert seen.request_id != "from-nginx"


def test_nobody_is_when_no_proxy_is_trusted():
    seen = Site(trusted_proxies=()).entered(environ(headers=FORWARDED, peer="127.0.0.1"))
    assert (seen.client, seen.trusted) == ("127.0.0.1", False)


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "a\r\nb"])
def test_a_request_id_that_is_none_is_replaced(bad):
    seen = Site().entered(environ(headers=[("Host", "a"), ("X-Request-ID", bad)], peer="127.0.0.1"))
    assert seen.request_id != bad
    assert len(seen.request_id) == 32


# --- the answer ---
def test_every_answer_carries_the_request_id():
    site = Site()
    answer = site(environ())
    assert answer.headers == [("Content-Type", "text/plain"), ("X-Request-ID", site.seen.request_id)]


def test_a_backends_own_request_id_gives_way():
    site = Site(Answer(200, [("x-request-id", "theirs"), ("X-Other-Name", "v")], [b""]))
    answer = site(environ())
    assert answer.headers == [("X-Other-Name", "v"), ("X-Request-ID", site.seen.request_id)]


def test_a_header_list_that_is_shared_is_left_as_it_is():
    shared = [("Content-Type", "text/plain")]
    site = Site(Answer(200, shared, [b""]), security_headers={"X-Frame-Options": "DENY"})
    site(environ())
    assert shared == [("Content-Type", "text/plain")]


def test_security_headers_are_added_to_external_answers_that_lack_them():
    security = {"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"}
    site = Site(Answer(200, [("x-frame-options", "SAMEORIGIN")], [b""]), security_headers=security)
    headers = site(environ()).headers
    site = Site(security_headers=security)
    assert ("X-Content-Type-Options", "nosniff") in headers
    assert ("X-Frame-Options", "DENY") not in headers
    internal = site(environ(**{"gateway.plane": "internal"})).headers
    assert ("X-Content-Type-Options", "nosniff") not in internal


def test_a_refusal_becomes_a_problem():
    site = Site(NoRoute())
    answer = site(environ())
    assert (answer.status, reason(answer)) == (404, "no_route")
    assert json.loads(answer.body[0])["request_id"] == dict(answer.headers)["X-Request-ID"]
    assert site.log.lines == [(site.seen, 404, "no_route")]


def test_a_bug_becomes_a_500_that_shows_nothing(capsys):
    site = Site(ValueError("secret detail"))
    answer = site(environ())
    assert (answer.status, reason(answer)) == (500, "internal_error")
    assert b"secret detail" not in answer.body[0]
    told = capsys.readouterr().out
    assert "secret detail" in told
    assert site.seen.request_id in told


def test_a_client_that_left_is_recorded():
    site = Site(ClientGone())
    site(environ())
    assert site.log.lines[0][1:] == (499, "client_gone")


def test_a_head_request_gets_no_problem_body():
    answer = Site(NoRoute())(environ(method="HEAD"))
    assert answer.body == [b""]
    assert int(dict(answer.headers)["Content-Length"]) > 0


# --- what the server refuses ---
def test_the_servers_refusals_are_told_and_recorded_alike():
    site = Site()
    head = b"GET /a?token=x HTTP/1.1\r\nHost: a\r\nX-Request-ID: from-nginx\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
    answer = site.edge.refused(Overloaded(retry_after=1), "external", "127.0.0.1", head)
    assert (answer.status, reason(answer)) == (503, "overloaded")
    assert dict(answer.headers)["X-Request-ID"] == "from-nginx"
    exchange, status, why = site.log.lines[0]
    assert (exchange.method, exchange.raw_path, exchange.query) == ("GET", "/a", "token=x")
    assert (exchange.client, status, why) == ("203.0.113.9", 503, "overloaded")


@pytest.mark.parametrize("sent", [b"user:secret@h", b"user:sec ret@h", b"user:secret" + b"x" * 4096 + b"@h"])
def test_a_user_in_a_refused_target_is_not_told(sent):
    site = Site()
    site.edge.refused(Malformed(), "external", "192.0.2.1", b"GET http://" + sent + b"/a HTTP/1.1\r\nHost: h\r\n\r\n")
    assert site.log.lines[0][0].raw_path == "http://***@h/a"


def test_a_head_is_answered_without_a_body():
    answer = Site().edge.refused(Overloaded(), "external", "192.0.2.1", b"HEAD /a HTTP/1.1\r\n\r\n")
    assert answer.body == [b""]


def test_whoever_is_not_trusted_names_neither_id_nor_client():
    site = Site()
    head = b"GET /a HTTP/1.1\r\nX-Request-ID: mine\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
    answer = site.edge.refused(HeadersTooLarge(), "external", "192.0.2.1", head)
    assert dict(answer.headers)["X-Request-ID"] != "mine"
    assert site.log.lines[0][0].client == "192.0.2.1"


@pytest.mark.parametrize(
    "head",
    [
        b"", b"\r\n\r\n", b"GET", b"GET ", b"\x16\x03\x01\x02\x00\x01", b"\x00" * 1000, b"a" * 100_000,
        b"GET http://[ HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"GET /a HTTP/1.1\r\nX-Forwarded-For",
        b"GET /" + b"a" * 100_000,
    ],
    ids=range(11),
)  # fmt: skip
def test_no_head_is_too_broken_to_be_refused(head):
    site = Site()
    answer = site.edge.refused(Malformed(), "external", "192.0.2.1", head)
    assert (answer.status, reason(answer)) == (400, "malformed_request")
    exchange = site.log.lines[0][0]
    assert len(exchange.raw_path) <= 2048
    assert len(exchange.method) <= 32


def test_a_header_that_was_cut_off_is_not_believed():
    site = Site()
    head = b"GET /a HTTP/1.1\r\nX-Forwarded-For: 203.0.113.99, 203.0.1"
    site.edge.refused(Malformed(), "external", "127.0.0.1", head)
    assert site.log.lines[0][0].client == "127.0.0.1"
