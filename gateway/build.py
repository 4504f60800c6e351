"""The composition root: a configuration and what the master hands down become a gateway. Nothing else wires things.

Every component gets its own part of the configuration and what it works with, never the whole. Building opens the
state engine and reads files; threads start in `Gateway.start`, in the order of the list that `build` makes, and stop in
the opposite one.
"""

from __future__ import annotations

import functools
import hashlib
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from . import plugin
from .admin.access import allowed_hosts
from .admin.api import Api, Status
from .admin.handler import Admin
from .admin.registering import AddressCheck
from .clock import Clock, SystemClock
from .config.addresses import Bind, parse_bind
from .config.mask import mask
from .config.model import Config, Listener, Listeners
from .edge.bodies import BodyLimit
from .edge.enter import Edge
from .edge.planes import Planes
from .edge.proxies import Proxies
from .edge.record import Recorder
from .errors import Refusal
from .exchange import Answer, Plane
from .forward.headers import compile_edits
from .forward.http import Forward
from .forward.probing import Probing
from .forward.resolver import Resolver
from .forward.sessions import Sessions
from .pipeline import Stage, compose
from .routing.stage import Router
from .routing.table import Table, rows
from .state import engines, stores
from .state.addresses import AddressRule
from .state.breakers import Breakers
from .state.budgets import RetryBudgets
from .state.control import Runtime
from .state.engines import Engine, Record
from .state.health import Healths
from .state.inflight import InFlight
from .state.operations.level import LIFT
from .state.operations.sequence import NEXT
from .state.orders import Orders
from .state.registry import Instance, Registry
from .state.tripping import Deregistration
from .telemetry import logs
from .telemetry.access import AccessLog
from .telemetry.metrics import RequestMetrics
from .telemetry.writer import LineWriter
from .upstream.attempts import Attempts
from .upstream.balancing import Balancing
from .upstream.eligible import Eligible
from .watch.crew import Crew
from .watch.periodic import Periodic
from .watch.prober import THREADS, Probe, Prober
from .watch.setup import Setup

PLANES: tuple[Plane, ...] = ("external", "internal")
SWEEP = 30.0  # seconds between looks for what nobody needs any more


class Part(Protocol):
    """What runs beside the requests."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """What serves in one process. serve: answers a WSGI environ; refused: what the server refuses itself; cut: records
    what is still under way when the process ends."""

    serve: Callable[[Mapping[str, Any]], Answer]
    refused: Callable[[Refusal, Plane, str, bytes], Answer]
    cut: Callable[[], None]
    parts: Sequence[Part]

    def start(self) -> None:
        for part in self.parts:
            part.start()

    def stop(self) -> None:
        self.cut()
        for part in reversed(self.parts):
            part.stop()


def build(config: Config, runtime: Runtime) -> Gateway:
    """Wire a gateway. StateError: the state engine cannot be opened. Unresolved: a named function is not there."""
    clock = SystemClock()
    writer = LineWriter()
    logs.configure(config.logging, writer.write, clock.wall)
    binds = {plane: _binds(listener) for plane, listener in _listeners(config.listeners)}
    shared = _stores(config, runtime, clock)
    engine, registry = shared.engine, shared.registry

    rule = AddressRule(config.admin.register_networks, [bind for listed in binds.values() for bind in listed])
    resolver = Resolver()
    sessions = Sessions(resolver, _address_rule(rule), contexts=runtime.contexts)
    requests = RequestMetrics(engine.counters("metrics", held=False), config.metrics.max_label_values)
    after_routing: dict[str, Stage] = {
        "routing": _router(config, engine, registry),
        "body": BodyLimit(config.server.max_request_body),
        "upstream": Attempts(
            Eligible(
                registry,
                shared.breakers,
                shared.healths,
                shared.inflight,
                budgets=shared.budgets,
                balancer_of=Balancing(engine, shared.inflight).of,
                clock=clock,
            ),
            shared.inflight,
            clock,
        ),
    }
    forward = Forward(sessions, pseudonym(binds))
    timeouts = config.defaults.timeouts
    admin = Admin(
        Api(
            registry=registry,
            breakers=shared.breakers,
            healths=shared.healths,
            orders=shared.orders,
            inflight=shared.inflight,
            budgets=shared.budgets,
            clock=clock,
            check_address=AddressCheck(lambda host: resolver.addresses(host, timeouts.dns, timeouts.dns_ttl), rule),
            routes=lambda: rows(config.routes),
            route_count=len(config.routes),
            configuration=lambda: mask(config),
            digest=config.digest,
            status=_status_of(runtime),
            requests=requests,
        ),
        config.admin,
        config.metrics,
        allowed_hosts(config.admin.hosts, [bind for plane in config.admin.listeners for bind in binds.get(plane, ())]),
    )
    recorder = Recorder(AccessLog(config.logging, writer.write, clock), requests, clock)
    edge = Edge(
        {
            plane: compose({**after_routing, **({"admin": admin} if plane in admin.listeners else {})}, forward)
            for plane in PLANES
        },
        planes=Planes(binds),
        proxies=Proxies(config.server.trusted_proxies),
        recorder=recorder,
        clock=clock,
        security_headers=config.server.security_headers,
    )
    in_force = runtime.in_force
    parts: list[Part] = [writer, _Closing(engine.close), _Closing(sessions.close), _Resolving(resolver)]
    parts.append(Periodic("sweep", SWEEP, _sweep(registry, sessions, shared.budgets, in_force)))
    if any(service.health.active or service.health.passive for service in config.services.values()):
        crew = Crew("probe", THREADS)
        parts += [_Closing(crew.stop), _prober(shared, clock, Probing(sessions), crew, in_force)]
    if config.setup is not None:
        parts.append(Setup(config.setup, _function("setup", config.setup, config), engine, registry))
    return Gateway(edge.serve, edge.refused, recorder.cut, parts)


def pseudonym(binds: Mapping[Plane, Sequence[Bind]]) -> str:
    """This gateway's name in Via (RFC 9110, 7.6.3): the same in all its workers and after a restart, another one for
    every other gateway, so that only a request that really comes back is a loop."""
    told = "\n".join([socket.gethostname(), *(str(bind) for listed in binds.values() for bind in listed)])
    return f"gateway-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _listeners(listeners: Listeners) -> list[tuple[Plane, Listener]]:
    found: list[tuple[Plane, Listener | None]] = [("external", listeners.external), ("internal", listeners.internal)]
    return [(plane, listener) for plane, listener in found if listener is not None]


def _binds(listener: Listener) -> list[Bind]:
    return [parse_bind(text) for text in listener.bind]


def _stores(config: Config, runtime: Runtime, clock: Clock) -> stores.Stores:
    engine: Engine = plugin.load(engines, config.state.engine).build(
        config.state, clock=clock, segment_fd=runtime.segment_fd, slot=runtime.slot
    )

    def peers(service: str) -> list[str]:
        return registry.keys(service)

    breakers = Breakers(engine, clock, peers=peers)
    healths = Healths(engine, clock)
    inflight = InFlight(engine)
    orders = Orders(engine, healths, breakers)

    def gone(key: str) -> None:
        breakers.forget(key)
        healths.forget(key)
        inflight.forget(key)
        orders.forget(key)
        engine.record(LIFT, f"level/{key}").drop()

    registry = Registry(engine, clock, config.services, config.defaults, gone=gone)
    breakers.subscribe(Deregistration(registry))
    orders.restore(registry.everything())
    stores.current = stores.Stores(engine, registry, breakers, healths, inflight, RetryBudgets(engine), orders)
    return stores.current


def _router(config: Config, engine: Engine, registry: Registry) -> Router:
    @functools.cache  # one handle for each split of the configuration
    def sequence(key: str) -> Record:
        return engine.record(NEXT, key)

    def next_in_sequence(key: str) -> int:
        return sequence(key).apply(NEXT)

    tables = {plane: Table(config.routes, plane, next_in_sequence, compile_edits) for plane in PLANES}
    function = config.routing.function
    return Router(
        tables,
        None if function is None else _function("routing.function", function, config),
        knows=lambda name: name in registry.snapshot().services,
    )


def _function(path: str, reference: str, config: Config) -> Callable[..., Any]:
    try:
        return plugin.resolve(reference, config.folder)
    except plugin.Unresolved as error:
        error.path = path
        raise


def _address_rule(rule: AddressRule) -> Callable[[Any, str, int], str | None]:
    def check(instance: Instance, address: str, port: int) -> str | None:
        return rule.check(instance.id, port, [address], registered=instance.source != "static")

    return check


def _prober(shared: stores.Stores, clock: Clock, probe: Probe, crew: Crew, in_force: Callable[[], bool]) -> Prober:
    return Prober(
        registry=shared.registry, healths=shared.healths, engine=shared.engine, clock=clock, probe=probe,
        submit=crew.submit, eligible=in_force, random=Random(),  # noqa: S311 - jitter, not a secret
    )  # fmt: skip


def _status_of(runtime: Runtime) -> Callable[[], Status]:
    page = runtime.page

    def status() -> Status:
        # The gateway's, not this worker's: a worker that makes way during a reload leaves others that serve.
        generation = page.generation
        return Status(
            "draining" if page.stopping else "ready" if generation else "starting",
            generation,
            page.loaded_at or None,
            page.last_reload or _first_load(page.loaded_at),
            page.refused,
        )

    return status


def _first_load(at: float) -> dict[str, Any] | None:
    """The start, told like a reload; None while it is under way."""
    return {"ok": True, "at": logs.timestamp(at), "errors": []} if at else None


def _sweep(
    registry: Registry, sessions: Sessions, budgets: RetryBudgets, in_force: Callable[[], bool]
) -> Callable[[], None]:
    def sweep() -> None:
        registry.sweep()
        services = registry.snapshot().services
        if in_force():  # a worker that makes way does not know the services of the next generation
            budgets.sweep(services.keys())
        sessions.retain({one.key for found in services.values() for one in found.instances})
        sessions.sweep()

    return sweep


@dataclass(frozen=True, slots=True)
class _Closing:
    """Something that is ready when it is made, and closed at the end."""

    stop: Callable[[], None]

    def start(self) -> None:
        """It runs already."""


@dataclass(frozen=True, slots=True)
class _Resolving:
    resolver: Resolver

    def start(self) -> None:
        self.resolver.start()

    def stop(self) -> None:
        self.resolver.close()
