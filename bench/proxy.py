"""A proxied GET, CPU time and throughput, against the peers of this field in the same run.

Usage: python -m bench.proxy [--runs 5] [--seconds 3] [--connections 16] [--only NAME,NAME]

Every peer forwards the same request (84-byte answer, keep-alive on both sides) to the same nginx. Runs are interleaved,
so that a slow minute of the machine hits all of them; the table shows medians. CPU is user + system time of the whole
process tree of the proxy, backend and wrk not counted.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from .load import Load, Process, free_port, wrk

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PYTHON = sys.executable
BIN = Path(sys.executable).parent
BODY = "x" * 84

NGINX = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 100000000;
  {content}
}}
"""
BACKEND = 'server {{ listen 127.0.0.1:{port}; default_type text/plain; location / {{ return 200 "{body}"; }} }}'
PROXY = """
upstream backend {{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 100000000; }}
server {{ listen 127.0.0.1:{port}; location / {{
  proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
"""

GATEWAY = """
version: 1
listeners: {{external: {{bind: ["127.0.0.1:{port}"]}}, internal: {{bind: ["127.0.0.1:{internal}"]}}}}
server: {{workers: {workers}}}
state: {{path: {folder}/state-{port}}}
services:
  echo:
    instances:
{instances}
{settings}
routes:
{routes}
"""
BALANCER_ALONE = """
    breaker: null
    retries: {attempts: 1}
"""
RESILIENCE = """
    slow_start: 30s
    retries: {attempts: 3}
    breaker: {window: 10s, failures: 20, failure_ratio: 50%, slow_call: {over: 5s, ratio: 50%}, max_open_for: 5m}
    health:
      active: {type: http, path: /echo/health, interval: 1s}
      passive: {failures: 10, window: 30s, retry_after: 10s}
"""
INSTANCE = '      - {{id: "{id}", url: "http://127.0.0.1:{backend}"}}'
ROUTE = '  - {{id: "{id}", path: "{path}", service: echo}}'


class Peers:
    """Starts each peer on a free port; all are stopped on leaving."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.backend = free_port()
        self._nginx("backend", BACKEND.format(port=self.backend, body=BODY), self.backend)

    def _start(self, name: str, command: list[str], port: int, **environment: str) -> Process:
        process = Process(name, command, port, **environment)
        self._stack.callback(process.close)
        return process

    def _nginx(self, name: str, content: str, port: int) -> Process:
        path = self._folder / f"{name}.conf"
        path.write_text(NGINX.format(folder=self._folder, name=name, content=content))
        return self._start(name, ["nginx", "-p", str(self._folder), "-c", str(path), "-e", "stderr"], port)

    def direct(self) -> Process:
        port = free_port()
        return self._nginx("direct", BACKEND.format(port=port, body=BODY), port)

    def nginx(self) -> Process:
        port = free_port()
        return self._nginx("nginx", PROXY.format(port=port, backend=self.backend), port)

    def go(self, **environment: str) -> Process:
        binary = self._folder / "goproxy"
        source = HERE / "peers" / "proxy.go"
        cache = {"GOCACHE": str(self._folder / "gocache"), "HOME": str(self._folder)}
        subprocess.run(["go", "build", "-o", str(binary), str(source)], check=True, env={**os.environ, **cache})
        port = free_port()
        command = [str(binary), f"127.0.0.1:{port}", f"http://127.0.0.1:{self.backend}"]
        return self._start("go", command, port, **environment)

    def aiohttp(self) -> Process:
        port = free_port()
        script = str(HERE / "peers" / "aiohttp_proxy.py")
        return self._start("aiohttp", [PYTHON, script, str(port), f"http://127.0.0.1:{self.backend}"], port)

    def _gunicorn(self, name: str, module: str) -> Process:
        port = free_port()
        command = [str(BIN / "gunicorn"), "-c", "/dev/null", "-k", "gthread", "-w", "1", "--threads", "16"]
        command += ["--no-control-socket", "--chdir", str(HERE / "peers"), "-b", f"127.0.0.1:{port}", module]
        return self._start(name, command, port, BACKEND=f"http://127.0.0.1:{self.backend}")

    def hello(self) -> Process:
        return self._gunicorn("hello", "hello:app")

    def flask(self) -> Process:
        return self._gunicorn("flask", "flask_requests:app")

    def gateway(self, *, workers: int = 1, instances: int = 1, routes: int = 1, settings: str = "") -> Process:
        port, internal = free_port(), free_port()
        path = self._folder / f"gateway-{port}.yaml"
        more = [ROUTE.format(id=f"r{n}", path=f"/a{n % 100}/b{n}/*") for n in range(routes - 1)]
        path.write_text(
            GATEWAY.format(
                port=port,
                internal=internal,
                folder=self._folder,
                workers=workers,
                settings=settings,
                instances="\n".join(INSTANCE.format(id=f"i{n}", backend=self.backend) for n in range(instances)),
                routes="\n".join([*more, ROUTE.format(id="echo", path="/echo/*")]),
            )
        )
        command = [str(BIN / "gunicorn"), "-c", str(ROOT / "gunicorn.conf.py"), "--chdir", str(ROOT)]
        command.append("gateway.wsgi:app")
        return self._start("gateway", command, port, GATEWAY_CONFIG=str(path))


ROWS: dict[str, tuple[str, Callable[[Peers], Process]]] = {
    "direct": ("direct to the backend", Peers.direct),
    "nginx": ("nginx proxy_pass", Peers.nginx),
    "go": ("Go httputil.ReverseProxy", Peers.go),
    "go1": ("Go httputil.ReverseProxy, GOMAXPROCS=1", lambda peers: peers.go(GOMAXPROCS="1")),
    "gateway": ("the gateway, 1 worker", Peers.gateway),
    "workers": ("the gateway, 2 workers", lambda peers: peers.gateway(workers=2)),
    "instances": ("the gateway, 1 worker, 1,000 instances", lambda peers: peers.gateway(instances=1000)),
    "routes": ("the gateway, 1 worker, 10,000 routes", lambda peers: peers.gateway(routes=10_000)),
    "alone": ("the gateway, balancer alone", lambda peers: peers.gateway(settings=BALANCER_ALONE)),
    "resilience": ("the gateway, health, retries, all breaker rules", lambda peers: peers.gateway(settings=RESILIENCE)),
    "aiohttp": ("aiohttp + uvloop proxy", Peers.aiohttp),
    "hello": ("gunicorn gthread, hello world", Peers.hello),
    "flask": ("flask + requests, gthread", Peers.flask),
}


def machine() -> str:
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"


def measure(names: list[str], runs: int, seconds: float, connections: int) -> dict[str, list[Load]]:
    results: dict[str, list[Load]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder, ExitStack() as stack:
        os.chmod(folder, 0o755)  # nginx's worker runs as another user
        peers = Peers(stack, Path(folder))
        servers = {name: ROWS[name][1](peers) for name in names}
        for name in names:
            wrk(servers[name].url, servers[name].pid, seconds=1, connections=connections)
        for _ in range(runs):
            for name in names:
                results[name].append(
                    wrk(servers[name].url, servers[name].pid, seconds=seconds, connections=connections)
                )
    return results


def table(results: dict[str, list[Load]]) -> str:
    base = median(load.micros for load in results["go"]) if "go" in results else None
    lines = [
        "| | CPU µs a request | of Go's | requests/s | p50 ms | p99 ms | errors |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, loads in results.items():
        micros = median(load.micros for load in loads)
        ratio = f"{micros / base:.2f}" if base else ""
        rate, p50, p99 = (median(getattr(load, key) for load in loads) for key in ("rate", "p50", "p99"))
        errors = sum(load.errors for load in loads)
        lines.append(f"| {ROWS[name][0]} | {micros:.1f} | {ratio} | {rate:,.0f} | {p50:.2f} | {p99:.2f} | {errors} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--only", default="", help=f"of {','.join(ROWS)}")
    arguments = parser.parse_args()
    names = [name for name in ROWS if not arguments.only or name in arguments.only.split(",")]
    missing = [tool for tool in ("wrk", "nginx", *(["go"] if "go" in names else [])) if shutil.which(tool) is None]
    if missing:
        print(f"bench: not installed: {', '.join(missing)} (Debian: wrk, nginx-light, golang-go)", file=sys.stderr)
        return 1
    how = f"medians of {arguments.runs} interleaved runs of {arguments.seconds:g} s, wrk -t1 -c{arguments.connections}"
    print(f"{machine()}; {how}")
    print(table(measure(names, arguments.runs, arguments.seconds, arguments.connections)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
