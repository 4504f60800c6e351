"""Who answers for which service: the instances of the configuration and those that registered, as one snapshot.

Registrations are durable documents, `registry/<service>/<id>`, so every worker sees them and they outlive it. A reader
gets an immutable `Snapshot` that it keeps for one request; while nothing changed the same one is given out again, after
one comparison of versions. The order of a service's instances is the same in every worker: those of the configuration
as written, then registered ones by id. Cursors that workers share depend on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Lock
from types import MappingProxyType
from typing import Any, Literal

import structlog

from gateway.clock import Clock
from gateway.config.model import Defaults, Service
from gateway.errors import RegistrationOff, StaticInstance

from .engines import Engine, Version
from .registration import Registration

TOPIC = "registry"  # of the documents; breakers bump its version, too, when one opens or closes

# Seconds. A lease is ended by the engine; the snapshot only has to look again about then, at least this much later.
_SHORTEST_WAIT = 0.05

_log = structlog.get_logger("gateway.registry")

Source = Literal["static", "registered", "discovered"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One address that answers for a service.

    url: scheme://host:port. expires: monotonic seconds, None: stays. since: Unix seconds at which it came, 0.0: it is
    in the configuration. key: what its state (breaker, counters, connections) belongs to; made from the rest.
    """

    service: str
    id: str
    url: str
    source: Source = "static"
    weight: int = 1
    zone: str | None = None
    tags: tuple[str, ...] = ()
    expires: float | None = None
    key: str = ""
    since: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or key_of(self.service, self.id, self.url))


def key_of(service: str, id: str, url: str) -> str:
    """An instance's identity: the same id at another address is another instance, with a state of its own."""
    return f"{service}/{id}@{url}"


@dataclass(frozen=True, slots=True, eq=False)
class ServiceView:
    """A service at one moment. The same object is given out while it does not change, so compare with `is`.

    settings: complete. version: grows with each change, in this process. configured: the configuration names it.
    """

    name: str
    settings: Service
    instances: tuple[Instance, ...]
    version: int
    configured: bool


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All services at one moment. Immutable."""

    services: Mapping[str, ServiceView]
    version: int


@dataclass(frozen=True, slots=True)
class _Current:
    """What readers compare: valid while the topic has this version, until this monotonic time."""

    topic: Version | None
    until: float
    snapshot: Snapshot


class Registry:
    """services: those of the configuration. defaults: what others get. gone: called with the key of an instance that is
    no more, so that its state can be dropped; in the thread that noticed, under no lock, perhaps more than once.

    version(): differs after each change of a registration, a breaker or an instance's health on the node.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        services: Mapping[str, Service],
        defaults: Defaults,
        *,
        gone: Callable[[str], None] = lambda key: None,
    ) -> None:
        self._engine = engine
        self.version: Callable[[], Version] = partial(engine.version, TOPIC)
        self._clock = clock
        self._settings = dict(services)
        self._others = Service(timeouts=defaults.timeouts, pool=defaults.pool, concurrency=defaults.concurrency)
        self._static = {name: _static(name, service) for name, service in services.items()}
        self._gone = gone
        self._lock = Lock()  # guards what follows, but for reading _current: that is replaced whole
        self._current = _Current(None, -math.inf, Snapshot(MappingProxyType({}), 0))
        self._decoded: dict[str, tuple[bytes, Instance]] = {}  # document key -> what it held, what that meant
        self._known: set[str] = set()  # keys of instances at the last sweep

    def snapshot(self) -> Snapshot:
        """All services as of now: what any worker registered before this call is in it."""
        current = self._current
        if current.topic == self.version() and self._clock.monotonic() < current.until:
            return current.snapshot
        with self._lock:
            return self._refresh()

    def everything(self) -> list[Instance]:
        """All instances, with those of the configuration whose place registered ones take at present."""
        found = {one.key: one for instances in self._static.values() for one in instances}
        found.update((one.key, one) for view in self.snapshot().services.values() for one in view.instances)
        return list(found.values())

    def keys(self, service: str) -> list[str]:
        """The keys of a service's instances; none when there is no such service."""
        view = self.snapshot().services.get(service)
        return [] if view is None else [one.key for one in view.instances]

    def register(self, registration: Registration, *, in_code: bool = False) -> None:
        """Add an instance, or replace the registered one of the same id; its lease, if any, begins anew.

        in_code: called by the operator's own code, to which `registration: off` does not apply. Raises StaticInstance,
        RegistrationOff, or StoreUnavailable (StoreFull) when it cannot be kept.
        """
        service = registration.service
        if not in_code and self._settings.get(service, self._others).registration == "off":
            raise RegistrationOff(f"{service} takes no registrations over HTTP", service=service)
        self._refuse_static(service, registration.id)
        document = _document(service, registration.id)
        now = self._clock.wall()
        before = self._engine.get(document)
        was = _read(before) if before is not None else {}
        value = {
            "url": registration.addr,
            "weight": registration.weight,
            "zone": registration.zone,
            "tags": registration.tags,
            "ttl": registration.ttl,
            "since": was.get("since", now) if was.get("url") == registration.addr else now,
            "expires": None if registration.ttl is None else now + registration.ttl,
        }
        self._engine.put(document, json.dumps(value, separators=(",", ":")).encode(), registration.ttl)
        if was and was["url"] != registration.addr:
            self._gone(key_of(service, registration.id, was["url"]))

    def deregister(self, service: str, id: str) -> bool:
        """Remove a registered instance; False when there was none. Raises StaticInstance, StoreUnavailable."""
        self._refuse_static(service, id)
        document = _document(service, id)
        before = self._engine.get(document)
        if before is None or not self._engine.delete(document):
            return False
        if was := _read(before):
            self._gone(key_of(service, id, was["url"]))
        return True

    def sweep(self) -> int:
        """Tell `gone` about the instances that ended since the last sweep (a lease that was not renewed, a call that
        another worker answered); how many. The first sweep only takes stock. An instance of the configuration does not
        end while registered ones take its place."""
        keys = {one.key for one in self.everything()}
        with self._lock:
            ended = self._known - keys
            self._known = keys
        for key in ended:
            self._gone(key)
        return len(ended)

    def _refuse_static(self, service: str, id: str) -> None:
        if any(instance.id == id for instance in self._static.get(service, ())):
            raise StaticInstance(f"{id} of {service} is in the configuration", service=service, instance=id)

    def _refresh(self) -> Snapshot:
        """Under the lock: make the snapshot anew, with what did not change taken over."""
        topic = self.version()  # before reading, so that what changes meanwhile is seen next time
        now = self._clock.monotonic()
        before = self._current
        if before.topic == topic and now < before.until:
            return before.snapshot  # another thread was faster
        registered = self._registered(now)
        views: dict[str, ServiceView] = {}
        version = before.snapshot.version + 1
        for name in [*self._static, *sorted(registered.keys() - self._static.keys())]:
            settings = self._settings.get(name, self._others)
            instances = _merge(settings, self._static.get(name, ()), registered.get(name, ()))
            was = before.snapshot.services.get(name)
            if was is not None and _same(was.instances, instances):
                views[name] = was
            else:
                views[name] = ServiceView(name, settings, instances, version, name in self._settings)
        until = min(
            (one.expires for found in registered.values() for one in found if one.expires is not None),
            default=math.inf,
        )
        snapshot = Snapshot(MappingProxyType(views), version)
        self._current = _Current(topic, until, snapshot)
        return snapshot

    def _registered(self, now: float) -> dict[str, list[Instance]]:
        """The registered instances of each service by id. Documents that did not change keep their Instance."""
        found: dict[str, list[Instance]] = {}
        decoded: dict[str, tuple[bytes, Instance]] = {}
        offset = now - self._clock.wall()
        for document, raw in self._engine.scan(f"{TOPIC}/"):
            kept = self._decoded.get(document)
            if kept is None or kept[0] != raw or (kept[1].expires is not None and kept[1].expires <= now):
                instance = _decode(document, raw, now, offset)
                if instance is None:
                    continue
                kept = (raw, instance)
            decoded[document] = kept
            found.setdefault(kept[1].service, []).append(kept[1])
        self._decoded = decoded
        return found

    def __repr__(self) -> str:
        services = self._current.snapshot.services.values()
        return f"Registry({', '.join(f'{view.name}: {len(view.instances)}' for view in services)})"


def _document(service: str, id: str) -> str:
    return f"{TOPIC}/{service}/{id}"


def _static(name: str, service: Service) -> tuple[Instance, ...]:
    return tuple(Instance(name, one.id, one.url, "static", one.weight, one.zone, one.tags) for one in service.instances)


def _merge(settings: Service, static: tuple[Instance, ...], registered: Iterable[Instance]) -> tuple[Instance, ...]:
    ids = {instance.id for instance in static}
    others = [instance for instance in registered if instance.id not in ids]
    if others and settings.static == "fallback":
        return tuple(others)
    return (*static, *others)


def _same(before: tuple[Instance, ...], after: tuple[Instance, ...]) -> bool:
    return len(before) == len(after) and all(one is other for one, other in zip(before, after, strict=True))


def _read(raw: bytes) -> dict[str, Any]:
    """A registration's document, {} when it cannot be read (written by another version)."""
    try:
        value = json.loads(raw)
        return value if isinstance(value, dict) and isinstance(value["url"], str) else {}
    except (ValueError, KeyError):
        return {}


def _decode(document: str, raw: bytes, now: float, offset: float) -> Instance | None:
    """The instance that a document describes. offset: what to add to Unix seconds to get monotonic ones."""
    _, service, id = document.split("/")
    value = _read(raw)
    try:
        ttl, expires = value["ttl"], value["expires"]
        if ttl is not None:
            # The document is there, so its lease has not ended. The wall clock may have been set since it was written:
            # never believe it beyond the lease's own length.
            expires = now + min(max(expires + offset - now, _SHORTEST_WAIT), ttl)
        return Instance(
            service, id, value["url"], "registered", value["weight"], value["zone"], tuple(value["tags"]), expires,
            since=value["since"],
        )  # fmt: skip
    except (KeyError, TypeError):
        _log.error("registration_unreadable", service=service, instance=id)
        return None
