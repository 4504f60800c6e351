"""Starting: what is refused, with which word and exit status; what the command line may say."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.proc import connections
from tests.support.process import BARE, ROOT, GatewayProcess, PortReservation, Reply, eventually

EX_CONFIG = 78
GATEWAY = (sys.executable, "-m", "gateway.cli")
VALID: dict[str, Any] = {
    "services": {"echo": {}},
    "routes": [{"id": "a", "path": "/a", "service": "echo"}],
}
INVALID = "version: 1\nservices: {}\nroutes: []\nserver: {threads: 0}\nlogging: {level: loud}\n"


def bare(config: Any = VALID, **options: Any) -> GatewayProcess:
    return GatewayProcess(config, command=BARE, **options)


def ended(process: GatewayProcess) -> tuple[int, str]:
    """Start a gateway that cannot; its exit status and all that it said."""
    try:
        process.start(wait=False)
        return process.wait_exit(), process.log_text
    finally:
        process.stop()


def called(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GATEWAY, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**os.environ, **env},
        check=False,
    )


# --- an invalid configuration ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("arguments", [(), ("--check-config",)])
def test_an_invalid_configuration_tells_every_error_and_exits_with_78(arguments: tuple[str, ...]):
    code, said = ended(bare(INVALID, arguments=arguments))
    assert code == EX_CONFIG
    errors = [line for line in said.splitlines() if "gateway.yaml:" in line]
    assert len(errors) == 2
    assert ":4:" in errors[0]
    assert "server.threads" in errors[0]
    assert ":5:" in errors[1]
    assert "logging.level" in errors[1]
    assert "Traceback" not in said


def test_check_config_of_a_valid_configuration_exits_with_0():
    assert ended(bare(arguments=["--check-config"]))[0] == 0


def test_a_configuration_that_is_not_there_is_named():
    process = bare()
    process.config_path.unlink()
    code, said = ended(process)
    assert code == EX_CONFIG
    assert f"{process.config_path}:1:1" in said
    assert "no such file" in said


def test_a_module_that_cannot_be_imported_refuses_the_start():
    code, said = ended(bare({**VALID, "setup": "no_such_module:configure"}))
    assert code == EX_CONFIG
    assert "no_such_module cannot be imported" in said
    assert "Traceback" not in said


def test_a_certificate_that_is_none_refuses_the_start(tmp_path: Path):
    (tmp_path / "c.pem").write_text("not a certificate")
    tls = {"certificate": str(tmp_path / "c.pem"), "key": str(tmp_path / "c.pem")}
    code, said = ended(bare({**VALID, "listeners": {"external": {"bind": ["127.0.0.1:18443"], "tls": tls}}}))
    assert code == EX_CONFIG
    assert "listeners.external.tls" in said
    assert "Traceback" not in said


# --- gunicorn's command line ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-b", "127.0.0.1:1"], "--bind 127.0.0.1:1: the gateway binds exactly what"),
        (["--threads", "3"], "server.threads"),
        (["--graceful-timeout", "3"], "server.graceful_timeout"),
        (["--keep-alive", "3"], "server.keepalive"),
        (["-k", "sync"], "--worker-class sync"),
        (["--reload"], "gateway run --reload"),
        (["--log-level", "debug"], "logging.level"),
        (["--certfile", "/dev/null"], "listeners.external.tls"),
        (["--forwarded-allow-ips", "*"], "server.trusted_proxies"),
    ],
)
def test_what_the_file_decides_cannot_be_said_on_the_command_line(arguments: list[str], word: str, tmp_path: Path):
    pidfile = tmp_path / "pid"
    code, said = ended(bare(arguments=[*arguments, "--pid", str(pidfile)]))
    assert code == EX_CONFIG
    assert word in said
    assert "Traceback" not in said
    assert not pidfile.exists()


def test_the_environment_of_gunicorn_is_no_way_round_it():
    code, said = ended(bare(env={"GUNICORN_CMD_ARGS": "--bind 127.0.0.1:1"}))
    assert code == EX_CONFIG
    assert "--bind 127.0.0.1:1" in said


def test_a_pid_file_and_a_number_of_workers_are_free(tmp_path: Path):
    pidfile = tmp_path / "pid"
    with bare(arguments=["--pid", str(pidfile), "-w", "2"]) as process:
        assert int(pidfile.read_text()) == process.pid
        eventually(lambda: len(process.worker_pids) == 2)
    assert not pidfile.exists()


# --- what others have -----------------------------------------------------------------------------------------------
def test_a_port_in_use_is_named_with_its_listener():
    process = bare()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", process.internal_port))
        other.listen()
        code, said = ended(process)
    assert code == 1
    assert f"listeners.internal.bind: 127.0.0.1:{process.internal_port}: in use by another process" in said
    assert "Traceback" not in said


def test_a_port_that_becomes_free_during_the_start_is_taken():
    process = bare()
    other = socket.socket()
    try:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", process.internal_port))
        other.listen()
        process.start(wait=False)
        process.wait_event("listener_in_use")
        other.close()
        process.wait_ready()
    finally:
        other.close()
        process.stop()


def test_a_second_gateway_on_the_same_state_folder_is_refused():
    with bare() as first:
        other = bare({**VALID, "state": {"path": str(first.folder / "state")}})
        code, said = ended(other)
        assert code == 1
        assert f"in use by the gateway with process id {first.pid}" in said
        assert "Traceback" not in said
        assert first.is_ready()


def test_a_state_folder_that_cannot_be_written_refuses_the_start(tmp_path: Path):
    (tmp_path / "file").touch()
    code, said = ended(bare({**VALID, "state": {"path": str(tmp_path / "file" / "state")}}))
    assert code == 1
    assert "state.path" in said
    assert "Traceback" not in said


# --- workers --------------------------------------------------------------------------------------------------------
def test_listeners_are_told_apart_and_cpus_are_spread():
    with bare(workers=len(os.sched_getaffinity(0))) as process:
        assert process.get("/").json()["plane"] == "external"
        assert process.get("/", internal=True).json()["plane"] == "internal"
        assert len(process.get("/").json()["affinity"]) == 1


def test_each_worker_of_a_service_has_a_cpu_share_of_its_own():
    """The gateway leads a session here, as a service does; where the kernel shares CPUs out by session, workers do."""
    with bare(workers=2) as process:
        try:
            by_session = Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
        except OSError:
            by_session = False
        pids = process.worker_pids
        assert [os.getsid(pid) for pid in pids] == (pids if by_session else [process.pid] * 2)
        os.killpg(process.pid, signal.SIGTERM)  # whoever is told, all end
        assert process.wait_exit() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_gunicorns_own_worker_serves_when_it_is_asked_for():
    with bare(env={"GATEWAY_WORKER": "gthread"}) as process:
        assert process.get("/").json()["plane"] is None
        before = process.worker_pids
        process.reload()
        eventually(lambda: not set(before) & set(process.worker_pids))
        assert process.get("/").status == 200


def test_workers_end_when_their_master_is_killed():
    with bare(workers=2) as process:
        workers = process.worker_pids
        process.process.kill()  # type: ignore[union-attr]
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


@contextmanager
def orphaned(seconds: float) -> Iterator[tuple[GatewayProcess, Future[Reply], list[int]]]:
    """A gateway whose master was killed while a request takes so long, the request, and its two workers."""
    with bare(workers=2) as process, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(process.get, f"/sleep/{seconds}", timeout=60)
        workers = [os.pidfd_open(pid) for pid in process.worker_pids]
        busy = eventually(lambda: [pid for pid in process.worker_pids if in_request(process, pid)])
        master = process.process
        assert master is not None
        try:
            master.kill()
            master.wait()
            yield process, slow, busy
        finally:
            for worker in workers:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(worker, signal.SIGKILL)
                os.close(worker)


def in_request(process: GatewayProcess, pid: int) -> bool:
    return any(own == process.external_port for own, _ in connections(pid))


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_workers_without_a_master_finish_their_requests_and_let_another_gateway_start():
    with orphaned(3) as (process, slow, _):
        eventually(lambda: not listens(process.internal_port) and not listens(process.external_port), 2)
        assert not slow.done()
        process.start()
        assert slow.result().status == 200
        assert process.get("/").status == 200


def test_workers_without_a_master_that_keep_the_state_folder_are_named():
    with orphaned(30) as (process, slow, busy):
        process.start(wait=False)
        assert process.wait_exit() == 1
        assert (
            f"in use by workers of a gateway whose master is gone, process ids {busy[0]}: they are" in process.log_text
        )
        assert "bind another" not in process.log_text
        assert not slow.done()
        os.kill(busy[0], signal.SIGQUIT)
        with pytest.raises((OSError, http.client.HTTPException)):
            slow.result()
        process.start()


# --- the command ----------------------------------------------------------------------------------------------------
def test_the_command_runs_from_any_folder(tmp_path: Path):
    process = GatewayProcess(
        VALID,
        folder=tmp_path,
        cwd=tmp_path,
        command=[*GATEWAY, "run", "gateway.yaml", "-w", "2", "--", "--pid", "pid"],
        env={"PYTHONPATH": str(ROOT)},
    )
    with process:
        assert int((tmp_path / "pid").read_text()) == process.pid
        assert len(process.worker_pids) == 2


def test_a_sighup_right_after_the_command_does_not_end_it():
    process = GatewayProcess(VALID, command=[*GATEWAY, "run"])
    try:
        process.start(wait=False)
        eventually(lambda: b"gunicorn" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), every=0.001)
        process.hup()
        process.wait_ready()
    finally:
        process.stop()


def test_check_tells_a_valid_file(tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps({"version": 1, **VALID}))
    done = called("check", str(file))
    assert (done.returncode, done.stdout) == (0, f"{file}: valid, 1 routes, 1 services\n")
    assert called("check", "gateway.yaml", cwd=tmp_path, PYTHONPATH=str(ROOT)).returncode == 0
    assert called("check", GATEWAY_CONFIG=str(file)).returncode == 0


def test_check_tells_every_error_in_words_and_as_json(tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    file.write_text(INVALID)
    done = called("check", str(file))
    assert done.returncode == EX_CONFIG
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["server.threads", "logging.level"]
    told = json.loads(called("check", "--json", str(file)).stdout)
    assert told["ok"] is False
    assert [(error["line"], error["path"]) for error in told["errors"]] == [(4, "server.threads"), (5, "logging.level")]
    assert all(error["message"] for error in told["errors"])


def test_check_imports_what_the_file_names_from_where_it_is_called(tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps({"version": 1, **VALID, "setup": "my_setup:configure"}))
    assert called("check", str(file), cwd=tmp_path, PYTHONPATH=str(ROOT)).returncode == EX_CONFIG
    (tmp_path / "my_setup.py").write_text("def configure(registry): ...\n")
    assert called("check", str(file), cwd=tmp_path, PYTHONPATH=str(ROOT)).returncode == 0


def test_what_the_file_names_is_also_found_beside_it(tmp_path: Path):
    setup = 'def configure(registry):\n    registry.register("echo", "coded", "http://127.0.0.1:9")\n'
    (tmp_path / "beside_the_file.py").write_text(setup)
    with GatewayProcess({**VALID, "setup": "beside_the_file:configure"}, folder=tmp_path) as process:
        process.wait_event("setup_done", setup="beside_the_file:configure")


def test_routes_are_printed_in_the_order_of_matching(tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    routes = [{"id": "all", "path": "/*", "service": "echo"}, {"id": "one", "path": "/x", "service": "echo"}]
    file.write_text(json.dumps({"version": 1, "services": {"echo": {}}, "routes": routes}))
    lines = called("routes", str(file)).stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["ID", "one", "all"]
    assert [row["id"] for row in json.loads(called("routes", "--json", str(file)).stdout)["routes"]] == ["one", "all"]


def test_the_schema_is_json():
    assert json.loads(called("schema").stdout)["type"] == "object"


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    with subprocess.Popen([*GATEWAY, "schema"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_the_version_is_told():
    assert called("version").stdout.strip()


# --- for trying it out ----------------------------------------------------------------------------------------------
def test_a_start_without_a_configuration_takes_the_one_in_the_folder(tmp_path: Path):
    (tmp_path / "conf").mkdir()
    shutil.copy(ROOT / "gunicorn.conf.py", tmp_path)
    reservation = PortReservation()
    (tmp_path / "conf" / "gateway.yaml").write_text(INVALID)
    try:
        done = subprocess.run(
            BARE, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == EX_CONFIG
        assert f"{tmp_path}/conf/gateway.yaml:4:" in done.stderr
    finally:
        reservation.release()
