"""One requests.Session for each instance: prepared once, kept as long as the instance is there."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping
from http.cookiejar import DefaultCookiePolicy

import requests

from gateway.config import model
from gateway.config.addresses import split_url

from .adapter import InstanceAdapter
from .dial import Dialer, Instance, Lookup, Rule, tls_context


class InstanceSession(requests.Session):
    """A session that talks to one instance and nobody else: `session.get(instance.url + "/health")`.

    It keeps no cookies, follows no redirects, reads neither proxies nor netrc from the environment, and sends no header
    fields of its own. A URL of another host raises requests.exceptions.InvalidSchema.
    """

    def __init__(self, url: str, adapter: InstanceAdapter) -> None:
        super().__init__()
        self.adapter = adapter
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.headers.clear()
        self.adapters.clear()
        self.mount(url.rstrip("/") + "/", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere."""


class Sessions:
    """The sessions of one worker. resolver must be started by whoever built it; `rule` is asked at each connect.

    contexts: those that are made already. Others are made when an instance needs them, by reading files.
    """

    def __init__(
        self,
        resolver: Lookup,
        rule: Rule,
        now: Callable[[], float] = time.monotonic,
        contexts: Mapping[model.UpstreamTls, ssl.SSLContext] | None = None,
    ) -> None:
        self._resolver = resolver
        self._rule = rule
        self._now = now
        self._lock = threading.Lock()  # guards adding to and removing from the two below; reading needs none
        self._sessions: dict[str, tuple[InstanceSession, model.Service]] = {}
        self._contexts: dict[model.UpstreamTls | None, ssl.SSLContext] = {}
        self._contexts.update((contexts or {}).items())

    def of(self, instance: Instance, settings: model.Service) -> InstanceSession:
        """The session of an instance, prepared when it is asked for the first time.

        Raises TlsFailed when the service's tls section cannot be used, ValueError when the URL is none of an instance.
        """
        found = self._sessions.get(instance.key)
        return found[0] if found is not None else self._prepare(instance, settings)

    def retain(self, keys: Collection[str]) -> None:
        """Drop the sessions of all instances but those with these keys; what is under way on them comes to its end."""
        with self._lock:
            gone = [self._sessions.pop(key)[0] for key in list(self._sessions) if key not in keys]
        for session in gone:
            session.close()

    def sweep(self) -> None:
        """Close the connections that were idle for longer than their service's timeouts.idle."""
        now = self._now()
        for session, settings in list(self._sessions.values()):
            session.adapter.pool.sweep(now, settings.timeouts.idle)

    def close(self) -> None:
        self.retain(())

    def _prepare(self, instance: Instance, settings: model.Service) -> InstanceSession:
        scheme, host, port = split_url(instance.url)
        context = self._context(settings.tls) if scheme == "https" else None
        name = (settings.tls.server_name if settings.tls else None) or host
        dial = Dialer(instance, host, port, context, name, self._resolver, self._rule, self._now)
        session = InstanceSession(instance.url, InstanceAdapter(dial, settings, self._now))
        with self._lock:
            return self._sessions.setdefault(instance.key, (session, settings))[0]

    def _context(self, settings: model.UpstreamTls | None) -> ssl.SSLContext:
        context = self._contexts.get(settings)
        if context is None:
            context = tls_context(settings)  # reads files, therefore not under the lock
            with self._lock:
                context = self._contexts.setdefault(settings, context)
        return context

    def __repr__(self) -> str:
        return f"Sessions({[session.adapter for session, _ in list(self._sessions.values())]})"
