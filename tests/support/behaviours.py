"""Ready-made behaviours for `FakeBackend`: functions of a `Call`, or functions that return one."""

from __future__ import annotations

import gzip as gzip_module
import json
import threading
from collections.abc import Iterable, Mapping, Sequence

from .backend import Behaviour
from .call import Call

Headers = Sequence[tuple[str, str]]


# --- whole answers --------------------------------------------------------------------------------------------------
def echo(call: Call) -> None:
    """200 and JSON: backend, connection, method, target, headers (as a list), body (latin-1 text), complete."""
    request = call.request()
    told = {
        "backend": call.backend.name,
        "connection": request.connection,
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": request.body.decode("latin-1"),
        "complete": request.complete,
    }
    headers = [("Content-Type", "application/json"), ("X-Backend", call.backend.name)]
    call.answer(200, headers, json.dumps(told).encode())


def answer(status: int = 200, headers: Headers = (), body: bytes = b"ok") -> Behaviour:
    """A fixed answer with Content-Length, after the whole request was read."""

    def behaviour(call: Call) -> None:
        call.request()
        call.answer(status, headers, body)

    return behaviour


def raw(data: bytes, *, close: bool = False) -> Behaviour:
    """Exactly these bytes as the answer, after the whole request was read. close: then FIN."""

    def behaviour(call: Call) -> None:
        call.request()
        call.send(data)
        if close:
            call.close()

    return behaviour


def chunked(pieces: Iterable[bytes], headers: Headers = (), trailers: Headers = ()) -> Behaviour:
    """200 with one chunk a piece, sent piece by piece."""
    kept = list(pieces)

    def behaviour(call: Call) -> None:
        call.request()
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        call.send(f"HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n".encode("latin-1"))
        for piece in kept:
            call.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        call.send(b"0\r\n" + "".join(f"{n}: {v}\r\n" for n, v in trailers).encode("latin-1") + b"\r\n")

    return behaviour


def gzip(text: bytes) -> Behaviour:
    """200 with Content-Encoding: gzip."""
    return answer(200, [("Content-Encoding", "gzip"), ("Content-Type", "text/plain")], gzip_module.compress(text))


def until_close(body: bytes) -> Behaviour:
    """200 without a length: the body ends with the connection."""
    return raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body, close=True)


def stream(size: int, piece: int = 262144) -> Behaviour:
    """200 with Content-Length `size`, sent in pieces of zeros without holding them all."""

    def behaviour(call: Call) -> None:
        call.request()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % size)
        zeros = bytes(piece)
        for sent in range(0, size, piece):
            call.send(zeros[: size - sent])

    return behaviour


def informational(then: Behaviour, *heads: bytes) -> Behaviour:
    """Interim answers first, by default 103 with a header of its own."""

    def behaviour(call: Call) -> None:
        call.request()
        for head in heads or (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",):
            call.send(head)
        then(call)

    return behaviour


# --- both ways at once ----------------------------------------------------------------------------------------------
def beside(call: Call) -> None:
    """200 in chunks, of which the first comes before the request's body is read, the second behind its end."""
    call.head()
    call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
    call.request()
    call.send(b"4\r\ndone\r\n0\r\n\r\n")


def echo_chunks(call: Call, pause: float = 0.0) -> None:
    """200 at once, then each chunk of the request as it comes, `pause` seconds later."""
    call.head()
    call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for data in call.pieces():
        call.pause(pause)
        call.send(b"%x\r\n%b\r\n" % (len(data), data))
    call.send(b"0\r\n\r\n")


# --- choosing -------------------------------------------------------------------------------------------------------
def script(*steps: Behaviour) -> Behaviour:
    """One after the other, a step a request over all connections; the last one stays."""
    lock = threading.Lock()  # guards left
    left = list(steps)

    def behaviour(call: Call) -> None:
        with lock:
            step = left.pop(0) if len(left) > 1 else left[0]
        step(call)

    return behaviour


def statuses(*codes: int) -> Behaviour:
    """These statuses one after the other, the last one for ever."""
    return script(*(answer(code, body=str(code).encode()) for code in codes))


class Switched:
    """The behaviour that a test has put here last, echo at first."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = echo

    def __call__(self, call: Call) -> None:
        self.behaviour(call)


def by_path(table: Mapping[str, Behaviour], otherwise: Behaviour = echo) -> Behaviour:
    """The behaviour that the request's path (without query) names."""
    return lambda call: table.get(call.head().path, otherwise)(call)


# --- answers that go wrong ------------------------------------------------------------------------------------------
def reset(call: Call) -> None:
    """RST as soon as the request begins to arrive; as a greeting: as soon as the connection stands."""
    call.reset()


def reset_after(stage: str) -> Behaviour:
    """RST after the request's "head" or "body", or within the answer's head ("answer_head") or body ("answer_body")."""
    sent = {
        "head": b"",
        "body": b"",
        "answer_head": b"HTTP/1.1 200 OK\r\nContent-Le",
        "answer_body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000,
    }[stage]

    def behaviour(call: Call) -> None:
        if stage == "head":
            call.head()
        else:
            call.request()
        if sent:
            call.send(sent)
            call.pause(0.05)  # let the bytes be read before RST throws them away
        call.reset()

    return behaviour


def close(call: Call) -> None:
    """FIN instead of an answer, after the whole request was read."""
    call.request()
    call.close()


def close_after(then: Behaviour) -> Behaviour:
    """A whole answer that promises to keep the connection, then FIN: the client's pool holds a stale connection."""

    def behaviour(call: Call) -> None:
        then(call)
        call.close()

    return behaviour


def truncated(declared: int, sent: bytes, *, rst: bool = False) -> Behaviour:
    """Fewer bytes of body than Content-Length says, then FIN or RST."""

    def behaviour(call: Call) -> None:
        call.request()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (declared, sent))
        if rst:
            call.pause(0.05)
            call.reset()
        else:
            call.close()

    return behaviour


def garbage(call: Call) -> None:
    """Bytes that are no HTTP."""
    call.request()
    call.send(b"\x16\x03\x01\x00\xa5 not http at all\r\n\r\n")
    call.close()


# --- slow answers ---------------------------------------------------------------------------------------------------
def hang(call: Call) -> None:
    """Read the request, never answer, until the client ends the connection."""
    call.request()
    call.until_ended()


def hang_unread(call: Call) -> None:
    """Read nothing behind the head, never answer: an upload larger than the socket buffers stands still."""
    call.head()
    call.backend._closing.wait(30)
    call.open = False


def after(seconds: float, then: Behaviour = echo) -> Behaviour:
    """Answer so many seconds after the whole request was read."""

    def behaviour(call: Call) -> None:
        call.request()
        call.pause(seconds)
        then(call)

    return behaviour


def held(gate: threading.Event, then: Behaviour = echo) -> Behaviour:
    """Answer when the test sets `gate`."""

    def behaviour(call: Call) -> None:
        call.request()
        while not gate.wait(0.05):
            call.pause(0)
        then(call)

    return behaviour


def dribble(data: bytes, interval: float, *, at_once: bytes = b"") -> Behaviour:
    """`at_once`, then `data` one byte every `interval` seconds: dribble(head, …) or dribble(body, …, at_once=head)."""

    def behaviour(call: Call) -> None:
        call.request()
        call.send(at_once)
        for at in range(len(data)):
            call.send(data[at : at + 1])
            call.pause(interval)

    return behaviour


def slow_body(pieces: Iterable[bytes], interval: float) -> Behaviour:
    """200 with Content-Length at once, then a piece every `interval` seconds."""
    kept = list(pieces)

    def behaviour(call: Call) -> None:
        call.request()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % sum(map(len, kept)))
        for piece in kept:
            call.pause(interval)
            call.send(piece)

    return behaviour


def early_answer(status: int = 413, body: bytes = b"too much", *, read: int = 0, keep: bool = False) -> Behaviour:
    """A whole answer after the head and `read` bytes of body, the upload still going on; then FIN and reading on.

    keep: say nothing about closing and go on reading the request, as a server does that wants to keep the connection.
    """

    def behaviour(call: Call) -> None:
        call.some(read)
        call.answer(status, () if keep else [("Connection", "close")], body)
        if not keep:
            call.linger()

    return behaviour
