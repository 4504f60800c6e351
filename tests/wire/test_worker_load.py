"""Many clients at once, several workers, other kinds of listeners. Against a real gunicorn with the worker class."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.process import PortReservation, eventually
from tests.support.worker import Wire, WorkerProcess

HELLO = b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"
DEFAULTS = {"threads": 32, "keepalive": 75.0, "request_head_timeout": 10.0, "client_idle": 30.0, "backlog_wait": 5.0}


def closed_loop(wires: list[Wire], seconds: float) -> list[float]:
    """Each connection sends its next request when it has the answer; the seconds that each one took."""
    taken: list[float] = []
    sent: dict[int, float] = {}
    by_fd = {wire.sock.fileno(): wire for wire in wires}
    poll = select.poll()
    for fd, wire in by_fd.items():
        wire.sock.settimeout(10)
        poll.register(fd, select.POLLIN)
        sent[fd] = time.monotonic()
        wire.send(HELLO)
    until = time.monotonic() + seconds
    while sent:
        events = poll.poll(5000)
        assert events, "nothing came for 5 s"
        for fd, _ in events:
            assert by_fd[fd].answer().body == b"hello"
            now = time.monotonic()
            taken.append(now - sent.pop(fd))
            if now < until:
                sent[fd] = now
                by_fd[fd].send(HELLO)
    return sorted(taken)


def close(wires: list[Wire]) -> None:
    for wire in wires:
        wire.sock.close()


def best(measure: Callable[[], float], limit: float) -> float:
    """What a machine that is busy with other things cannot show at once it may show the second or third time."""
    found = measure()
    for _ in range(4):
        if found < limit:
            break
        found = min(found, measure())
    return found


def test_of_200_connections_on_32_threads_none_waits_a_second() -> None:
    with WorkerProcess(DEFAULTS) as worker:
        wires = [worker.connect() for _ in range(200)]
        assert best(lambda: closed_loop(wires, 2.0)[-1], 1.0) < 1.0
        close(wires)


def test_500_clients_that_dribble_their_heads_do_not_slow_32_good_ones() -> None:
    stop = threading.Event()

    def dribble(slow: list[socket.socket]) -> None:
        """One byte each, all of them once a second."""
        while not stop.is_set():
            for sock in slow:
                with contextlib.suppress(OSError):
                    sock.send(b"A")
                time.sleep(0.002)

    with WorkerProcess(DEFAULTS) as worker:
        slow = [worker.connect_raw() for _ in range(500)]
        for sock in slow:
            sock.sendall(b"GET /hello HTTP/1.1\r\n")
        thread = threading.Thread(target=dribble, args=(slow,))
        thread.start()
        wires = [worker.connect() for _ in range(32)]

        def p99() -> float:
            taken = closed_loop(wires, 2.0)
            return taken[int(len(taken) * 0.99)]

        measured = best(p99, 0.25)
        stop.set()
        thread.join()
        close(wires)
        for sock in slow:
            sock.close()
    assert measured < 0.25


def test_connections_are_shared_evenly_between_workers() -> None:
    with WorkerProcess({**DEFAULTS, "threads": 8}, workers=2) as worker:

        def difference() -> float:
            wires = []
            for _ in range(32):
                wires.append(worker.connect())
                wires[-1].send(HELLO)
            for wire in wires:
                assert wire.answer().status == 200
            eventually(lambda: sum(worker.counts) == 32)
            found = max(worker.counts) - min(worker.counts)
            close(wires)
            eventually(lambda: sum(worker.counts) == 0)
            return found

        assert best(difference, 6) < 6


def test_a_worker_that_was_replaced_gets_its_share_of_kept_connections() -> None:
    """As a proxy does it: its connections stay, and those that are closed are opened anew."""
    with WorkerProcess({**DEFAULTS, "threads": 8}, workers=2) as worker:
        wires = [worker.connect() for _ in range(16)]

        def ask_all() -> list[int]:
            for number, wire in enumerate(wires):
                try:
                    if wire.get("/hello").value("Connection") is None:
                        continue
                except (EOFError, OSError):
                    pass  # it was the killed worker's
                wire.sock.close()
                wires[number] = worker.connect()
            return worker.counts

        ask_all()
        os.kill(worker.pids[0], 9)
        eventually(lambda: ask_all() and len(worker.counts) == 3)
        eventually(lambda: min(ask_all()[1:]) >= 7, what="the shares are even again")
        close(wires)


def test_a_worker_that_does_not_accept_keeps_nobody_waiting() -> None:
    """Its number stays low, so it would have precedence for ever."""
    with WorkerProcess({**DEFAULTS, "threads": 8}, workers=2) as worker:
        stopped = worker.pids[0]
        os.kill(stopped, 19)  # SIGSTOP
        try:
            wires = [worker.connect() for _ in range(100)]
            for wire in wires:
                wire.send(HELLO)
                assert wire.answer().status == 200
        finally:
            os.kill(stopped, 18)
        close(wires)


def served_through_nginx(worker: WorkerProcess, folder: Path, clients: int, seconds: float) -> list[int]:
    """Requests that each worker served for `clients` on nginx's kept connections."""
    reservation = PortReservation()
    configuration = folder / "nginx.conf"
    configuration.write_text(f"""
        daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; keepalive_requests 10000000; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
            fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            upstream gateway {{ server 127.0.0.1:{worker.ports[0]}; keepalive 64; keepalive_requests 10000000; }}
            server {{
                listen 127.0.0.1:{reservation.port};
                location / {{ proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection ""; }}
            }}
        }}""")
    nginx = subprocess.Popen(["nginx", "-c", str(configuration), "-p", str(folder), "-e", f"{folder}/error.log"])
    try:

        def connect() -> socket.socket | None:
            try:
                return socket.create_connection(("127.0.0.1", reservation.port), timeout=10)
            except OSError:
                return None

        wires = [Wire(eventually(connect)) for _ in range(clients)]
        served: dict[int, int] = dict.fromkeys(worker.pids, 0)
        begin = time.monotonic() + 2.0  # the shares are settled by then
        while (now := time.monotonic()) < begin + seconds:
            for wire in wires:
                wire.send(b"GET /pid HTTP/1.1\r\nHost: h\r\n\r\n")
            for wire in wires:
                pid = int(wire.answer().body)
                served[pid] += now > begin
        close(wires)
        return sorted(served.values())
    finally:
        nginx.terminate()
        nginx.wait(10)
        reservation.release()


def test_behind_nginx_two_workers_serve_alike(tmp_path: Path) -> None:
    with WorkerProcess({**DEFAULTS, "threads": 8}, workers=2) as worker:

        def deviation() -> float:
            low, high = served_through_nginx(worker, tmp_path, clients=16, seconds=2.0)
            return (high - low) / (high + low)

        assert best(deviation, 0.2) <= 0.2


def test_a_unix_socket_serves_too() -> None:
    with WorkerProcess(unix=True) as worker, worker.connect() as wire:
        environ = wire.get("/environ").json()
        assert environ["gateway.peer"] == "unix"
        assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"]) == ("", "localhost")
        assert wire.get("/stream?pieces=3&size=100000").complete
        wire.send("nonsense\r\n\r\n")
        assert wire.answer().status == 400
        assert wire.ended() == "closed"
        assert worker.events("refused")[-1][2] == "unix"


def test_an_ipv4_client_of_a_listener_for_both_families_keeps_its_address() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with WorkerProcess(host="[::]") as worker, worker.connect() as wire:
        environ = wire.get("/environ").json()
        assert environ["gateway.peer"] == environ["REMOTE_ADDR"] == "127.0.0.1"


def test_more_connections_than_allowed_wait_in_the_backlog() -> None:
    with WorkerProcess({"max_connections": 4, "request_head_timeout": 5.0}) as worker:
        first = [worker.connect() for _ in range(4)]
        for wire in first:
            assert wire.get("/hello").status == 200
        with worker.connect() as fifth:
            fifth.send(HELLO)
            assert fifth.silent(0.3)
            close(first)
            assert fifth.answer().status == 200
        assert "Not accepting connections" in worker.log


def test_running_out_of_descriptors_is_survived() -> None:
    with WorkerProcess({"request_head_timeout": 5.0}) as worker:
        subprocess.run(["prlimit", f"--pid={worker.pids[0]}", "--nofile=40:40"], check=True)
        wires = [worker.connect() for _ in range(40)]
        time.sleep(0.3)
        close(wires)
        assert worker.get("/hello").status == 200
        assert "Not accepting connections" in worker.log


def test_a_pinned_worker_runs_on_its_cpu_alone() -> None:
    cpu = max(os.sched_getaffinity(0))
    with WorkerProcess({"cpu": cpu}) as worker:
        for task in Path(f"/proc/{worker.pids[0]}/task").iterdir():
            assert os.sched_getaffinity(int(task.name)) == {cpu}
        assert worker.get("/hello").status == 200
