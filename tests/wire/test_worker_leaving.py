"""How a worker leaves: on a stop, on a reload, at once. Against a real gunicorn with the worker class."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from tests.support.process import eventually
from tests.support.worker import Wire, WorkerProcess

HELLO = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or ") Z " in Path(f"/proc/{pid}/stat").read_text()


def leave(worker: WorkerProcess) -> int:
    """Tell the worker to leave, as the master does on a stop; its pid, once it is leaving."""
    [pid] = worker.pids
    mark = len(worker.log)
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: "Leaving when" in worker.log[mark:])
    return pid


def refused(worker: WorkerProcess, plane: int) -> bool:
    try:
        worker.connect(plane).sock.close()
    except ConnectionRefusedError:
        return True
    return False


def begin(wire: Wire, path: str) -> None:
    wire.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")


def hold(worker: WorkerProcess, wire: Wire) -> None:
    """Begin a request that is answered when /open is asked."""
    begin(wire, "/wait")
    eventually(lambda: worker.events("waiting"))


# --- a stop
def test_a_worker_without_connections_leaves_at_once() -> None:
    with WorkerProcess() as worker:
        began = time.monotonic()
        pid = leave(worker)
        eventually(lambda: gone(pid))
        assert time.monotonic() - began < 10


def test_what_is_under_way_is_finished_and_the_connection_closed() -> None:
    with WorkerProcess() as worker, worker.connect() as wire, worker.connect() as opener, worker.connect() as stream:
        assert opener.get("/hello").value("Connection") is None
        hold(worker, wire)
        begin(stream, "/flush")
        stream.head()
        pid = leave(worker)
        assert opener.get("/open").value("Connection") == "close"
        assert opener.ended() == "closed"
        heard = wire.answer()
        assert (heard.body, heard.value("Connection")) == (b"True", "close")
        assert wire.ended() == "closed"
        assert stream._chunked("HTTP/1.1 200 OK", []).body == b"late"
        eventually(lambda: gone(pid))


def test_idle_connections_stay_for_a_request_that_is_on_its_way() -> None:
    with WorkerProcess({"keepalive": 30.0}) as worker, worker.connect() as early, worker.connect() as never:
        assert early.get("/hello").status == 200
        assert never.get("/hello").status == 200
        began = time.monotonic()
        pid = leave(worker)
        assert early.get("/hello").value("Connection") == "close"
        assert never.ended() == "closed"
        eventually(lambda: gone(pid))
        assert 2.0 <= time.monotonic() - began < 15


def test_what_does_not_end_in_time_is_reset() -> None:
    with WorkerProcess({"graceful_timeout": 0.5}) as worker, worker.connect() as wire:
        wire.send("GET /stream?pieces=100&pause=0.1 HTTP/1.0\r\n\r\n")
        wire.head()
        pid = leave(worker)
        assert wire._until_end()  # a reset: up to a close it would look whole
        eventually(lambda: gone(pid))
        assert "Leaving with 1 connections open, their time is over" in worker.log


def test_connections_in_the_backlog_are_served_on_a_stop() -> None:
    """They were accepted by the kernel before the stop; nobody else would serve them."""
    with WorkerProcess() as worker:
        [pid] = worker.pids
        os.kill(pid, signal.SIGSTOP)
        wires = [worker.connect() for _ in range(5)]
        for wire in wires:
            wire.send(HELLO)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)
        for wire in wires:
            assert wire.answer().body == b"hello"
            wire.sock.close()


def test_on_a_stop_the_internal_listener_serves_until_the_external_requests_are_done() -> None:
    """Their backends may call in, and whoever asks whether the gateway is ready gets an answer."""
    with WorkerProcess(planes=("external", "internal")) as worker, worker.connect() as wire:
        hold(worker, wire)
        [pid] = worker.pids
        worker.signal(signal.SIGTERM)
        eventually(lambda: "Leaving when" in worker.log)
        eventually(lambda: refused(worker, 0))  # at once, instead of waiting for an accept that never comes
        assert worker.get("/hello", 1).body == b"hello"
        assert worker.get("/open", 1).status == 200
        assert wire.answer().body == b"True"
        wire.sock.close()
        eventually(lambda: gone(pid))


def test_sigquit_ends_a_worker_at_once() -> None:
    with WorkerProcess() as worker, worker.connect() as wire, worker.connect() as idle:
        assert idle.get("/hello").status == 200
        hold(worker, wire)
        [pid] = worker.pids
        os.kill(pid, signal.SIGQUIT)
        eventually(lambda: gone(pid))  # its graceful time is twice what this waits


def test_a_worker_whose_master_died_finishes_and_leaves() -> None:
    with WorkerProcess() as worker, worker.connect() as wire:
        opener = worker.connect()
        assert opener.get("/hello").status == 200
        hold(worker, wire)
        [pid] = worker.pids
        worker.process.kill()
        eventually(lambda: "Leaving when" in worker.log)
        assert opener.get("/open").value("Connection") == "close"
        assert wire.answer().body == b"True"
        opener.sock.close()
        eventually(lambda: gone(pid))


def test_a_leaving_worker_gives_signs_of_life() -> None:
    """gunicorn kills a worker that is silent for `timeout`, 3 s here."""
    with WorkerProcess(arguments=("--timeout", "3")) as worker, worker.connect() as wire:
        begin(wire, "/sleep?seconds=5")
        eventually(lambda: worker.counts[0])
        leave(worker)
        assert wire.answer().body == b"slept"
        assert "WORKER TIMEOUT" not in worker.log


# --- a reload
def reload(worker: WorkerProcess) -> int:
    """SIGHUP; the old worker's pid, once it is leaving and the new one serves."""
    [old] = worker.pids
    mark = len(worker.log)
    worker.signal(signal.SIGHUP)
    eventually(lambda: "Leaving when" in worker.log[mark:])
    eventually(lambda: worker.get("/pid").body != str(old).encode())
    return old


def test_idle_connections_outlive_a_reload_until_their_time_is_over() -> None:
    with WorkerProcess({"keepalive": 7.0}) as worker, worker.connect() as used, worker.connect() as idle:
        assert used.get("/hello").status == 200
        assert idle.get("/hello").status == 200
        began = time.monotonic()
        reload(worker)
        assert idle.silent(3.0)  # longer than a stop gives it
        heard = used.get("/hello")
        assert (heard.body, heard.value("Connection")) == (b"hello", "close")
        assert idle.ended() == "closed"
        assert time.monotonic() - began >= 6.8


def test_the_new_worker_serves_while_the_old_one_finishes() -> None:
    with WorkerProcess() as worker, worker.connect() as long:
        begin(long, "/stream?pieces=20&pause=0.2")
        long.head()
        old = reload(worker)
        assert not gone(old)
        assert long._chunked("HTTP/1.1 200 OK", []).complete
        long.sock.close()
        eventually(lambda: gone(old))


def test_a_stop_during_the_drain_of_a_reload_shortens_it() -> None:
    """From 60 s to a stop's."""
    with WorkerProcess({"keepalive": 60.0}) as worker, worker.connect() as idle:
        assert idle.get("/hello").status == 200
        old = reload(worker)
        assert idle.silent(0.2)
        worker.stopping()
        eventually(lambda: gone(old))


def test_reloads_lose_no_request() -> None:
    """Requests on kept and on fresh connections, over 5 reloads."""
    failures: list[object] = []
    answered = [0]
    stop = threading.Event()

    def client(worker: WorkerProcess, kept: bool) -> None:
        while not stop.is_set():
            try:
                with worker.connect() as wire:
                    while not stop.is_set():
                        heard = wire.get("/hello") if kept else wire.get("/hello", "Connection: close")
                        assert heard.body == b"hello"
                        answered[0] += 1
                        if heard.value("Connection") == "close":
                            break
            except Exception as error:
                failures.append(error)

    with WorkerProcess({"keepalive": 10.0}, workers=2) as worker:
        threads = [threading.Thread(target=client, args=(worker, number % 2 == 0)) for number in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            worker.signal(signal.SIGHUP)
            time.sleep(0.7)
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert answered[0] > 500
