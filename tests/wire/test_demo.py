"""What a newcomer does first: `make run`, its curl lines, Ctrl-C, and an edit under `gateway run --reload`."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import ROOT, GatewayProcess, eventually, request

GATEWAY = (sys.executable, "-m", "gateway.cli")
CONFIG: dict[str, Any] = {
    "services": {"echo": {}},
    "routes": [{"id": "echo", "path": "/echo/*", "service": "echo"}],
}


def children_of(pid: int) -> list[int]:
    """Every process below `pid`."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *children_of(int(child))]
    return found


@pytest.fixture
def demo() -> Iterator[GatewayProcess]:
    process = GatewayProcess(CONFIG, command=[*GATEWAY, "demo"])
    try:
        process.start(wait=False)
        yield process
    finally:
        process.stop(timeout=20)


def test_the_curl_lines_that_the_demo_prints_work(demo: GatewayProcess):
    demo.wait_line("Ctrl-C stops it", timeout=30)
    lines = re.findall(r"^  curl .*$", demo.log_text, re.MULTILINE)
    assert len(lines) == 3
    hello, upload, services = (
        subprocess.run(line, shell=True, capture_output=True, check=True).stdout for line in lines
    )
    assert json.loads(hello)["path"] == "/echo/hello"
    told = json.loads(upload)
    assert (told["method"], told["path"], told["body"]) == ("POST", "/echo/upload?x=1", "some text")
    (echo,) = json.loads(services)["services"]
    assert [instance["id"] for instance in echo["instances"]] == ["inst-1", "inst-2"]


def test_both_backends_take_turns(demo: GatewayProcess):
    demo.wait_line("Ctrl-C stops it", timeout=30)
    answered = [demo.get("/echo/x").json()["instance"] for _ in range(4)]
    assert sorted(set(answered)) == ["inst-1", "inst-2"]
    assert answered[0] == answered[2] != answered[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_stops_all_that_was_started(demo: GatewayProcess, number: int):
    demo.wait_line("Ctrl-C stops it", timeout=30)
    started = children_of(demo.pid)
    assert len(started) >= 4  # the master, a worker, two backends
    demo.signal(number)
    assert demo.wait_exit() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


def test_a_terminal_that_is_closed_stops_all_that_was_started(tmp_path: Path):
    """Also where make leads the session: the kernel tells it alone, and it waits for what it runs."""
    (tmp_path / "Makefile").write_text(f"run:\n\t@{' '.join(GATEWAY)} demo\n")  # make itself starts it, not a shell
    files = GatewayProcess(CONFIG)
    ours, theirs = pty.openpty()
    make = ["setsid", "--ctty", "make", "-f", str(tmp_path / "Makefile")]
    env = {**os.environ, "GATEWAY_CONFIG": str(files.config_path)}
    with subprocess.Popen(make, cwd=ROOT, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as run:
        try:
            os.close(theirs)
            shown = b""
            while b"Ctrl-C stops it" not in shown:
                assert select.select([ours], [], [], 30)[0], shown
                shown += os.read(ours, 65536)
            started = children_of(run.pid)
            assert len(started) >= 5  # the demo, the master, a worker, two backends
            os.close(ours)
            run.wait(20)
            assert not any(Path(f"/proc/{pid}").exists() for pid in started)
        finally:
            for pid in [*children_of(run.pid), run.pid] if run.poll() is None else []:
                os.kill(pid, signal.SIGKILL)
            files.stop()


def test_a_signal_that_comes_twice_at_once_still_stops_in_order(demo: GatewayProcess):
    """`kill %1` in a shell reaches the whole job, and make passes it on to what it runs."""
    demo.wait_line("Ctrl-C stops it", timeout=30)
    demo.signal(signal.SIGTERM)
    demo.signal(signal.SIGINT)
    assert demo.wait_exit() == 0
    assert "Shutting down: Master" in demo.log_text


def test_a_second_signal_later_stops_at_once(demo: GatewayProcess):
    demo.wait_line("Ctrl-C stops it", timeout=30)
    with socket.create_connection(("127.0.0.1", demo.external_port)) as client:
        client.sendall(b"POST /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")  # its body never comes
        demo.signal(signal.SIGTERM)
        time.sleep(1.2)  # the demo's own clock
        assert demo.process.poll() is None  # type: ignore[union-attr]
        demo.signal(signal.SIGTERM)
        assert demo.wait_exit(timeout=5) == 0
    assert "Shutting down: Master" not in demo.log_text


def test_backends_end_with_a_demo_that_is_killed(demo: GatewayProcess):
    demo.wait_line("Ctrl-C stops it", timeout=30)
    backends = [
        pid for pid in children_of(demo.pid) if b"gateway.dev.echo" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(backends) == 2
    gateways = [pid for pid in children_of(demo.pid) if pid not in backends]
    demo.signal(signal.SIGKILL)
    try:
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in backends))
    finally:
        for pid in gateways:
            os.kill(pid, signal.SIGKILL)


def test_a_demo_whose_port_is_taken_says_so_and_stops_its_backends(demo: GatewayProcess):
    demo.wait_line("Ctrl-C stops it", timeout=30)
    other = GatewayProcess(demo.config_path.read_text(), command=[*GATEWAY, "demo"])
    try:
        other.start(wait=False)
        assert other.wait_exit() == 1
        assert f"127.0.0.1:{demo.external_port}: in use by another process" in other.log_text
    finally:
        other.stop()


def test_a_backend_registers_again_after_the_gateway_lost_it():
    with GatewayProcess({**CONFIG, "state": {"engine": "memory"}}) as gateway:
        command = [sys.executable, "-m", "gateway.dev.echo", "--register", gateway.internal_url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as backend:
            assert backend.stdout is not None
            assert backend.stdout.readline().startswith(b"echo inst-1 on http://127.0.0.1:")
            try:
                eventually(lambda: gateway.get("/echo/x").status == 200)
                gateway.reload()  # with this engine, new workers know of nothing
                eventually(lambda: gateway.get("/echo/x").status == 200, timeout=15)
            finally:
                backend.terminate()
        assert gateway.get("/echo/x").status == 503  # it has deregistered


def test_an_edit_is_taken_up_while_developing(tmp_path: Path):
    def config(name: str) -> dict[str, Any]:
        answer = {"status": 200, "body": name}
        return {"services": {}, "routes": [{"id": name, "path": "/x", "fixed_response": answer}]}

    process = GatewayProcess(
        config("one"),
        folder=tmp_path,
        cwd=tmp_path,
        command=[*GATEWAY, "run", "--reload"],
        env={"PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.get("/x").body == b"one"
        process.write(config("two"))
        eventually(lambda: process.get("/x").body == b"two")
        eventually(lambda: process.generation == 2)
        (tmp_path / "my_setup.py").write_text("def configure(registry): ...\n")
        process.wait_line("starting again after an edit")
        eventually(lambda: process.is_ready() and process.generation == 1)
        process.write("broken")
        process.wait_event("reload_refused")
        assert process.get("/x").body == b"two"
        process.signal(signal.SIGTERM)
        assert process.wait_exit() == 0


# --- make -----------------------------------------------------------------------------------------------------------
def bootstrap(folder: Path, python: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / ".ci" / "bootstrap", folder],
        env={"PATH": path, "PYTHON": python}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """A PATH with the few commands that a shell script needs, and no package manager."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "rm", "id"):
        found = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True).stdout
        (folder / name).symlink_to(found.strip())
    return str(folder)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_python_that_is_too_old_is_refused_with_a_word(tmp_path: Path, tools: str):
    old = script(tmp_path / "python", "exit 1\n")
    done = bootstrap(tmp_path / "venv", old, tools)
    assert done.returncode == 1
    assert done.stderr == f"Python 3.11 or newer is needed and was not found as {old}; set PYTHON=/path/to/python3.11\n"


def test_a_python_without_ensurepip_is_told_with_the_package_that_has_it(tmp_path: Path, tools: str):
    bare = script(tmp_path / "python", f'[ "$1" = -m ] && exit 1\nexec {sys.executable} "$@"\n')
    done = bootstrap(tmp_path / "venv", bare, tools)
    assert done.returncode == 1
    assert "sudo apt-get install python3.11-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_an_environment_that_works_is_kept(tmp_path: Path, tools: str):
    done = bootstrap(Path(sys.prefix), "/nowhere", tools)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_make_help_tells_every_target():
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make (\w+)", told, re.MULTILINE) == [
        "help", "install", "run", "dev", "test", "scenarios", "check", "bench", "clean",
    ]  # fmt: skip


def test_the_shipped_configuration_is_valid():
    done = subprocess.run(
        [*GATEWAY, "check", "conf/gateway.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_echo_backend_answers_every_method_and_both_framings():
    with subprocess.Popen([sys.executable, "-m", "gateway.dev.echo"], cwd=ROOT, stdout=subprocess.PIPE) as backend:
        try:
            assert backend.stdout is not None
            port = int(backend.stdout.readline().rsplit(b":", 1)[1])
            assert request(port, "BREW", "/pot").json()["method"] == "BREW"
            assert request(port, "HEAD", "/x").body == b""
            assert request(port, "PUT", "/x", body=b"y" * 5000).json()["body_size"] == 5000
            chunked = request(
                port, "POST", "/x", headers={"Transfer-Encoding": "chunked"}, body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            )
            assert (chunked.json()["body"], chunked.json()["body_size"]) == ("abcde", 5)
        finally:
            backend.terminate()
