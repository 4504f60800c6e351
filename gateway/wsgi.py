"""`gateway.wsgi:app`: the WSGI application that gunicorn loads. It hands each request to the current pipeline.

It is imported in the master (preload) and stays empty there; a worker fills it with `start` after the fork.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from .build import Gateway, build
from .config.model import Config
from .edge.ids import RequestIds
from .edge.problems import problem
from .errors import Draining, Refusal
from .exchange import Answer, Plane
from .state.control import Runtime

_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Application:
    """A plain WSGI callable. Before `start` and after `stop` it answers 503."""

    def __init__(self) -> None:
        self._gateway: Gateway | None = None

    def start(self, config: Config, runtime: Runtime | None = None) -> None:
        """Build the pipeline of a configuration and start what runs beside it. Once in a process, after the fork."""
        gateway = build(config, runtime or Runtime.alone(config.origin))
        gateway.start()
        self._gateway = gateway

    def cut(self) -> None:
        """Record the requests that are still under way: the server ends, and breaks them off next."""
        if self._gateway is not None:
            self._gateway.cut()

    def stop(self) -> None:
        """Record what is under way, stop what runs beside the pipeline, write what is left of the log. Idempotent."""
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            gateway.stop()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        gateway = self._gateway
        answer = _unready(environ["REQUEST_METHOD"]) if gateway is None else gateway.serve(environ)
        status = answer.status
        phrase = answer.phrase
        start_response(
            _LINES.get(status) or f"{status} Unknown" if phrase is None else f"{status} {phrase}", answer.headers
        )
        return answer.body

    def refused(self, refusal: Refusal, plane: Plane, peer: str, head: bytes) -> Answer:
        """The answer to a request that the server refuses itself, with its record. head: what arrived of it."""
        gateway = self._gateway
        return _unready("") if gateway is None else gateway.refused(refusal, plane, peer, head)


def _unready(method: str) -> Answer:
    return problem(Draining("This worker does not serve, yet or any more.", retry_after=1), RequestIds().make(), method)


app = Application()
