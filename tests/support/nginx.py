"""The real nginx in front of a gateway, with the configuration that the repository ships.

with Nginx(tmp_path, gateway.external_port) as nginx:
    request(nginx.port, "GET", "/echo/x")
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.process import ROOT
from tests.support.wire import PortReservation, eventually, request

SHIPPED = ROOT / "deploy" / "nginx" / "gateway.conf"

_MAIN = """
daemon off; master_process on; worker_processes {workers}; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    include {folder}/gateway.conf;
}}
"""


def rendered(port: int, gateway_port: int) -> str:
    """The shipped file with these ports; nothing but the two addresses is another."""
    text = SHIPPED.read_text()
    for shipped, used in (
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{gateway_port};"),
        ("    listen 80;", f"    listen 127.0.0.1:{port};"),
    ):
        assert text.count(shipped) == 1, f"{SHIPPED} has not exactly one {shipped.strip()!r}"
        text = text.replace(shipped, used)
    return text


class Nginx:
    """Started by `with`. Skips the test where nginx is not installed, unless CI says that it must be."""

    def __init__(self, folder: Path, gateway_port: int, *, workers: int = 1) -> None:
        self._command = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if self._command is None and os.environ.get("CI") != "true":
            pytest.skip("nginx is not installed")
        self._reservation = PortReservation()
        self.port = self._reservation.port
        self.folder = folder
        (folder / "gateway.conf").write_text(rendered(self.port, gateway_port))
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, workers=workers))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def errors(self) -> str:
        """Its error log, from `warn` up."""
        path = self.folder / "error.log"
        return path.read_text() if path.exists() else ""

    def check(self) -> str:
        """What `nginx -t` says of the file; AssertionError when nginx does not take it."""
        done = subprocess.run([*self._call(), "-t"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def _call(self) -> list[str]:
        assert self._command is not None, "nginx is not installed"
        folder = str(self.folder)
        return [self._command, "-c", f"{folder}/nginx.conf", "-p", folder, "-e", f"{folder}/error.log"]

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"nginx ended: {self.errors}"
        try:
            return request(self.port, "GET", "/").status > 0
        except OSError:
            return False

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._call(), stdin=subprocess.DEVNULL)
        try:
            eventually(self._listens, what="nginx listens")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
        self._reservation.release()
