"""The configuration as frozen values: what `load` makes of the YAML, and all that the rest of the gateway sees of it.

Names are those of the configuration file, key by key; a field's default is the key's default. Durations are seconds
(float), sizes are bytes (int), shares are fractions of one (float). No component receives the whole `Config`: `build`
hands each its own section. A field whose name is a keyword of Python has a trailing underscore that the key has not.

One module a part of the file; whoever needs a section imports it from here.

Field metadata: `key: False` is not in the file, `required: True` must be in the file although the code has a default,
`overrides: Section` holds only those keys of a section that are given, as a read-only mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal

from ..problems import Problem
from ..texts import Hook, Name
from .policies import ApiKey, Auth, AuthMethod, Cache, Capture, Cors, Jwt, JwtAlgorithm, Key, RateLimit, Revoke, Tokens
from .routes import FixedResponse, HeaderEdits, Mirror, Rewrite, Route, RouteCache, Routing, Split
from .sections import mapping, not_a_key, required, section
from .server import (
    SMALLEST_STATE,
    Admin,
    HeaderLimits,
    Listener,
    Listeners,
    ListenerTls,
    Plane,
    RedisState,
    Server,
    State,
)
from .services import (
    ActiveHealth,
    BalancerName,
    Breaker,
    Concurrency,
    Defaults,
    DnsDiscovery,
    DockerDiscovery,
    ErrorStatus,
    FailureKind,
    Grpc,
    Hash,
    Health,
    HttpDiscovery,
    Instance,
    PassiveHealth,
    Pool,
    Retries,
    Service,
    SlowCall,
    Sticky,
    Timeouts,
    UpstreamTls,
    Weight,
)
from .telemetry import Logging, Metrics, Recorder, Tracing

__all__ = [
    "SMALLEST_STATE", "ActiveHealth", "Admin", "ApiKey", "Auth", "AuthMethod", "BalancerName", "Breaker", "Cache",
    "Capture", "Concurrency", "Config", "Cors", "Defaults", "DnsDiscovery", "DockerDiscovery", "ErrorStatus",
    "FailureKind", "FixedResponse", "Grpc", "Hash", "HeaderEdits", "HeaderLimits", "Health", "HttpDiscovery",
    "Instance", "Jwt", "JwtAlgorithm", "Key", "Listener", "ListenerTls", "Listeners", "Logging", "Metrics", "Mirror",
    "PassiveHealth", "Plane", "Pool", "RateLimit", "Recorder", "RedisState", "Retries", "Revoke", "Rewrite", "Route",
    "RouteCache", "Routing", "Server", "Service", "SlowCall", "Split", "State", "Sticky", "Timeouts", "Tokens",
    "Tracing", "UpstreamTls", "Weight",
]  # fmt: skip


@section
class Config:
    """Everything in the file.

    origin: the file. digest: SHA-256 (hex) over every file that was read. warnings: what is allowed but hardly meant.
    """

    version: Literal[1] = required(1)
    include: tuple[str, ...] = ()
    listeners: Listeners = Listeners()
    server: Server = field(default_factory=Server)
    state: State = State()
    admin: Admin = field(default_factory=Admin)
    defaults: Defaults = Defaults()
    services: Mapping[Name, Service] = mapping(required=True)
    discovery: tuple[HttpDiscovery | DockerDiscovery | DnsDiscovery, ...] = ()
    routes: tuple[Route, ...] = required(())
    auth: Auth = field(default_factory=Auth)
    rate_limits: Mapping[Name, RateLimit] = mapping()
    cors: Mapping[Name, Cors] = mapping()
    cache: Cache = Cache()
    logging: Logging = Logging()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    recorder: Recorder = Recorder()
    routing: Routing = Routing()
    setup: Hook | None = None
    origin: Path | None = not_a_key(None)
    digest: str = not_a_key("")
    warnings: tuple[Problem, ...] = not_a_key(())

    @property
    def folder(self) -> Path | None:
        """Where the file is; None when the configuration was made without one."""
        return None if self.origin is None else self.origin.absolute().parent
