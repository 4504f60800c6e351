"""The calls and the code in docs/registration.md work as they stand there."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.process import ROOT, GatewayProcess, eventually

DOCUMENT = (ROOT / "docs" / "registration.md").read_text()
SHELL, LEASE = re.findall(r"^```sh try\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
(HEARTBEAT,) = re.findall(r"^```python try\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    shipped = (ROOT / "conf" / "gateway.yaml").read_text()
    shipped = shipped.replace('["127.0.0.1:8000"]', '["127.0.0.1:${EXTERNAL_PORT}"]')
    shipped = shipped.replace('["127.0.0.1:8001"]', '["127.0.0.1:${INTERNAL_PORT}"]')
    (tmp_path / "conf").mkdir()
    with GatewayProcess(
        shipped.replace("../var/state", "state\n  max_size: 16MiB"), folder=tmp_path / "conf"
    ) as process:
        yield process


def ported(text: str, gateway: GatewayProcess) -> str:
    return text.replace("http://127.0.0.1:8001", gateway.internal_url)


def pasted(text: str, gateway: GatewayProcess) -> str:
    script = ported(text, gateway).replace("curl ", "curl -s ")
    done = subprocess.run(["bash", "-e"], input=script, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def instances(gateway: GatewayProcess) -> dict[str, Any]:
    (echo,) = gateway.get("/services", internal=True).json()["services"]
    return {one["id"]: one for one in echo["instances"]}


def test_an_instance_is_registered_shown_and_taken_away(gateway: GatewayProcess):
    shown = pasted(SHELL, gateway)
    assert shown.count("HTTP/1.1 204 No Content") == 2
    assert '"id": "mine", "url": "http://127.0.0.1:9001", "source": "registered"' in shown
    assert instances(gateway) == {}


def test_a_lease_that_is_not_renewed_ends(gateway: GatewayProcess):
    pasted(LEASE, gateway)
    assert 0 < instances(gateway)["mine"]["expires_in"] <= 2
    eventually(lambda: instances(gateway) == {}, timeout=5)


def test_the_heartbeat_keeps_a_service_registered_until_it_stops(gateway: GatewayProcess):
    module: dict[str, Any] = {}
    exec(compile(ported(HEARTBEAT, gateway), "heartbeat", "exec"), module)
    stop = threading.Event()
    thread = threading.Thread(target=module["keep_registered"], args=("http://127.0.0.1:9001", stop))
    thread.start()
    try:
        eventually(lambda: "mine" in instances(gateway))
        assert 20 < instances(gateway)["mine"]["expires_in"] <= 30
    finally:
        stop.set()
        thread.join()
    assert instances(gateway) == {}


def test_the_heartbeat_waits_for_a_gateway_that_is_not_there(
    gateway: GatewayProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    module: dict[str, Any] = {}
    exec(compile(ported(HEARTBEAT, gateway), "heartbeat", "exec"), module)
    stop = threading.Event()
    sent: list[Any] = []

    def post(*arguments: Any, **named: Any) -> Any:
        sent.append(named["json"])
        if len(sent) < 3:
            raise requests.ConnectionError("nobody there")
        stop.set()
        answer = requests.Response()
        answer.status_code = 204
        return answer

    monkeypatch.setattr(requests, "post", post)
    monkeypatch.setattr(stop, "wait", lambda seconds: None)
    module["keep_registered"]("http://127.0.0.1:9001", stop)
    assert len(sent) == 3
    assert capsys.readouterr().out == "not registered: nobody there\n" * 2
