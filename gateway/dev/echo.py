"""An echo backend: answers every request with what arrived, as JSON, and keeps itself registered at a gateway.

    python -m gateway.dev.echo --id inst-1 --register http://127.0.0.1:8001

It takes a free loopback port, registers under a lease and renews it, so it is there again soon after the gateway was
restarted. SIGTERM, SIGINT or the end of standard input deregister and end it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

TTL: Final = 15  # seconds of a lease
RENEW: Final = 5.0
RETRY: Final = 0.25  # seconds, while the gateway is not there
SHOWN: Final = 4096  # bytes of a request body that come back


class EchoHandler(BaseHTTPRequestHandler):
    """Any method, HTTP/1.1 with keep-alive, bodies with Content-Length or chunked."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._echo
        raise AttributeError(name)

    def _echo(self) -> None:
        shown, size = self._body()
        told = {
            "instance": self.server.instance,  # type: ignore[attr-defined]
            "method": self.command,
            "path": self.path,
            "headers": self.headers.items(),
            "body": shown.decode("utf-8", "replace"),
            "body_size": size,
        }
        data = json.dumps(told, indent=2).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> tuple[bytes, int]:
        """The body's first bytes and its size."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            kept, total = b"", 0
            while size := int(self.rfile.readline(256).partition(b";")[0], 16):
                kept, total = kept + self._read(size, SHOWN - len(kept)), total + size
                self.rfile.readline(256)
            while self.rfile.readline(65536).strip():
                pass  # trailers
            return kept, total
        size = int(self.headers.get("Content-Length") or 0)
        return self._read(size, SHOWN), size

    def _read(self, size: int, keep: int) -> bytes:
        """Read `size` bytes and return at most the first `keep` of them."""
        kept = b""
        while size > 0:
            data = self.rfile.read(min(size, 65536))
            if not data:
                raise ConnectionResetError("the client broke off its body")
            size -= len(data)
            kept += data[: max(0, keep - len(kept))]
        return kept

    def log_message(self, format: str, *args: Any) -> None:
        """The gateway's access log tells it all."""


class EchoServer(ThreadingHTTPServer):
    """Listens on `address` at once; `serve_forever` serves."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, instance: str, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.instance = instance
        super().__init__(address, EchoHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none."""
        if not isinstance(sys.exception(), (OSError, ValueError)):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


class Registrar:
    """Keeps one instance registered at a gateway's internal listener until it is told to stop."""

    def __init__(self, gateway: str, service: str, instance: str, address: str) -> None:
        self._netloc = urlsplit(gateway).netloc
        self._who = {"service": service, "id": instance}
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the renewals and deregister."""
        self._stop.set()
        self._thread.join(timeout=2 * RENEW)
        with contextlib.suppress(OSError, http.client.HTTPException):
            self._call("DELETE", self._who)

    def _run(self) -> None:
        complained = 0
        while not self._stop.is_set():
            pause = RETRY
            try:
                status, text = self._call("POST", {**self._who, "addr": self._address, "ttl": f"{TTL}s"})
            except (OSError, http.client.HTTPException):
                pass  # the gateway is starting, or restarts
            else:
                pause = RENEW
                if status >= 400 and status != complained:
                    complained = status
                    why = f"{self._netloc} answers {status}: {_detail(text)}"
                    print(f"echo {self._who['id']}: not registered: {why}", file=sys.stderr, flush=True)
            self._stop.wait(pause)

    def _call(self, method: str, what: dict[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self._netloc, timeout=RENEW)
        try:
            connection.request(method, "/register", json.dumps(what), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()


def _detail(text: str) -> str:
    """What a refusal says, in one line."""
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return "not in a gateway's words; something else may listen there"


def _end_with(stream: int) -> None:
    """End this process when a descriptor is at its end: whoever started us is gone."""
    while os.read(stream, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gateway.dev.echo", description="An echo backend.")
    parser.add_argument("--id", default="inst-1", help="the instance's id, told in every answer")
    parser.add_argument("--service", default="echo", help="the service to register as")
    parser.add_argument("--port", type=int, default=0, help="a port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--register", metavar="URL", help="a gateway's internal listener")
    parser.add_argument("--follow-stdin", action="store_true", help="end when standard input ends")
    chosen = parser.parse_args(arguments)
    server = EchoServer(chosen.id, ("127.0.0.1", chosen.port))

    def end(*_: Any) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()  # it waits for the loop that we are in

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    print(f"echo {chosen.id} on {server.url}", flush=True)
    registrar = Registrar(chosen.register, chosen.service, chosen.id, server.url) if chosen.register else None
    if registrar:
        registrar.start()
    if chosen.follow_stdin:
        threading.Thread(target=_end_with, args=(0,), daemon=True).start()
    with server:
        server.serve_forever(poll_interval=0.1)
    if registrar:
        registrar.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
