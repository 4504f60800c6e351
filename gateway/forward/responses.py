"""Between requests' objects and bytes, for whoever uses an instance's session directly: not on the hot path."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPHeaderDict, HTTPResponse

from gateway.errors import ConnectTimeout, UpstreamFailure

from .answers import Head


def wire_form(request: requests.PreparedRequest, authority: str) -> bytes:
    """A prepared request as it goes over the wire. ValueError: its body is neither bytes nor text."""
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes):
        raise ValueError("only a body of bytes or text can be sent through an instance's session")
    fields = {name: _text(value) for name, value in request.headers.items()}
    lines = [f"{request.method} {request.path_url} HTTP/1.1", f"Host: {fields.pop('Host', authority)}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def response(request: requests.PreparedRequest, head: Head, body: Iterable[bytes]) -> requests.Response:
    """The answer as requests tells it; the content is read, and decoded, from `body` when it is asked for."""
    fields = HTTPHeaderDict(head.headers)
    made = requests.Response()
    made.status_code = head.status
    made.reason = head.phrase
    made.headers = CaseInsensitiveDict(fields)
    made.encoding = get_encoding_from_headers(made.headers)
    made.url = request.url or ""
    made.request = request
    made.raw = HTTPResponse(
        body=_Reader(body, request),
        headers=fields,
        status=head.status,
        reason=head.phrase,
        preload_content=False,
        request_method=request.method,
    )
    return made


def as_requests_error(failure: UpstreamFailure, request: requests.PreparedRequest) -> requests.RequestException:
    kind: type[requests.RequestException] = requests.ConnectionError
    if isinstance(failure, ConnectTimeout):
        kind = requests.ConnectTimeout
    elif failure.failure == "timeout":
        kind = requests.ReadTimeout
    return kind(failure.detail, request=request)


class _Reader(io.RawIOBase):
    """A file over an iterable of bytes, as urllib3 wants to read one."""

    def __init__(self, body: Iterable[bytes], request: requests.PreparedRequest) -> None:
        self._body = body
        self._pieces: Iterator[bytes] = iter(body)
        self._request = request
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            try:
                self._left = next(self._pieces)
            except StopIteration:
                return 0
            except UpstreamFailure as failure:
                raise as_requests_error(failure, self._request) from failure
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        release = getattr(self._body, "close", None)
        if release is not None:
            release()
        super().close()
