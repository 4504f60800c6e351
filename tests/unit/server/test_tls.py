from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from gateway.config.model import ListenerTls
from gateway.server.tls import server_context
from tests.support.certificates import Certificates, make


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


def test_a_context_speaks_tls_1_2_and_up_and_asks_for_no_certificate(certificates: Certificates) -> None:
    context = server_context(ListenerTls(certificate=certificates.server, key=certificates.server_key))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE


def test_client_auth_decides_what_is_asked_of_the_client(certificates: Certificates) -> None:
    for auth, mode in (("none", ssl.CERT_NONE), ("optional", ssl.CERT_OPTIONAL), ("required", ssl.CERT_REQUIRED)):
        settings = ListenerTls(
            certificate=certificates.server,
            key=certificates.server_key,
            client_ca=certificates.authority,
            client_auth=auth,  # type: ignore[arg-type]
        )
        assert server_context(settings).verify_mode == mode


def test_what_is_wrong_with_the_files_is_said(certificates: Certificates, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.pem"
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    server, key = certificates.server, certificates.server_key
    cases = [
        (ListenerTls(certificate=nowhere, key=key), f"certificate {nowhere} .*No such file"),
        (ListenerTls(certificate=garbage, key=key), f"certificate {garbage}"),
        (ListenerTls(certificate=server, key=certificates.client_key), "mismatch"),
        (ListenerTls(certificate=server, key=key, client_ca=nowhere), "client_ca .*No such"),
        (ListenerTls(certificate=server, key=key, client_ca=garbage), "client_ca"),
        (ListenerTls(certificate=server, key=key, client_auth="required"), "needs client_ca"),
    ]
    for settings, why in cases:
        with pytest.raises(ValueError, match=why):
            server_context(settings)
