"""Rules for services, their instances and what is laid around them."""

from __future__ import annotations

from ..addresses import split_url
from ..document import Document
from ..model import Breaker, Config, Route
from ..problems import KeyPath
from .listeners import files_load, sound_binds

MAX_TIMES = 32  # failures within a window that a breaker's record tells apart


def instance_ids_differ(config: Config, document: Document) -> None:
    for name, service in config.services.items():
        seen: dict[str, int] = {}
        for number, instance in enumerate(service.instances):
            path = ("services", name, "instances", number, "id")
            if not document.sound(*path):
                continue
            first = seen.setdefault(instance.id, number)
            if first != number:
                there = document.place("services", name, "instances", first, "id")
                document.refuse(path, f"the service has this id already, in {there}", found=document.found(*path))


def gateway_is_no_backend(config: Config, document: Document) -> None:
    """As far as the texts tell; addresses that names resolve to are looked at when connecting."""
    binds = list(sound_binds(config, document))
    for name, service in config.services.items():
        for number, instance in enumerate(service.instances):
            path = ("services", name, "instances", number, "url")
            if not document.sound(*path):
                continue
            _, host, port = split_url(instance.url)
            own = next((there for there, bind in binds if bind.answers(host, port)), None)
            if own:
                why = f"requests would go in a circle: the gateway itself listens there, see {document.place(*own)}"
                document.refuse(path, why, found=document.found(*path))


def breakers_are_possible(config: Config, document: Document) -> None:
    for name, service in config.services.items():
        path: KeyPath = ("services", name, "breaker")
        breaker = service.breaker
        if not breaker or not document.sound(*path):
            continue
        if breaker.max_open_for is not None and breaker.max_open_for < breaker.open_for:
            document.refuse((*path, "max_open_for"), "shorter than open_for, which doubles up to it")
        _needs_window(breaker, path, document)
        _counts_fit(breaker, path, document)


def _needs_window(breaker: Breaker, path: KeyPath, document: Document) -> None:
    if breaker.failure_ratio is not None and breaker.window is None:
        document.refuse((*path, "failure_ratio"), "needs window: the share of which calls?")
    if breaker.slow_call is not None and breaker.window is None:
        document.refuse((*path, "slow_call"), "needs window: the share of which calls?")
    if breaker.failure_ratio == 0:
        document.refuse((*path, "failure_ratio"), "0% would be open from the first call on", allowed="a share above 0%")
    if breaker.slow_call is not None and breaker.slow_call.ratio == 0:
        document.refuse(
            (*path, "slow_call", "ratio"), "0% would be open from the first call on", allowed="a share above 0%"
        )


def probes_are_possible(config: Config, document: Document) -> None:
    for name, service in config.services.items():
        path: KeyPath = ("services", name, "health", "active")
        active = service.health.active
        if not active or not document.sound(*path):
            continue
        if not active.expect:
            document.refuse((*path, "expect"), "empty: no answer would be good", allowed="at least one status")
        for key in ("path", "host", "expect", "body"):
            if active.type == "tcp" and document.given(*path, key):
                document.warn((*path, key), "a tcp probe only connects, so this does nothing")


def _counts_fit(breaker: Breaker, path: KeyPath, document: Document) -> None:
    """With a window, `failures` goes on counting beside the shares."""
    shares = [key for key in ("failure_ratio", "slow_call") if getattr(breaker, key) is not None]
    if breaker.window is not None and shares and not document.given(*path, "failures"):
        why = f"failures: {breaker.failures} within the window also opens it; raise failures"
        document.warn((*path, shares[0]), why)


def tls_files_load(config: Config, document: Document) -> None:
    for name, service in config.services.items():
        path: KeyPath = ("services", name, "tls")
        tls = service.tls
        if not tls or not document.sound(*path):
            continue
        if (tls.certificate is None) != (tls.key is None):
            document.refuse(path, "certificate and key come together")
        files_load(document, path, tls.certificate, tls.key, tls.ca, ca_key="ca")
        if not tls.verify:
            document.warn(
                (*path, "verify"),
                "the backend's certificate is not checked: anyone in between can read and change everything",
            )
        if service.instances and all(instance.url.startswith("http:") for instance in service.instances):
            document.warn(path, "no instance has an https URL, so this does nothing")


def leads_to(route: Route, service: str) -> bool:
    """Whether requests of the route may go to the service."""
    named = route.service or ""
    return named == service or named.startswith("{") or any(one.service == service for one in route.split)


def kinds_go_together(config: Config, document: Document) -> None:
    for name, service in config.services.items():
        path: KeyPath = ("services", name)
        if not document.sound(*path):
            continue
        asked = any(route.balancer == "consistent_hash" and leads_to(route, name) for route in config.routes)
        if service.hash and service.balancer != "consistent_hash" and not asked:
            document.refuse(
                (*path, "hash"), "only the balancer consistent_hash hashes", likely="balancer: consistent_hash"
            )
        if service.balancer == "consistent_hash" and not service.hash:
            document.refuse((*path, "balancer"), "consistent_hash needs hash, which says by what")
        if service.grpc and service.protocol != "grpc":
            document.refuse((*path, "grpc"), "only with protocol grpc", likely="protocol: grpc")


def routes_hash_by_something(config: Config, document: Document) -> None:
    """A route that asks for consistent_hash leads to services that say by what to hash."""
    for number, route in enumerate(config.routes):
        path: KeyPath = ("routes", number, "balancer")
        if route.balancer != "consistent_hash" or not document.sound(*path):
            continue
        named = [name for name in (route.service, *(one.service for one in route.split)) if name in config.services]
        lacking = next((name for name in named if name is not None and not config.services[name].hash), None)
        if lacking is not None:
            why = f"consistent_hash needs the hash of service {lacking}, which says by what"
            document.refuse(path, why, found=document.found(*path))


_SHORTEST_SECRET = 16  # bytes


def cookies_can_be_told_apart(config: Config, document: Document) -> None:
    seen: dict[str, str] = {}
    for name, service in config.services.items():
        path: KeyPath = ("services", name, "sticky")
        sticky = service.sticky
        if not sticky or not document.sound(*path):
            continue
        first = seen.setdefault(sticky.cookie, name)
        if first != name:
            why = f"service {first} uses this cookie, too: a client of both loses one of them with each answer"
            document.warn((*path, "cookie"), why)
        if len(sticky.secret.reveal().encode()) < _SHORTEST_SECRET:
            document.warn((*path, "secret"), f"shorter than {_SHORTEST_SECRET} bytes: it can be guessed")
