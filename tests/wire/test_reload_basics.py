"""Reloads of a real master with real workers, on an application that cannot be at fault itself."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import BARE, GatewayProcess, eventually

Config = dict[str, Any]


def config(*routes: str, **more: Any) -> Config:
    """A configuration with these route ids."""
    fixed = {"status": 200}
    return {
        "services": {},
        "routes": [{"id": one, "path": f"/{one}", "fixed_response": fixed} for one in routes],
        **more,
    }


def gateway(*routes: str, workers: int = 1, **options: Any) -> GatewayProcess:
    return GatewayProcess(config(*routes), workers=workers, command=BARE, **options)


def served(process: GatewayProcess) -> list[str]:
    routes: list[str] = process.get("/").json()["routes"]
    return routes


def refused(process: GatewayProcess) -> list[dict[str, Any]]:
    """Wait for a refused reload; its errors."""

    def errors() -> list[dict[str, Any]]:
        report = process.readyz["last_reload"]
        return [] if report is None or report["ok"] else list(report["errors"])

    return list(eventually(errors, what="a refused reload"))


class Slow:
    """A request that takes `seconds`, begun when this is made."""

    def __init__(self, process: GatewayProcess, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._answer = self._pool.submit(process.get, f"/sleep/{seconds}", timeout=seconds + 20)
        time.sleep(0.2)  # until it is with its worker

    def status(self) -> int:
        self._pool.shutdown()
        return self._answer.result().status


@pytest.fixture
def load() -> Iterator[Callable[[GatewayProcess], Callable[[], tuple[int, list[str]]]]]:
    """Starts clients, half of them on kept-alive connections; what it returns stops them and tells what they saw."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def begin(process: GatewayProcess) -> Callable[[], tuple[int, list[str]]]:
        answers: list[int] = []
        failures: list[str] = []

        def client(keep: bool) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", process.external_port, timeout=10)
            while not stop.is_set():
                try:
                    connection.request("GET", "/", headers={} if keep else {"Connection": "close"})
                    answer = connection.getresponse()
                    answer.read()
                    answers.append(answer.status)
                    if answer.status != 200:
                        failures.append(f"status {answer.status}")
                except (OSError, http.client.HTTPException) as error:
                    failures.append(repr(error))
                    connection.close()
                time.sleep(0.002)
            connection.close()

        for number in range(8):
            threads.append(threading.Thread(target=client, args=(number % 2 == 0,)))
            threads[-1].start()

        def end() -> tuple[int, list[str]]:
            stop.set()
            for thread in threads:
                thread.join()
            return len(answers), failures

        return end

    yield begin
    stop.set()
    for thread in threads:
        thread.join()


# --- accepted -------------------------------------------------------------------------------------------------------
def test_an_edit_is_live_after_a_sighup():
    with gateway("a") as process:
        assert served(process) == ["a"]
        began = time.monotonic()
        assert process.reload(config("a", "b")) == 2
        assert served(process) == ["a", "b"]
        assert time.monotonic() - began < 2
        assert process.readyz["last_reload"]["ok"] is True


def test_an_unchanged_file_is_an_accepted_load_too():
    with gateway("a") as process:
        assert [process.reload(), process.reload()] == [2, 3]


def test_the_number_of_workers_follows_the_file_and_w_overrides_it():
    with gateway("a", workers=1) as process:
        process.reload(config("a", server={"workers": 3}))
        eventually(lambda: len(process.worker_pids) == 3)
    with gateway("a", workers=1, arguments=["-w", "2"]) as process:
        assert len(process.worker_pids) == 2
        process.reload(config("a", server={"workers": 3}))
        eventually(lambda: len(process.worker_pids) == 2)


def test_workers_of_two_generations_never_share_a_slot_and_each_generation_fills_the_cpus():
    with gateway("a", workers=2) as process:
        slow = [Slow(process, 2.0) for _ in range(4)]
        process.reload()
        workers = process.readyz["workers"].values()
        assert sorted(one["generation"] for one in workers if one["ready"]).count(2) == 2
        assert len(workers) >= 3  # at least one of the first generation still has a request
        assert [one.status() for one in slow] == [200] * 4


def test_nothing_is_lost_when_sighups_come_faster_than_reloads(load):
    with gateway("a", workers=2) as process:
        end = load(process)
        for number in range(20):
            process.write(config("a", f"b{number}"))
            process.hup()
            time.sleep(0.05)
        eventually(lambda: served(process) == ["a", "b19"], what="the last edit is served")
        eventually(lambda: len(process.worker_pids) == 2, what="the old workers are gone")
        count, failures = end()
        assert failures == []
        assert count > 200
        assert 2 <= process.generation <= 21


def test_a_sighup_during_the_start_is_not_lost():
    process = gateway("a")
    try:
        process.start(wait=False)
        eventually(lambda: "Starting gunicorn" in process.log_text)
        process.hup()
        process.wait_ready()
        eventually(lambda: process.generation == 2)
    finally:
        process.stop()


def test_a_sighup_to_the_whole_process_group_reloads_and_kills_nobody():
    with gateway("a", workers=2) as process:
        before = process.worker_pids
        os.killpg(process.pid, signal.SIGHUP)
        eventually(lambda: process.generation == 2)
        eventually(lambda: not set(before) & set(process.worker_pids))
        assert "SIGHUP" not in "".join(line for line in process.lines if "worker_ended" in line)


def test_the_log_changes_its_form_with_the_file():
    with gateway("a") as process:
        process.reload(config("a", logging={"format": "console", "level": "error"}))
        said = len(process.lines)
        process.write("nonsense")
        process.hup()
        refused(process)
        fresh = process.lines[said:]
        assert any("reload_refused" in line and not line.startswith("{") for line in fresh)
        assert not any("Handling signal" in line for line in fresh)


# --- refused --------------------------------------------------------------------------------------------------------
def test_a_broken_edit_is_refused_with_its_line_and_what_was_before_goes_on():
    with gateway("a") as process:
        process.write(
            "version: 1\nservices: {}\nroutes:\n  - {id: b, path: /b, fixed_response: {status: 200}, pth: x}\n"
        )
        process.hup()
        (error,) = refused(process)
        assert (error["line"], error["path"]) == (4, "routes[0].pth")
        assert error["file"] == str(process.config_path)
        assert process.wait_event("reload_refused", line=4)["level"] == "error"
        assert served(process) == ["a"]
        assert process.generation == 1


def test_every_error_has_a_log_line():
    with gateway("a") as process:
        process.write("version: 1\nservices: {}\nroutes: []\nserver: {threads: 0}\nlogging: {level: loud}\n")
        process.hup()
        assert len(refused(process)) == 2
        assert {event["line"] for event in process.events if event["event"] == "reload_refused"} == {4, 5}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no such file"),
        ("", "empty"),
        ("version: 1\nservices: {}\nroutes:\n  - {id: b, path", "YAML"),
        ("version: 1\nservices: {}\nroutes: []\nadmin: {token: '${file:gone.txt}'}\n", "no such file"),
    ],
    ids=["vanished", "empty", "half-written", "referenced file missing"],
)
def test_a_file_in_transition_is_refused_and_the_next_good_one_taken(text: str | None, why: str):
    with gateway("a") as process:
        if text is None:
            process.config_path.unlink()
        else:
            process.write(text)
        process.hup()
        errors = refused(process)
        assert why in " ".join(f"{error['message']} {error['path']}" for error in errors)
        assert served(process) == ["a"]
        process.reload(config("b"))
        assert served(process) == ["b"]
        assert process.readyz["last_reload"]["ok"] is True


def test_what_only_a_restart_can_change_is_refused():
    with gateway("a") as process:
        changed = config("a", state={"path": str(process.folder / "elsewhere"), "max_size": "32MiB"})
        changed["listeners"] = {"external": {"bind": ["127.0.0.1:1"]}}
        process.write(changed)
        process.hup()
        errors = refused(process)
        assert {error["path"] for error in errors} == {"listeners.external.bind", "state.path", "state.max_size"}
        assert all("needs a restart" in error["message"] and error["line"] > 1 for error in errors)
        assert served(process) == ["a"]


def test_a_module_that_cannot_be_imported_is_refused(tmp_path: Path):
    with gateway("a", env={"PYTHONPATH": str(tmp_path)}) as process:
        (tmp_path / "broken_setup.py").write_text("def configure(registry:\n")
        process.write(config("b", setup="broken_setup:configure"))
        process.hup()
        (error,) = refused(process)
        assert error["path"] == "setup"
        assert "SyntaxError" in error["message"]
        (tmp_path / "broken_setup.py").write_text("def configure(registry): ...\n")
        process.reload()
        assert served(process) == ["b"]


def test_workers_that_cannot_start_leave_the_old_ones_serving(load):
    with gateway("a", workers=2) as process:
        end = load(process)
        process.write(config("b", setup="tests.support.bare:fails"))
        process.hup()
        (error,) = refused(process)
        assert error["message"] == "its workers do not start: RuntimeError; the log holds the traceback"
        assert "setup fails on purpose" in process.log_text
        assert served(process) == ["a"]
        eventually(lambda: len(process.worker_pids) == 2)
        assert process.reload(config("c")) == 2  # accepted loads are counted, and the first was none
        assert served(process) == ["c"]
        assert end()[1] == []


def test_workers_that_kill_themselves_at_their_start_leave_the_old_ones_serving():
    with gateway("a") as process:
        process.write(config("b", setup="tests.support.bare:dies"))
        process.hup()
        assert refused(process)[0]["message"] == "its workers do not start: the first was ended by SIGKILL"
        assert served(process) == ["a"]


def test_what_keeps_workers_from_starting_is_told_with_its_key():
    with gateway("a") as process:
        process.write(config("b", setup="tests.support.bare:cannot"))
        process.hup()
        (error,) = refused(process)
        assert (error["path"], error["message"]) == ("setup", "its workers do not start: there is no licence")
        told = process.wait_event("start_failed")
        assert (told["path"], told["message"]) == ("setup", "there is no licence")
        assert "Traceback" not in process.log_text


def test_a_function_that_fails_only_in_workers_is_told_with_its_traceback(tmp_path: Path):
    flag = tmp_path / "examined"
    lines = [
        "from pathlib import Path",
        f"flag = Path({str(flag)!r})",
        "if flag.exists():",
        "    raise OSError('no licence')",
    ]
    (tmp_path / "picky.py").write_text("\n".join([*lines, "flag.touch()", "def choose(request): ..."]))
    with GatewayProcess(config("a"), env={"PYTHONPATH": str(tmp_path)}) as process:
        process.write(config("b", routing={"function": "picky:choose"}))
        process.hup()
        (error,) = refused(process)
        assert error["path"] == "routing.function"
        assert error["message"] == "its workers do not start: picky cannot be imported: OSError: no licence"
        told = process.wait_event("start_failed", path="routing.function")
        assert "picky.py" in told["exception"]
        assert all(line.startswith("{") for line in process.lines)
        assert process.get("/a").status == 200


def test_workers_that_hang_at_their_start_do_not_hold_up_the_next_edit():
    with gateway("a") as process:
        process.write(config("b", setup="tests.support.bare:hangs"))
        process.hup()
        process.wait_event("reload_accepted", generation=2)
        assert served(process) == ["a"]
        process.write(config("c"))
        process.hup()
        eventually(lambda: served(process) == ["c"])
        eventually(lambda: len(process.worker_pids) == 1)


# --- workers that die -----------------------------------------------------------------------------------------------
def test_a_worker_killed_after_a_broken_edit_comes_back_with_the_last_good_configuration():
    with gateway("a") as process:
        process.write("nonsense")
        process.hup()
        refused(process)
        (worker,) = process.worker_pids
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: process.worker_pids not in ([], [worker]))
        assert served(process) == ["a"]
        assert process.get("/").json()["pid"] != worker


def test_a_worker_that_dies_while_others_drain_is_replaced_at_once_and_sighups_are_answered():
    with gateway("a", workers=1) as process:
        slow = Slow(process, 6.0)
        (draining,) = process.worker_pids
        process.reload(config("b"))
        fresh = process.get("/").json()["pid"]
        assert fresh != draining
        began = time.monotonic()
        os.kill(fresh, signal.SIGKILL)
        assert process.get("/").json()["pid"] not in (fresh, draining)
        assert time.monotonic() - began < 2
        process.reload(config("c"))
        assert served(process) == ["c"]
        assert time.monotonic() - began < 4
        assert draining in process.worker_pids
        assert slow.status() == 200
        eventually(lambda: draining not in process.worker_pids)


def test_a_worker_that_is_killed_is_replaced_at_once():
    with gateway("a", workers=2) as process:
        for _ in range(3):
            before = process.worker_pids
            began = time.monotonic()
            os.kill(before[0], signal.SIGKILL)
            eventually(lambda: len(process.worker_pids) == 2 and before[0] not in process.worker_pids, every=0.002)  # noqa: B023
            assert time.monotonic() - began < 0.9  # the main loop's own rhythm is a second


def test_a_signal_without_a_name_that_kills_a_worker_is_nothing_special():
    with gateway("a") as process:
        (worker,) = process.worker_pids
        os.kill(worker, 40)
        process.wait_event("worker_ended", how="signal 40")
        assert process.get("/").json()["pid"] != worker


def test_a_first_start_that_fails_ends_the_gateway():
    process = GatewayProcess(config("a", setup="tests.support.bare:fails"), workers=2, command=BARE)
    try:
        process.start(wait=False)
        assert process.wait_exit() == 3
        assert "setup fails on purpose" in process.log_text
    finally:
        process.stop()


def test_ttin_and_ttou_add_and_remove_a_worker_that_finishes_its_requests():
    with gateway("a", workers=1) as process:
        process.signal(signal.SIGTTIN)
        eventually(lambda: sum(worker["ready"] for worker in process.readyz["workers"].values()) == 2)
        slow = [Slow(process, 1.0) for _ in range(3)]
        process.signal(signal.SIGTTOU)
        eventually(lambda: len(process.worker_pids) == 1)
        assert [one.status() for one in slow] == [200] * 3
        process.signal(signal.SIGTTOU)  # the last one stays
        assert served(process) == ["a"]


# --- the end --------------------------------------------------------------------------------------------------------
def test_sigterm_during_a_drain_ends_everything_and_lets_requests_finish():
    with gateway("a") as process:
        slow = Slow(process, 3.0)
        process.reload(config("b"))
        workers = process.worker_pids
        assert len(workers) == 2
        process.signal(signal.SIGTERM)
        assert slow.status() == 200
        assert process.wait_exit() == 0
        assert all(not Path(f"/proc/{pid}").exists() for pid in workers)


def test_a_stop_gives_requests_no_more_than_graceful_timeout():
    with GatewayProcess(config("a", server={"graceful_timeout": "1s"}), command=BARE) as process:
        slow = ThreadPoolExecutor(1)
        answer = slow.submit(process.get, "/sleep/20", timeout=30)
        time.sleep(0.3)
        process.reload()
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        assert process.wait_exit() == 0
        assert time.monotonic() - began < 5
        with pytest.raises((OSError, http.client.HTTPException)):
            answer.result()
        slow.shutdown()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_quick_stop_waits_for_nobody(number: int):
    with gateway("a", workers=2) as process:
        slow = ThreadPoolExecutor(1)
        answer = slow.submit(process.get, "/sleep/20", timeout=30)
        time.sleep(0.3)
        process.reload()
        began = time.monotonic()
        process.signal(number)
        assert process.wait_exit() == 0
        assert time.monotonic() - began < 4
        with pytest.raises((OSError, http.client.HTTPException)):
            answer.result()
        slow.shutdown()


def test_a_second_master_beside_the_first_is_refused():
    with gateway("a") as process:
        process.signal(signal.SIGUSR2)
        process.wait_event("signal_refused")
        assert served(process) == ["a"]
