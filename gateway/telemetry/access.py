"""The access log: one line a request, rendered without structlog's processors because it is on every request's way.

The shape is the one of `logs.py`. Everything that a client or a backend chose goes through the JSON encoder's own
escaping; what the gateway made itself (times, numbers) is written as it is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted  # the C encoder behind json.dumps, for one string
from time import gmtime, strftime
from urllib.parse import unquote_plus

from gateway.clock import Clock
from gateway.config.model import Logging
from gateway.exchange import Exchange

from .logs import MASK

_THOUSANDTHS = tuple(f".{number:03d}" for number in range(1000))
_separated = re.compile("([&;])").split


class QueryMask:
    """Replaces the values of query parameters whose name, percent-decoded and in whatever case, is one of `names`."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = frozenset(name.lower() for name in names)

    def __call__(self, query: str) -> str:
        names = self._names
        found = False
        # `;` separates parameters for some backends, so it does here: masking too much does no harm.
        mixed = ";" in query
        pairs = _separated(query) if mixed else query.split("&")  # the separators among them when there are two kinds
        for index, pair in enumerate(pairs):
            name, equals, _ = pair.partition("=")
            plain = unquote_plus(name).strip().lower() if "%" in name or "+" in name else name.lower()
            if plain in names and equals:
                pairs[index] = f"{name}={MASK}"
                found = True
        return ("" if mixed else "&").join(pairs) if found else query


class AccessLog:
    """Renders and writes the line. Which requests: all with `sample` at one; else that share of them, and none with
    `access: false`; answers of 500 and above always. `logging.level` does not bear on access lines."""

    def __init__(self, settings: Logging, write: Callable[[str], object], clock: Clock) -> None:
        self._write = write
        self._wall = clock.wall
        self._mask = QueryMask(settings.mask)
        self._share = settings.sample if settings.access else 0.0
        self._random = random.Random().random  # noqa: S311 (which lines to keep is no secret)
        self._render = self._json if settings.format == "json" else self._console
        self._second = (0, "")  # the second that was last rendered and its text; replaced as one, so no lock

    def write(self, exchange: Exchange, status: int, reason: str | None, bytes_out: int, seconds: float) -> None:
        """One request is over. reason: of the refusal, if it was one. seconds: since the head was whole."""
        if status < 500 and self._share < 1.0 and self._random() >= self._share:
            return
        self._write(self._render(exchange, status, reason, bytes_out, seconds))

    def _time(self) -> str:
        now = self._wall()
        second = int(now)
        cached, text = self._second
        if cached != second:
            text = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
            self._second = (second, text)
        return f"{text}{_THOUSANDTHS[int((now - second) * 1000)]}Z"

    def _json(self, exchange: Exchange, status: int, reason: str | None, bytes_out: int, seconds: float) -> str:
        query = exchange.query
        route, service, instance = exchange.route, exchange.service_name, exchange.instance
        return (
            f'{{"time":"{self._time()}","level":"{"info" if status < 500 else "error"}","event":"request",'
            f'"request_id":{quoted(exchange.request_id)},"method":{quoted(exchange.method)},'
            f'"path":{quoted(exchange.raw_path)},"query":{quoted(self._mask(query)) if query else "null"},'
            f'"listener":"{exchange.plane}","client":{quoted(exchange.client)},'
            f'"route":{quoted(route.id) if route is not None else "null"},'
            f'"service":{quoted(service) if service is not None else "null"},'
            f'"instance":{quoted(instance.id) if instance is not None else "null"},'
            f'"attempts":{exchange.attempts},"status":{status},"reason":{quoted(reason) if reason else "null"},'
            f'"bytes_in":{exchange.bytes_in},"bytes_out":{bytes_out},'
            f'"duration_ms":{_milliseconds(seconds)},"upstream_ms":{_milliseconds(exchange.upstream_seconds)}}}\n'
        )

    def _console(self, exchange: Exchange, status: int, reason: str | None, bytes_out: int, seconds: float) -> str:
        """For human eyes: what a request asked for and what came of it first, the rest as name=value."""
        target = exchange.raw_path if not exchange.query else f"{exchange.raw_path}?{self._mask(exchange.query)}"
        fields = {
            "reason": reason,
            "listener": exchange.plane,
            "client": exchange.client,
            "route": exchange.route.id if exchange.route is not None else None,
            "service": exchange.service_name,
            "instance": exchange.instance.id if exchange.instance is not None else None,
            "attempts": exchange.attempts,
            "bytes_in": exchange.bytes_in,
            "bytes_out": bytes_out,
            "upstream_ms": f"{exchange.upstream_seconds * 1000:.1f}",
            "request_id": exchange.request_id,
        }
        rest = " ".join(f"{name}={_plain(value)}" for name, value in fields.items() if value is not None)
        method = _plain(exchange.method)
        return f"{self._time()} {method} {_plain(target)} {status} {seconds * 1000:.1f}ms {rest}\n"


def _milliseconds(seconds: float) -> str:
    """With three decimals, by whole numbers: formatting a float costs several times as much."""
    micros = int(seconds * 1_000_000 + 0.5)
    return f"{micros // 1000}{_THOUSANDTHS[micros % 1000]}"


def _plain(value: object) -> str:
    """Text without line breaks or control characters: a client must not write lines of its own."""
    return quoted(str(value))[1:-1]
