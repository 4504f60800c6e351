"""Twenty reloads under load: whatever exists is served, what is added is live soon, what is broken changes nothing."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.load import Call, Load
from tests.support.nginx import Nginx
from tests.support.process import GatewayProcess
from tests.support.scenario_backend import BackendProcess
from tests.support.transfer import Download
from tests.support.wire import eventually, request

from .conftest import Figures
from .scale import MIB, SCALE

RELOADS = 20
BROKEN_EVERY = 5
LIVE_WITHIN = 2.0  # seconds from the SIGHUP until an edit serves
CONNECTIONS = 32
FRESH = 8  # new connections that must all see an edit that is live

CALLS = [
    Call("get", "/echo/get"),
    Call("post", "/echo/post", "POST", b"x" * 2_000),
    Call("get", "/echo/get?a=b"),
    Call("post large", "/echo/large", "POST", b"y" * 100_000),  # streamed: more than the gateway reads at once
    Call("put", "/echo/put", "PUT", b"z"),
]
MISTAKES = [  # a line that is put in, and what must be said of it
    ("- {id: broken, path: /broken, servce: echo}", "servce"),
    ("- {id: broken, path: /broken, service: nowhere}", "nowhere"),
    ("- {id: broken, path: /broken, service: echo, timeouts: {request: soon}}", "timeouts.request"),
    ("- {id: broken, path: /broken, service: echo]", "YAML"),
]


def document(backend: BackendProcess, added: list[int]) -> dict[str, Any]:
    return {
        "server": {"reload_drain": "2m"},
        "logging": {"sample": "0%"},
        "services": {"echo": {"instances": [{"id": "static", "url": backend.url}]}},
        "routes": [
            {"id": name, "path": f"/{name}/*", "service": "echo"} for name in ["echo", *(f"r{n}" for n in added)]
        ],
    }


@contextlib.contextmanager
def entrance(kind: str, gateway: GatewayProcess, folder: Path) -> Iterator[int]:
    """The port that clients use."""
    if kind == "direct":
        yield gateway.external_port
    else:
        with Nginx(folder, gateway.external_port) as nginx:
            yield nginx.port
            assert "[error]" not in nginx.errors, nginx.errors


class Editor:
    """Edits the gateway's file again and again, and sees what becomes of it."""

    def __init__(self, gateway: GatewayProcess, port: int, backend: BackendProcess) -> None:
        self._gateway = gateway
        self._port = port
        self._backend = backend
        self._added: list[int] = []
        self.took: list[float] = []  # seconds until each good edit was live

    def good(self, number: int) -> Call:
        """Add a route, see it live in time; a call for it."""
        generation = self._gateway.generation
        self._added.append(number)
        self._gateway.write(document(self._backend, self._added))
        began = time.monotonic()
        self._gateway.hup()
        eventually(lambda: self._gateway.generation > generation, LIVE_WITHIN + 8, what=f"edit {number} is in force")
        target = f"/r{number}/fresh"
        statuses = [request(self._port, "GET", target).status for _ in range(FRESH)]
        self.took.append(time.monotonic() - began)
        assert statuses == [200] * FRESH, f"route {number} after it was in force"
        return Call(f"r{number}", f"/r{number}/load")

    def broken(self, number: int) -> None:
        """Make a mistake, see it refused with its line and nothing else changed."""
        generation = self._gateway.generation
        before = self._gateway.readyz["last_reload"]
        good = self._gateway.config_path.read_text()
        line = good.splitlines().index("routes:") + 2
        mistake, told = MISTAKES[number // BROKEN_EVERY % len(MISTAKES)]
        self._gateway.write(good.replace("routes:\n", f"routes:\n{mistake}\n"))
        self._gateway.hup()
        report = eventually(
            lambda: (found := self._gateway.readyz["last_reload"]) != before and found, what="a report of the edit"
        )
        assert report["ok"] is False
        assert [error["line"] for error in report["errors"]] == [line], report
        assert told in f"{report['errors'][0]['path']} {report['errors'][0]['message']}"
        self._gateway.wait_event("reload_refused", line=line)
        assert self._gateway.generation == generation
        self._gateway.write(good)


@pytest.mark.load
@pytest.mark.timeout(200)
@pytest.mark.parametrize("kind", ["direct", "nginx"])
def test_twenty_reloads_cost_no_request(kind: str, tmp_path: Path, backends, figures: Figures) -> None:
    static, *registered = backends("static", "first", "second")
    with GatewayProcess(document(static, []), workers=2) as gateway, entrance(kind, gateway, tmp_path) as port:
        for one in registered:
            assert gateway.register("echo", one.name, one.url).status == 204
        editor = Editor(gateway, port, static)
        download = Download(port, "/echo/slow", 30 * MIB, seconds=SCALE.download_seconds)
        with Load(port, CALLS, connections=CONNECTIONS, rate=SCALE.reload_rate) as load:
            for number in range(1, RELOADS + 1):
                due = time.monotonic() + SCALE.reload_every
                if number % BROKEN_EVERY == 0:
                    editor.broken(number)
                else:
                    load.add(editor.good(number))
                assert instances(gateway) == {"static": "static", "first": "registered", "second": "registered"}
                time.sleep(max(0.0, due - time.monotonic()))
            spanned = download.running or download.seconds > SCALE.reload_every
        download.result()
        drained = eventually(lambda: len(gateway.worker_pids) == 2, 30, what="the old workers are gone")
    report = load.report
    figures(
        f"{RELOADS} reloads {kind}: {report}; good edits live within "
        f"{sorted(editor.took)[len(editor.took) // 2]:.2f} s (median), {max(editor.took):.2f} s (slowest)"
    )
    assert report.failures == [], report.errors.most_common(5)
    assert spanned
    assert drained
    assert max(editor.took) < LIVE_WITHIN
    assert all(one.total > 0 for one in [static, *registered])


def instances(gateway: GatewayProcess) -> dict[str, str]:
    (service,) = gateway.get("/services", internal=True).json()["services"]
    return {one["id"]: one["source"] for one in service["instances"]}


def test_connections_kept_over_a_reload_see_the_new_routes(backends) -> None:
    """A proxy keeps idle connections; what it asks on them after a reload is answered by what is in force."""
    (backend,) = backends("static")
    with GatewayProcess(document(backend, []), workers=2) as gateway, contextlib.ExitStack() as stack:
        kept = [http.client.HTTPConnection("127.0.0.1", gateway.external_port, timeout=10) for _ in range(FRESH)]
        for one in kept:
            stack.callback(one.close)
            assert status(one, "/echo/before") == 200
        gateway.reload(document(backend, [1]))
        assert [status(one, "/r1/after") for one in kept] == [200] * FRESH


def status(connection: http.client.HTTPConnection, target: str) -> int:
    connection.request("GET", target)
    answer = connection.getresponse()
    answer.read()
    return answer.status
