"""`gateway reload` beside a gateway that runs: it finds the master, and tells what came of the reload."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.process import BARE, ROOT, GatewayProcess

MISTAKE = """version: 1
services: {}
routes:
  - {id: b, path: /b, fixed_respnse: {}}
state: {path: state}
listeners: {internal: {bind: ["127.0.0.1:${INTERNAL_PORT}"]}}
"""


def config(*routes: str, **more: Any) -> dict[str, Any]:
    found = [{"id": one, "path": f"/{one}", "fixed_response": {"body": one}} for one in routes]
    return {"services": {}, "routes": found, **more}


def reloaded(process: GatewayProcess) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", "reload", str(process.config_path)],
        cwd=ROOT,
        env={
            **os.environ,
            "EXTERNAL_PORT": str(process.external_port),
            "INTERNAL_PORT": str(process.internal_port),
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_good_edit_is_live_when_the_command_returns():
    with GatewayProcess(config("a")) as process:
        process.write(config("a", "b"))
        done = reloaded(process)
        assert (done.returncode, done.stdout, done.stderr) == (0, "reloaded: generation 2\n", "")
        assert process.get("/b").body == b"b"
        assert reloaded(process).stdout == "reloaded: generation 3\n"


def test_a_mistake_is_told_with_its_line_and_changes_nothing():
    with GatewayProcess(config("a")) as process:
        process.write(MISTAKE)
        for _ in range(2):  # the same refusal again is a new one
            done = reloaded(process)
            assert (done.returncode, done.stdout) == (78, "")
            first, *_, last = done.stderr.splitlines()
            assert first.startswith(f"{process.config_path}:4: routes[0]")
            assert last == "refused: the gateway goes on with generation 1"
        assert process.get("/a").body == b"a"


def test_an_edit_that_moves_the_listener_is_sent_and_the_log_tells():
    with GatewayProcess(config("a"), command=BARE) as process:
        process.write(config("b", listeners={"internal": {"bind": ["127.0.0.1:1"]}}))
        done = reloaded(process)
        assert done.returncode == 0
        assert done.stdout.startswith(f"SIGHUP sent to process {process.pid}; 127.0.0.1:1 does not answer")
        assert process.wait_event("reload_refused")["path"] == "listeners.internal.bind"


def test_a_gateway_on_a_unix_socket_is_asked_there(tmp_path: Path):
    listeners = {"internal": {"bind": [f"unix:{tmp_path}/admin"]}}
    with GatewayProcess(config("a", listeners=listeners), folder=tmp_path) as process:
        assert reloaded(process).stdout == "reloaded: generation 2\n"


def test_a_gateway_that_has_stopped_is_not_running():
    with GatewayProcess(config("a"), command=BARE) as process:
        process.process.terminate()  # type: ignore[union-attr]
        process.wait_exit()
        done = reloaded(process)
        assert done.returncode == 1
        assert "no gateway runs on the state folder" in done.stderr
