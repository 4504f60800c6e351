"""Certificates are read when a configuration is accepted, and by no worker: what becomes of the files later is no
matter until the next reload."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import behaviours, certificates
from tests.support.backend import FakeBackend
from tests.support.certificates import Certificates
from tests.support.process import GatewayProcess, eventually


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return certificates.make(tmp_path)


@pytest.fixture
def backend(made: Certificates) -> Iterator[FakeBackend]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.server, made.server_key)
    with FakeBackend(behaviours.echo, tls=context) as started:
        yield started


@pytest.fixture
def gateway(made: Certificates, backend: FakeBackend) -> Iterator[GatewayProcess]:
    config = {
        "listeners": {
            "external": {
                "bind": ["127.0.0.1:${EXTERNAL_PORT}"],
                "tls": {"certificate": str(made.server), "key": str(made.server_key)},
            },
            "internal": {"bind": ["127.0.0.1:${INTERNAL_PORT}"]},
        },
        "services": {
            "secret": {
                "tls": {"ca": str(made.authority), "server_name": "localhost"},
                "instances": [{"id": "a", "url": f"https://127.0.0.1:{backend.port}"}],
            }
        },
        "routes": [{"id": "all", "path": "/*", "service": "secret", "listeners": ["external", "internal"]}],
    }
    with GatewayProcess(config, workers=2) as started:
        yield started


def over_tls(gateway: GatewayProcess, trust: ssl.SSLContext) -> int:
    connection = http.client.HTTPSConnection("localhost", gateway.external_port, context=trust, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().status


def test_workers_serve_without_the_files(gateway: GatewayProcess, made: Certificates):
    trust = ssl.create_default_context(cafile=str(made.authority))
    assert over_tls(gateway, trust) == 200
    for path in (made.server, made.server_key, made.authority):
        path.unlink()
    gateway.hup()
    report = eventually(lambda: not (found := gateway.readyz["last_reload"])["ok"] and found, what="a refused reload")
    told = " ".join(error["path"] for error in report["errors"])
    assert "listeners.external.tls" in told
    assert "services.secret.tls.ca" in told
    before = set(gateway.worker_pids)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(gateway.worker_pids) == 2 and not before & set(gateway.worker_pids), what="other workers")
    for _ in range(8):
        assert over_tls(gateway, trust) == 200
        assert gateway.get("/", internal=True).status == 200
