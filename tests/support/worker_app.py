"""A WSGI application that does on request whatever an application may do to the server under it.

`refused` makes it one that renders the server's refusals, as the gateway's own application does. What happened is kept
and told under /events: refusals, closes of bodies, what broke a read.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from gateway.errors import Refusal
from gateway.exchange import Answer, Plane

TEXT = [("Content-Type", "text/plain")]


class Body:
    """An iterator with a close() that is counted."""

    def __init__(self, app: TestApplication, pieces: Iterator[bytes], name: str) -> None:
        self._app = app
        self._pieces = pieces
        self._name = name

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._app.note("closed", self._name)


class TestApplication:
    __test__ = False

    def __init__(self) -> None:
        self.events: list[list[str]] = []
        self.gate = threading.Event()

    def note(self, *event: str) -> None:
        self.events.append(list(event))

    def refused(self, refusal: Refusal, plane: Plane, peer: str, head: bytes) -> Answer:
        self.note("refused", refusal.reason, plane, peer, head.decode("latin-1"))
        headers = [("Content-Type", "application/problem+json"), ("X-Reason", refusal.reason)]
        if refusal.retry_after is not None:
            headers.append(("Retry-After", str(round(refusal.retry_after))))
        return Answer(refusal.status, headers, [json.dumps({"detail": refusal.detail}).encode()], refusal=refusal)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
        action = getattr(self, "do" + environ["PATH_INFO"].replace("/", "_"), None)
        if action is None:
            start_response("404 Not Found", TEXT)
            return [b"no such thing"]
        return action(environ, start_response, **query)  # type: ignore[no-any-return]

    # --- whole answers
    def do_hello(self, environ: Any, start: Any, size: str = "5") -> list[bytes]:
        start("200 OK", TEXT)
        return [b"hello"[: int(size)] if int(size) <= 5 else b"x" * int(size)]

    def do_environ(self, environ: Any, start: Any, **query: str) -> list[bytes]:
        start("200 OK", [("Content-Type", "application/json")])
        simple = {key: value for key, value in environ.items() if isinstance(value, str | int | float | bool | list)}
        return [
            json.dumps(
                {**simple, "input": type(environ["wsgi.input"]).__name__, "thread": threading.get_ident()}
            ).encode()
        ]

    def do_pid(self, environ: Any, start: Any) -> list[bytes]:
        start("200 OK", TEXT)
        return [str(os.getpid()).encode()]

    def do_events(self, environ: Any, start: Any) -> list[bytes]:
        start("200 OK", TEXT)
        return [json.dumps(self.events).encode()]

    def do_status(self, environ: Any, start: Any, code: str = "204", length: str = "") -> list[bytes]:
        start(f"{code} Whatever", [("Content-Length", length)] if length else [])
        return [b"not to be sent"]

    def do_headers(
        self, environ: Any, start: Any, name: str = "X-A", value: str = "b", status: str = "200 OK"
    ) -> list[bytes]:
        start(status, [("Date", "then"), ("Server", "mine"), (name, value)])
        return [b"ok"]

    def do_parts(self, environ: Any, start: Any) -> list[bytes]:
        start("200 OK", TEXT)
        return [b"one", b"", b"two"]

    def do_write(self, environ: Any, start: Any) -> list[bytes]:
        write = start("200 OK", TEXT)
        write(b"writ")
        write(b"ten ")
        return [b"and returned"]

    def do_forgot(self, environ: Any, start: Any) -> list[bytes]:
        return [b"no start_response"]

    def do_raise(self, environ: Any, start: Any, kind: str = "ValueError") -> list[bytes]:
        raise {"ValueError": ValueError("a secret"), "SystemExit": SystemExit(3)}[kind]

    def do_replace(self, environ: Any, start: Any) -> list[bytes]:
        start("200 OK", TEXT)
        try:
            raise ValueError
        except ValueError as error:
            start("502 Replaced", TEXT, (ValueError, error, None))
        return [b"replaced"]

    # --- bodies
    def do_echo(self, environ: Any, start: Any, size: str = "-1", limit: str = "") -> list[bytes]:
        if limit:
            environ["wsgi.input"].limit = int(limit)
        try:
            parts = []
            while part := environ["wsgi.input"].read(int(size)):
                parts.append(part)
        except Refusal as refusal:
            self.note("read", refusal.reason)
            raise
        start("200 OK", TEXT)
        return [b"".join(parts)]

    def do_answer_first(self, environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", TEXT)
        yield b"begin "
        yield environ["wsgi.input"].read()

    def do_count(self, environ: Any, start: Any, limit: str) -> list[bytes]:
        environ["wsgi.input"].limit = int(limit)
        total = 0
        while part := environ["wsgi.input"].read1(65536):
            total += len(part)
        start("200 OK", TEXT)
        return [str(total).encode()]

    def do_unread(self, environ: Any, start: Any, read: str = "0") -> list[bytes]:
        environ["wsgi.input"].read(int(read))
        start("200 OK", TEXT)
        return [b"not read"]

    # --- streams
    def do_stream(
        self, environ: Any, start: Any, pieces: str = "3", size: str = "4", length: str = "", **more: str
    ) -> Body:
        start("200 OK", [*TEXT, *([("Content-Length", length)] if length else [])])
        return Body(self, self._pieces(int(pieces), int(size), **more), environ["RAW_URI"])

    def _pieces(self, pieces: int, size: int, fail: str = "", refuse: str = "", pause: str = "0") -> Iterator[bytes]:
        for number in range(pieces):
            if fail == str(number):
                raise ValueError("broken")
            if refuse == str(number):
                raise Refusal("broken")
            if number:
                time.sleep(float(pause))
            yield bytes([97 + number % 26]) * size
        if fail == "end":
            raise ValueError("broken at its end")

    def do_lazy(self, environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", TEXT)
        yield b"lazy"

    def do_flush(self, environ: Any, start: Any) -> Body:
        """An empty first piece, then nothing until /open was asked."""

        def pieces() -> Iterator[bytes]:
            yield b""
            self.gate.wait(10)
            yield b"late"

        start("200 OK", TEXT)
        return Body(self, pieces(), "flush")

    def do_late_error(self, environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", TEXT)
        yield b"begun"
        try:
            raise ValueError("too late")
        except ValueError as error:
            start("500 Too Late", TEXT, (ValueError, error, error.__traceback__))
        yield b"never"

    # --- waiting
    def do_sleep(self, environ: Any, start: Any, seconds: str = "1") -> list[bytes]:
        time.sleep(float(seconds))
        start("200 OK", TEXT)
        return [b"slept"]

    def do_wait(self, environ: Any, start: Any) -> list[bytes]:
        """Until /open was asked."""
        self.note("waiting")
        opened = self.gate.wait(10)
        start("200 OK", TEXT)
        return [str(opened).encode()]

    def do_open(self, environ: Any, start: Any) -> list[bytes]:
        self.gate.set()
        start("200 OK", TEXT)
        return [b"open"]

    def do_shut(self, environ: Any, start: Any) -> list[bytes]:
        self.gate.clear()
        start("200 OK", TEXT)
        return [b"shut"]


app = TestApplication()


def bare(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """An application that knows nothing of the gateway."""
    return app(environ, start_response)
