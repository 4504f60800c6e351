"""Every configuration that is shipped starts as it is, but for its ports, and does what its comments say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.process import ROOT, GatewayProcess, Reply, eventually

SHIPPED = ("gateway.yaml", "examples/kerberos.yaml", "examples/setup/gateway.yaml")
PORTS = {"8000": "${EXTERNAL_PORT}", "8080": "${EXTERNAL_PORT}", "8001": "${INTERNAL_PORT}"}

Start = Callable[..., GatewayProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a gateway on a copy of conf/ with a shipped file, its ports and what `edits` say replaced."""
    with tempfile.TemporaryDirectory(prefix="gateway-example-") as top:
        shutil.copytree(ROOT / "conf", Path(top, "conf"))
        started: list[GatewayProcess] = []

        def begin(name: str, *edits: tuple[str, str], env: dict[str, str] | None = None) -> GatewayProcess:
            path = Path(top, "conf", name)
            text = path.read_text()
            for before, after in edits:
                assert text.count(before) == 1
                text = text.replace(before, after)
            for port, ours in PORTS.items():
                text = text.replace(f'["127.0.0.1:{port}"]', f'["127.0.0.1:{ours}"]')
            env = {"PYTHONPATH": str(path.parent), **(env or {})}
            process = GatewayProcess(text, folder=path.parent, env=env, arguments=["-w", "2"])
            started.append(process)
            return process.start()

        try:
            yield begin
        finally:
            for process in started:
                process.stop()


def failing(count: int) -> Callable[..., None]:
    """Fails that many requests, then echoes."""
    left = [count]

    def behaviour(call: behaviours.Call) -> None:
        if left[0]:
            left[0] -= 1
            behaviours.answer(500, body=b"broken")(call)
        else:
            behaviours.echo(call)

    return behaviour


def states(reply: Reply) -> list[str]:
    return [one["state"] for service in reply.json()["services"] for one in service["instances"]]


def test_every_shipped_file_is_looked_at_here():
    assert sorted(SHIPPED) == sorted(str(path.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_names_the_schema_that_editors_check_it_by(name: str):
    path = ROOT / "conf" / name
    found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
    assert found
    assert (path.parent / found[1]).resolve() == ROOT / "gateway/config/schema.json"


# --- conf/gateway.yaml ----------------------------------------------------------------------------------------------
def test_the_call_in_the_main_files_comment_registers_an_instance(start: Start):
    gateway = start("gateway.yaml")
    with FakeBackend(behaviours.echo) as backend:
        comment = re.search(r"#   (curl .*\\\n.*)\n", gateway.config_path.read_text())
        assert comment
        line = comment[1].replace("\\\n  #", "").replace("127.0.0.1:8001", f"127.0.0.1:{gateway.internal_port}")
        line = line.replace("http://127.0.0.1:8081", backend.url)
        subprocess.run(["curl", "-sf", *shlex.split(line)[1:]], check=True)
        assert gateway.get("/echo").json()["target"] == "/echo"
        assert gateway.get("/echo/a/b?x=1").json()["target"] == "/echo/a/b?x=1"
        assert gateway.get("/echoes").status == 404


def test_the_instances_in_the_main_files_comment_can_be_put_into_force(start: Start):
    shipped = (ROOT / "conf/gateway.yaml").read_text()
    found = re.search(r"  #   instances:\n(  #     - .*\n)+", shipped)
    assert found
    live = found[0].replace("  #   ", "    ")
    gateway = start("gateway.yaml", ("  echo:\n", f"  echo:\n{live}"), (found[0], ""))
    (service,) = gateway.get("/services", internal=True).json()["services"]
    assert [(one["id"], one["source"], one["weight"]) for one in service["instances"]] == [
        ("inst-1", "static", 1),
        ("inst-2", "static", 2),
    ]


# --- conf/examples/kerberos.yaml ------------------------------------------------------------------------------------
def registered(gateway: GatewayProcess, service: str, backend: FakeBackend) -> None:
    body = json.dumps({"service": service, "id": f"{service}-1", "addr": backend.url}).encode()
    reply = gateway.request("POST", "/register", headers={"Content-Type": "application/json"}, body=body)
    assert reply.status == 204


def test_users_call_services_and_services_register_on_one_listener(start: Start):
    gateway = start("examples/kerberos.yaml")
    with FakeBackend(behaviours.echo) as orders, FakeBackend(behaviours.echo) as stranger:
        assert gateway.get("/orders/42").json()["reason"] == "no_instance"
        registered(gateway, "orders", orders)
        assert gateway.get("/orders/42").json()["target"] == "/orders/42"
        registered(gateway, "payroll", stranger)  # listed nowhere: nobody gets there by guessing its name
        assert gateway.get("/payroll/x").json()["reason"] == "unknown_service"
        assert stranger.requests == []
        assert states(gateway.get("/services")) == ["up", "up"]


def test_five_failures_open_the_breaker_for_thirty_seconds(start: Start):
    gateway = start("examples/kerberos.yaml")
    with FakeBackend(behaviours.answer(500)) as orders:
        registered(gateway, "orders", orders)
        assert [gateway.get("/orders/42").status for _ in range(5)] == [500] * 5
        reply = gateway.get("/orders/42")
        assert (reply.status, reply.json()["reason"]) == (503, "circuit_open")
        assert 25 <= int(reply.header("Retry-After") or 0) <= 30
        assert reply.json()["retry_after"] == int(reply.header("Retry-After") or 0)
        assert states(gateway.get("/services")) == ["open"]
        assert len(orders.requests) == 5


def test_after_that_a_few_probes_close_it(start: Start):
    gateway = start("examples/kerberos.yaml", ("open_for: 30s", "open_for: 500ms"))
    with FakeBackend(failing(5)) as orders:
        registered(gateway, "orders", orders)
        assert [gateway.get("/orders/42").status for _ in range(6)] == [500] * 5 + [503]
        eventually(lambda: states(gateway.get("/services")) == ["half_open"])
        assert [gateway.get("/orders/42").status for _ in range(3)] == [200] * 3
        assert states(gateway.get("/services")) == ["up"]


def test_the_prefix_goes_where_the_comment_is_taken_away(start: Start):
    gateway = start("examples/kerberos.yaml", ("    # strip_prefix:", "    strip_prefix:"))
    with FakeBackend(behaviours.echo) as orders:
        registered(gateway, "orders", orders)
        assert gateway.get("/orders/42").json()["target"] == "/42"


def test_the_tokens_in_the_comments_guard_what_they_say(start: Start):
    gateway = start(
        "examples/kerberos.yaml",
        ("  # register_token:", "  register_token:"),
        ("  # token:", "  token:"),
        env={"REGISTER_TOKEN": "join", "ADMIN_TOKEN": "rule"},
    )
    body = json.dumps({"service": "orders", "id": "orders-1", "addr": "http://127.0.0.1:9"}).encode()

    def status(method: str, path: str, token: str | None) -> int:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        return gateway.request(method, path, headers=headers, body=body if method == "POST" else None).status

    assert [status("POST", "/register", token) for token in (None, "nonsense", "join", "rule")] == [401, 401, 204, 204]
    assert [status("GET", "/services", token) for token in (None, "join", "rule")] == [401, 401, 200]
    eventually(lambda: status("GET", "/readyz", None) == 200, what="a start that is over")


# --- conf/examples/setup --------------------------------------------------------------------------------------------
def test_instances_are_registered_in_code_and_those_that_are_no_longer_listed_removed(start: Start, tmp_path: Path):
    inventory = tmp_path / "inventory.txt"

    def instances(gateway: GatewayProcess) -> dict[str, dict[str, int]]:
        gateway.wait_event("setup_done", setup="inventory:configure")
        services = gateway.get("/services", internal=True).json()["services"]
        return {one["name"]: {each["id"]: each["weight"] for each in one["instances"]} for one in services}

    shipped = start("examples/setup/gateway.yaml")
    assert instances(shipped) == {"users": {"users-1": 3, "users-2": 1}, "orders": {"orders-1": 1}}
    reply = shipped.register("users", "users-9", "http://127.0.0.1:9")
    assert (reply.status, reply.json()["reason"]) == (409, "registration_off")
    shipped.stop()
    shipped.log_path.unlink()

    with FakeBackend(behaviours.echo, name="first") as first, FakeBackend(behaviours.echo, name="second") as second:
        # On the same state folder, where the first one left its registrations.
        inventory.write_text(f"# moved\nusers users-1 {first.url} 3\nusers users-3 {second.url}\n")
        moved = start("examples/setup/gateway.yaml", env={"INVENTORY": os.fspath(inventory)})
        assert instances(moved) == {"users": {"users-1": 3, "users-3": 1}, "orders": {}}
        answered = [moved.get("/users/7").json()["backend"] for _ in range(8)]
        assert answered.count("first") == 6
        assert answered.count("second") == 2
