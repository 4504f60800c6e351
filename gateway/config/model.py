"""The configuration as frozen values: what `load` makes of the YAML, and all that the rest of the gateway sees of it.

Names are those of the configuration file, key by key; a field's default is the key's default. Durations are seconds
(float), sizes are bytes (int), shares are fractions of one (float). No component receives the whole `Config`: `build`
hands each its own section.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, dataclass_transform

from .units import Duration, Natural, Network, Positive, Rate, Secret, Share, Size, Window


def _mapping() -> Any:
    """A dataclass field whose default is an empty read-only mapping."""
    return field(default_factory=lambda: MappingProxyType({}))


T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def section(cls: type[T]) -> type[T]:
    """A mapping of the file with a fixed set of keys."""
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


# --- listeners, server, state, admin --------------------------------------------------------------------------------
@section
class ListenerTls:
    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_auth: Literal["none", "optional", "required"] = "none"


@section
class Listener:
    bind: tuple[str, ...]
    tls: ListenerTls | None = None


@section
class Listeners:
    external: Listener | None = Listener(bind=("0.0.0.0:8000",))
    internal: Listener | None = Listener(bind=("127.0.0.1:8001",))


@section
class HeaderLimits:
    count: Positive = 100
    size: Size = 32 * 1024


@section
class Server:
    workers: Positive | None = None
    threads: Positive = 32
    internal_threads: Positive = 16
    pin_cpus: bool | Literal["auto"] = "auto"
    keepalive: Duration = 75.0
    graceful_timeout: Duration = 30.0
    reload_drain: Duration = 600.0
    request_head_timeout: Duration = 10.0
    client_idle: Duration = 30.0
    backlog_wait: Duration = 5.0
    max_request_body: Size = 100 * 1024**2
    max_request_line: Size = 8 * 1024
    max_request_headers: HeaderLimits = HeaderLimits()
    trusted_proxies: tuple[Network | Literal["unix"], ...] = field(
        default_factory=lambda: (Network("127.0.0.1/32"), Network("::1/128"), "unix")
    )
    security_headers: Mapping[str, str] = _mapping()


@section
class RedisState:
    url: str = "redis://127.0.0.1:6379/0"
    prefix: str = "gateway:"
    timeout: Duration = 0.25


@section
class State:
    engine: Literal["memory", "node", "redis"] = "node"
    path: Path = Path("var/state")
    max_size: Size = 256 * 1024**2
    redis: RedisState = RedisState()
    on_failure: Literal["local", "deny"] = "local"


@section
class Admin:
    listeners: tuple[Literal["external", "internal"], ...] = ("internal",)
    token: Secret | None = None
    register_token: Secret | None = None
    insecure: bool = False
    register_networks: tuple[Network, ...] = field(
        default_factory=lambda: tuple(
            Network(text)
            for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
        )
    )


# --- what services and routes share ---------------------------------------------------------------------------------
@section
class Timeouts:
    connect: Duration = 1.0
    request: Duration = 30.0
    upstream: Duration = 10.0
    idle: Duration = 60.0
    dns: Duration = 1.0
    dns_ttl: Duration = 10.0


@section
class Pool:
    max_connections: Positive = 64


@section
class Concurrency:
    global_: Positive | None = None  # the key is `global`
    per_service: Positive | None = None
    queue: Duration = 0.0


@section
class Defaults:
    timeouts: Timeouts = Timeouts()
    pool: Pool = Pool()
    concurrency: Concurrency | None = None


FailureKind = Literal["connect", "reset", "timeout", "5xx"]


@section
class Retries:
    attempts: Positive = 2
    when: tuple[Literal["connect", "reset", "timeout"] | int, ...] = ("connect", "reset", 502, 503, 504)
    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
    budget: Share = 0.2
    min_per_second: Natural = 3
    backoff: Duration = 0.025


# --- services -------------------------------------------------------------------------------------------------------
@section
class Instance:
    id: str
    url: str
    weight: Positive = 1
    zone: str | None = None
    tags: tuple[str, ...] = ()


@section
class Hash:
    key: str
    fallback: str | None = None
    bounded_load: float | None = None


@section
class Sticky:
    cookie: str
    secret: Secret
    ttl: Duration = 3600.0
    secure: bool = True


@section
class SlowCall:
    over: Duration
    ratio: Share


@section
class Breaker:
    failures: Positive = 5
    window: Window | None = None
    failure_ratio: Share | None = None
    minimum_calls: Positive = 10
    slow_call: SlowCall | None = None
    open_for: Duration = 30.0
    max_open_for: Duration | None = None
    half_open_probes: Positive = 3
    failure_on: tuple[FailureKind, ...] = ("connect", "reset", "timeout", "5xx")
    deregister: bool = False
    max_ejected: Share = 1.0


@section
class ActiveHealth:
    type: Literal["http", "tcp"] = "http"
    path: str = "/health"
    host: str | None = None
    expect: str = "200-399"
    body: str | None = None
    interval: Duration = 5.0
    timeout: Duration = 1.0
    healthy_after: Positive = 2
    unhealthy_after: Positive = 3


@section
class PassiveHealth:
    failures: Positive = 3
    window: Duration = 30.0
    retry_after: Duration = 10.0


@section
class Health:
    active: ActiveHealth | None = None
    passive: PassiveHealth | None = None
    when_none_healthy: Literal["fail", "try_all"] = "fail"


@section
class UpstreamTls:
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    verify: bool = True


@section
class Grpc:
    descriptor_set: Path | None = None
    reflection: bool = False


BalancerName = Literal[
    "round_robin", "weighted_round_robin", "least_connections", "least_requests", "random_two", "consistent_hash"
]


@section
class Service:
    """One service. `timeouts` and `pool` arrive complete: the loader has laid the service's keys over `defaults`."""

    expose: bool = False
    registration: Literal["open", "off"] = "open"
    static: Literal["always", "fallback"] = "always"
    instances: tuple[Instance, ...] = ()
    balancer: BalancerName = "round_robin"
    hash: Hash | None = None
    sticky: Sticky | None = None
    slow_start: Duration = 0.0
    prefer_zone: str | None = None
    retries: Retries = Retries()
    breaker: Breaker | None = Breaker()
    health: Health = Health()
    tls: UpstreamTls | None = None
    protocol: Literal["http", "grpc"] = "http"
    grpc: Grpc | None = None
    timeouts: Timeouts = Timeouts()
    pool: Pool = Pool()
    concurrency: Concurrency | None = None


# --- discovery ------------------------------------------------------------------------------------------------------
@section
class HttpDiscovery:
    type: Literal["http"]
    url: str
    interval: Duration = 30.0
    report: bool = False


@section
class DockerDiscovery:
    type: Literal["docker"]
    socket: str = "unix:///var/run/docker.sock"


@section
class DnsDiscovery:
    type: Literal["dns"]
    name: str
    service: str
    interval: Duration = 30.0


# --- routes ---------------------------------------------------------------------------------------------------------
@section
class Split:
    service: str
    weight: Natural = 1


@section
class HeaderEdits:
    set: Mapping[str, str] = _mapping()
    remove: tuple[str, ...] = ()


@section
class Rewrite:
    path: str | None = None
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()


@section
class RouteCache:
    ttl: Duration
    override: bool = False
    shared: bool = False


@section
class Mirror:
    service: str
    share: Share = 1.0


@section
class FixedResponse:
    status: Positive = 200
    body: str = ""
    content_type: str = "text/plain"


AuthMethod = Literal["jwt", "api_key", "mtls"]


@section
class Route:
    """One route. `timeouts` and `retries` hold only the keys that the route itself names; None: none."""

    id: str
    path: str
    allow_encoded: tuple[Literal["%2F", "%5C", "//", ";"], ...] = ()
    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    headers: Mapping[str, str] = _mapping()
    listeners: tuple[Literal["external", "internal"], ...] = ("external",)
    service: str | None = None
    split: tuple[Split, ...] = ()
    balancer: BalancerName | None = None
    tags: tuple[str, ...] = ()
    strip_prefix: str | None = None
    rewrite: Rewrite | None = None
    preserve_host: bool = True
    auth: Literal["default", "none"] | tuple[AuthMethod, ...] = "default"
    scopes: tuple[str, ...] = ()
    rate_limit: tuple[str, ...] = ()  # one name is accepted for a list of one
    concurrency: Positive | None = None
    cors: str | None = None
    cache: RouteCache | None = None
    timeouts: Mapping[str, float] | None = None
    retries: Mapping[str, Any] | None = None
    max_request_body: Size | None = None
    max_response_body: Size | None = None
    min_rate: Size | None = None  # bytes a second, written 1KiB/s
    mirror: Mirror | None = None
    fixed_response: FixedResponse | None = None


# --- policies -------------------------------------------------------------------------------------------------------
@section
class Jwt:
    algorithms: tuple[str, ...] = ("HS256",)
    secret: Secret | None = None
    public_key: Path | None = None
    jwks_url: str | None = None
    discovery_url: str | None = None
    issuer: str | None = None
    audience: str | None = None
    leeway: Duration = 0.0
    claims: Mapping[str, str] = _mapping()
    require_exp: bool = True
    require_active: bool = False


@section
class Key:
    id: str
    sha256: str
    scopes: tuple[str, ...] = ()
    expires: str | None = None


@section
class ApiKey:
    in_: tuple[str, ...] = ("header:X-API-Key",)  # the key is `in`
    keys: tuple[Key, ...] = ()
    keys_file: Path | None = None


@section
class Capture:
    path: str
    method: str = "POST"
    field: str = "access_token"
    ttl: Duration = 60.0


@section
class Revoke:
    path: str
    method: str = "POST"


@section
class Tokens:
    capture: tuple[Capture, ...] = ()
    revoke: tuple[Revoke, ...] = ()
    on_store_failure: Literal["deny", "allow"] = "deny"


@section
class Auth:
    default: Literal["none"] | tuple[AuthMethod, ...] = "none"
    forward_authorization: bool = False
    jwt: tuple[Jwt, ...] = ()  # one is accepted for a list of one
    api_key: ApiKey = ApiKey()
    tokens: Tokens = Tokens()


@section
class RateLimit:
    rate: Rate
    algorithm: Literal["token_bucket", "sliding_window"] = "token_bucket"
    burst: Positive | None = None
    key: tuple[str, ...] = ("client_ip",)  # one is accepted for a list of one
    fallback: str | None = None
    cost: Positive = 1
    exempt: tuple[str, ...] = ()
    ipv6_prefix: Positive = 64
    mode: Literal["enforce", "observe"] = "enforce"


@section
class Cors:
    origins: tuple[str, ...]
    methods: tuple[str, ...] = ("GET", "POST")
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age: Duration = 600.0


@section
class Cache:
    engine: Literal["node", "memory", "redis"] = "node"
    path: Path = Path("var/cache")
    max_size: Size = 256 * 1024**2
    max_object: Size = 1024**2


# --- telemetry ------------------------------------------------------------------------------------------------------
@section
class Logging:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
    access: bool = True
    sample: Share = 1.0
    mask: tuple[str, ...] = (
        "authorization", "cookie", "set-cookie", "x-api-key", "token", "password", "secret",
    )  # fmt: skip


@section
class Metrics:
    path: str = "/metrics"
    listeners: tuple[Literal["external", "internal"], ...] = ("internal",)
    max_label_values: Positive = 1000


@section
class Tracing:
    propagate: bool = True
    b3: bool = False
    otlp_endpoint: str | None = None
    sample: Share = 0.0


@section
class Recorder:
    max_size: Size = 32 * 1024**2
    sample: Share = 0.01


@section
class Routing:
    function: str | None = None


@section
class Config:
    """Everything in the file. `digest` is the SHA-256 of all that was read; `origin` is the file; neither is a key."""

    version: Literal[1] = 1
    include: tuple[str, ...] = ()
    listeners: Listeners = Listeners()
    server: Server = field(default_factory=Server)
    state: State = State()
    admin: Admin = field(default_factory=Admin)
    defaults: Defaults = Defaults()
    services: Mapping[str, Service] = _mapping()
    discovery: tuple[HttpDiscovery | DockerDiscovery | DnsDiscovery, ...] = ()
    routes: tuple[Route, ...] = ()
    auth: Auth = field(default_factory=Auth)
    rate_limits: Mapping[str, RateLimit] = _mapping()
    cors: Mapping[str, Cors] = _mapping()
    cache: Cache = Cache()
    logging: Logging = Logging()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    recorder: Recorder = Recorder()
    routing: Routing = Routing()
    setup: str | None = None
