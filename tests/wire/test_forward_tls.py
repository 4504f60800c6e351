"""Backends that speak TLS."""

from __future__ import annotations

import hashlib
import random
import ssl
from dataclasses import replace

import pytest

from gateway.config.model import Timeouts, UpstreamTls
from gateway.errors import ConnectTimeout, TlsFailed, UpstreamReset, UpstreamTimeout
from tests.support import behaviours, certificates
from tests.support.backend import FakeBackend
from tests.support.forwarding import Forwarding, Instance, content
from tests.support.timing import ends_after


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusting(made):
    return UpstreamTls(ca=made.authority)


@pytest.fixture
def context(made):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=made.authority)
    context.load_cert_chain(made.server, made.server_key)
    return context


@pytest.fixture
def serving(context):
    return lambda behaviour=behaviours.echo: FakeBackend(behaviour, tls=context)


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_requests_and_answers_pass_over_one_connection(trusting, serving, size, chunked):
    with serving() as backend, Forwarding(tls=trusting) as forward:
        for _ in range(3):
            answer = forward(backend.url, method="POST", body=b"x" * size or None, chunked=bool(size and chunked))
            assert answer.status == 200
            assert len(content(answer)) >= size
        assert backend.connections == 1
        assert [(request.length, request.complete) for request in backend.requests] == [(size, True)] * 3


def test_a_long_answer_is_streamed(trusting, serving):
    with serving(behaviours.stream(3_000_000)) as backend, Forwarding(tls=trusting) as forward:
        assert len(content(forward(backend.url))) == 3_000_000


def test_an_authority_that_is_not_trusted_is_refused(serving):
    with serving() as backend, Forwarding() as forward:
        with pytest.raises(TlsFailed, match="certificate") as caught:
            forward(backend.url)
        assert (caught.value.failure, caught.value.sent, caught.value.instance) == ("connect", False, "i1")
        assert backend.requests == []


def test_a_certificate_for_another_name_is_refused_unless_that_name_is_configured(trusting, serving):
    with serving() as backend:
        other = replace(trusting, server_name="other.test")
        with Forwarding(tls=other) as forward, pytest.raises(TlsFailed, match=r"other\.test"):
            forward(backend.url)
        with Forwarding(tls=replace(trusting, server_name="localhost")) as forward:
            assert forward(backend.url).status == 200


def test_the_instances_own_name_is_expected_and_sent(trusting, context):
    names = []
    context.sni_callback = lambda sock, name, context: names.append(name)
    lookup = {"localhost": ["127.0.0.1"], "other.test": ["127.0.0.1"]}.__getitem__
    with FakeBackend(behaviours.echo, tls=context) as backend, Forwarding(tls=trusting, lookup=lookup) as forward:
        assert forward(f"https://localhost:{backend.port}").status == 200
        with pytest.raises(TlsFailed):
            forward(f"https://other.test:{backend.port}")
        assert names == ["localhost", "other.test"]


def test_verification_can_be_switched_off(serving):
    with serving() as backend, Forwarding(tls=UpstreamTls(verify=False)) as forward:
        assert forward(backend.url).status == 200


def test_a_client_certificate_is_shown(made, trusting, context, serving):
    own = replace(trusting, certificate=made.client, key=made.client_key)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving() as backend:
        with Forwarding(tls=own) as forward:
            assert forward(backend.url).status == 200
        with Forwarding(tls=trusting) as forward, pytest.raises((TlsFailed, UpstreamReset)):
            forward(backend.url)


def test_a_backend_without_tls_is_no_tls_backend(trusting):
    with (
        FakeBackend(lambda call: call.send(b"220 mail.test\r\n")) as backend,
        Forwarding(tls=trusting) as forward,
        pytest.raises(TlsFailed),
    ):
        forward(f"https://{backend.address}", timeouts=Timeouts(connect=5.0))


def test_a_handshake_that_hangs_ends_at_the_connect_limit(trusting):
    with FakeBackend(behaviours.hang) as backend, Forwarding(tls=trusting) as forward:
        url = f"https://{backend.address}"
        forward.sessions.of(Instance(url), forward.settings)  # reads the certificates, which takes its time
        with ends_after(0.3), pytest.raises(ConnectTimeout):
            forward(url, timeouts=Timeouts(connect=0.3))


def test_files_that_cannot_be_used_are_told(made):
    with (
        Forwarding(tls=UpstreamTls(ca=made.client_key)) as forward,
        pytest.raises(TlsFailed, match="tls section"),
    ):
        forward("https://127.0.0.1:1")


def test_a_dribbled_head_costs_the_limit(trusting, serving):
    dribbled = behaviours.dribble(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, 0.03)
    with serving(behaviours.script(behaviours.echo, dribbled)) as backend, Forwarding(tls=trusting) as forward:
        content(forward(backend.url))
        with ends_after(0.4), pytest.raises(UpstreamTimeout):
            forward(backend.url, timeouts=Timeouts(upstream=0.4))
        assert backend.connections == 1


def test_a_backend_that_does_not_take_the_body_costs_the_limit(trusting, serving):
    with (
        serving(behaviours.hang_unread) as backend,
        Forwarding(tls=trusting) as forward,
        pytest.raises(UpstreamTimeout),
    ):
        forward(backend.url, method="PUT", body=bytes(20_000_000), timeouts=Timeouts(upstream=0.4, connect=5.0))


def test_a_stale_connection_is_replaced_for_every_method(trusting, serving):
    with serving(behaviours.close_after(behaviours.echo)) as backend, Forwarding(tls=trusting) as forward:
        for _ in range(3):
            assert forward(backend.url, method="POST", body=b"hello").status == 200
            backend.wait_until(lambda: not backend._sockets)
        assert len(backend.requests) == 3


def test_an_early_answer_is_delivered(trusting, serving):
    with serving(behaviours.early_answer(413, b"too much", read=1000)) as backend, Forwarding(tls=trusting) as forward:
        answer = forward(backend.url, method="POST", body=bytes(30_000_000))
        assert (answer.status, content(answer)) == (413, b"too much")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("behaviour", [behaviours.beside, behaviours.echo_chunks])
def test_a_request_goes_on_beside_its_answer(trusting, serving, behaviour, chunked):
    data = random.Random(1).randbytes(5_000_000)
    with serving(behaviour) as backend, Forwarding(tls=trusting) as forward:
        for _ in range(2):
            body = content(forward(backend.url, method="POST", body=data, chunked=chunked))
            assert body == (b"begindone" if behaviour is behaviours.beside else data)
        assert [request.sha256 for request in backend.requests] == [hashlib.sha256(data).hexdigest()] * 2
        assert [request.complete for request in backend.requests] == [True, True]


def test_a_body_without_length_is_broken_off_when_tls_is_not_ended_in_order(trusting, serving):
    """Without close_notify anybody between could have cut it (RFC 8446, 6.1)."""

    def cut(call):
        call.request()
        call.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        call.close()  # FIN without close_notify

    def ended(call):
        call.request()
        call.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        assert isinstance(call.sock, ssl.SSLSocket)
        call.sock = call.sock.unwrap()
        call.close()

    with serving(cut) as backend, Forwarding(tls=trusting) as forward, pytest.raises(UpstreamReset):
        content(forward(backend.url))
    with serving(ended) as backend, Forwarding(tls=trusting) as forward:
        assert content(forward(backend.url)) == b"hello"
