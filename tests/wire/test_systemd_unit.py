"""deploy/systemd/gateway.service: systemd takes it, and its commands do what its comments say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.model import Server
from tests.support.process import ROOT, GatewayProcess

UNIT = ROOT / "deploy" / "systemd" / "gateway.service"
INSTALLED = "/opt/gateway/.venv/bin/gateway"


def setting(name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return str(found)


def command(name: str, config: Path) -> list[str]:
    """What the unit starts, of this repository and with another configuration."""
    program, *arguments = shlex.split(setting(name).replace("/etc/gateway/gateway.yaml", str(config)))
    assert program == INSTALLED
    return [sys.executable, "-m", "gateway.cli", *arguments]


def test_systemd_accepts_it(tmp_path: Path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    (tmp_path / "gateway.service").write_text(UNIT.read_text().replace(INSTALLED, sys.executable))
    done = subprocess.run(
        [analyze, "verify", tmp_path / "gateway.service"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_its_timeout_leaves_requests_their_time():
    assert int(setting("TimeoutStopSec")) > Server().graceful_timeout


def test_it_is_told_when_the_gateway_listens_and_a_reload_succeeds_or_fails(tmp_path: Path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(20)
        process = GatewayProcess(
            {"services": {}, "routes": []},
            folder=tmp_path,
            env={"NOTIFY_SOCKET": path},
            command=command("ExecStart", tmp_path / "gateway.yaml"),
        )
        with process:
            assert b"READY=1" in notify.recv(4096)
            reload = command("ExecReload", process.config_path)
            assert subprocess.run(reload, cwd=ROOT, env=os.environ, capture_output=True, check=False).returncode == 0
            process.write(process.config_path.read_text() + "\nnonsense: 1\n")
            done = subprocess.run(reload, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 78
            assert "nonsense: unknown key" in done.stderr


def test_a_configuration_that_cannot_be_used_is_not_started_again(tmp_path: Path):
    (tmp_path / "gateway.yaml").write_text("nonsense")
    done = subprocess.run(command("ExecStart", tmp_path / "gateway.yaml"), cwd=ROOT, capture_output=True, check=False)
    assert str(done.returncode) == setting("RestartPreventExitStatus")
