"""Certificates for tests, made by openssl(1): an authority, a server's for localhost, a client's."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def make(folder: Path) -> Certificates:
    """All of them, in `folder`, on P-256 keys, for a day."""
    made = Certificates(*(folder / name for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")))
    authority_key = folder / "ca.key"
    _request(authority_key, made.authority, "/CN=test authority", "-x509", "-days", "1")
    for name, certificate, key, alternative in (
        ("localhost", made.server, made.server_key, "DNS:localhost,IP:127.0.0.1"),
        ("client", made.client, made.client_key, "DNS:client"),
    ):
        request = certificate.with_suffix(".csr")
        extensions = certificate.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={alternative}\n")
        _request(key, request, f"/CN={name}")
        _openssl(
            "x509", "-req", "-in", request, "-CA", made.authority, "-CAkey", authority_key, "-CAcreateserial",
            "-days", "1", "-extfile", extensions, "-out", certificate,
        )  # fmt: skip
    return made


def _request(key: Path, out: Path, subject: str, *more: str) -> None:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    _openssl("req", *curve, "-nodes", "-keyout", key, "-out", out, "-subj", subject, *more)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
