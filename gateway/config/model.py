"""The configuration as frozen values: what `load` makes of the YAML, and all that the rest of the gateway sees of it.

Names are those of the configuration file, key by key; a field's default is the key's default. Durations are seconds
(float), sizes are bytes (int), shares are fractions of one (float). No component receives the whole `Config`: `build`
hands each its own section. A field whose name is a keyword of Python has a trailing underscore that the key has not.

Field metadata: `key: False` is not in the file, `required: True` must be in the file although the code has a default,
`overrides: Section` holds only those keys of a section that are given, as a read-only mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from .problems import Problem
from .shape import AtLeastOne, OneOrMany
from .texts import (
    BindAddress,
    Credential,
    DockerSocket,
    Expiry,
    HashKey,
    HeaderName,
    HeaderValue,
    Hook,
    HostPattern,
    HttpUrl,
    InstanceUrl,
    LimitKey,
    Method,
    Name,
    Origin,
    PlainPath,
    Prefix,
    Printable,
    RedisUrl,
    RewritePath,
    RoutePath,
    Sha256,
    Statuses,
    Token,
)
from .units import (
    Bound,
    ByteRate,
    Capacity,
    Duration,
    Natural,
    Network,
    Positive,
    Rate,
    Secret,
    Share,
    Size,
    Timeout,
    Window,
    whole,
)


def _mapping(**metadata: bool) -> Any:
    """A dataclass field whose default is an empty read-only mapping."""
    return field(default_factory=lambda: MappingProxyType({}), metadata=metadata)


T = TypeVar("T")
Plane = Literal["external", "internal"]
Weight = Annotated[int, whole(1, 1_000_000)]
ErrorStatus = Annotated[int, whole(400, 599)]


def _required(default: Any) -> Any:
    """A field that must be in the file; the default is for code."""
    return field(default=default, metadata={"required": True})


def _overrides(section: type) -> Any:
    """A field that holds the keys of `section` that are given; None when none is."""
    return field(default=None, metadata={"overrides": section})


def _not_a_key(default: Any) -> Any:
    return field(default=default, compare=False, metadata={"key": False})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def section(cls: type[T]) -> type[T]:
    """A mapping of the file with a fixed set of keys: a frozen dataclass with slots, compared and shown by its fields.

    There are fifty of them, and every start pays for what is generated: so comparison and repr are shared, and each has
    a docstring, without which dataclasses would work out a signature for one.
    """
    cls.__doc__ = cls.__doc__ or cls.__name__
    for name, method in (("__eq__", _equal), ("__hash__", _hashed), ("__repr__", _shown)):
        setattr(cls, name, method)
    return dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)(cls)


def _equal(self: Any, other: object) -> Any:
    if self.__class__ is not other.__class__:
        return NotImplemented
    return _compared(self) == _compared(other)


def _hashed(self: Any) -> int:
    return hash(_compared(self))


def _shown(self: Any) -> str:
    values = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self))
    return f"{self.__class__.__name__}({values})"


def _compared(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, one.name) for one in fields(self) if one.compare)


# --- listeners, server, state, admin --------------------------------------------------------------------------------
@section
class ListenerTls:
    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_auth: Literal["none", "optional", "required"] = "none"


@section
class Listener:
    bind: AtLeastOne[BindAddress]
    tls: ListenerTls | None = None


@section
class Listeners:
    external: Listener | None = Listener(bind=("0.0.0.0:8000",))
    internal: Listener | None = Listener(bind=("127.0.0.1:8001",))


@section
class HeaderLimits:
    count: Positive = 100
    size: Capacity = 32 * 1024


@section
class Server:
    workers: Annotated[int, whole(1, 256)] | None = None  # 512 worker slots serve two generations during a reload
    threads: Annotated[int, whole(1, 4096)] = 32
    internal_threads: Annotated[int, whole(1, 4096)] = 16
    pin_cpus: bool | Literal["auto"] = "auto"
    keepalive: Duration = 75.0
    graceful_timeout: Duration = 30.0
    reload_drain: Duration = 600.0
    request_head_timeout: Timeout = 10.0
    client_idle: Timeout = 30.0
    backlog_wait: Timeout = 5.0
    max_request_body: Size = 100 * 1024**2
    max_request_line: Capacity = 8 * 1024
    max_request_headers: HeaderLimits = HeaderLimits()
    trusted_proxies: tuple[Network | Literal["unix"], ...] = field(
        default_factory=lambda: (Network("127.0.0.1/32"), Network("::1/128"), "unix")
    )
    security_headers: Mapping[HeaderName, HeaderValue] = _mapping()


@section
class RedisState:
    url: RedisUrl = "redis://127.0.0.1:6379/0"
    prefix: str = "gateway:"
    timeout: Timeout = 0.25


SMALLEST_STATE = 1024**2  # bytes of max_size with which the node engine can be made


@section
class State:
    engine: Literal["memory", "node", "redis"] = "node"
    path: Path = Path("var/state")
    max_size: Capacity = 256 * 1024**2
    redis: RedisState = RedisState()
    on_failure: Literal["local", "deny"] = "local"


@section
class Admin:
    listeners: tuple[Plane, ...] = ("internal",)
    token: Secret | None = None
    register_token: Secret | None = None
    insecure: bool = False
    hosts: tuple[HostPattern, ...] = ()  # names under which the admin API may be called, beside addresses and localhost
    register_networks: tuple[Network, ...] = field(
        default_factory=lambda: tuple(
            Network(text)
            for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
        )
    )


# --- what services and routes share ---------------------------------------------------------------------------------
@section
class Timeouts:
    connect: Timeout = 1.0
    request: Timeout = 30.0
    upstream: Timeout = 10.0
    idle: Timeout = 60.0
    dns: Timeout = 1.0
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
    when: tuple[Literal["connect", "reset", "timeout"] | ErrorStatus, ...] = ("connect", "reset", 502, 503, 504)
    methods: tuple[Method, ...] = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
    budget: Share = 0.2
    min_per_second: Natural = 3
    backoff: Duration = 0.025


# --- services -------------------------------------------------------------------------------------------------------
@section
class Instance:
    """`url` is in its normal form, `scheme://host:port`."""

    id: Name
    url: InstanceUrl
    weight: Weight = 1
    zone: Printable | None = None
    tags: tuple[Printable, ...] = ()


@section
class Hash:
    key: HashKey
    fallback: HashKey | None = None
    bounded_load: Bound | None = None


@section
class Sticky:
    cookie: Token
    secret: Secret
    ttl: Timeout = 3600.0
    secure: bool = True


@section
class SlowCall:
    over: Timeout
    ratio: Share


@section
class Breaker:
    failures: Positive = 5
    window: Window | None = None
    failure_ratio: Share | None = None
    minimum_calls: Positive = 10
    slow_call: SlowCall | None = None
    open_for: Timeout = 30.0
    max_open_for: Timeout | None = None
    half_open_probes: Annotated[int, whole(1, 32)] = 3
    failure_on: AtLeastOne[FailureKind] = ("connect", "reset", "timeout", "5xx")
    deregister: bool = False
    max_ejected: Share = 1.0


@section
class ActiveHealth:
    type: Literal["http", "tcp"] = "http"
    path: PlainPath = "/health"
    host: HeaderValue | None = None
    expect: OneOrMany[Statuses | Annotated[int, whole(100, 599)]] = ("200-399",)
    body: str | None = None
    interval: Timeout = 5.0
    timeout: Timeout = 1.0
    healthy_after: Positive = 2
    unhealthy_after: Positive = 3


@section
class PassiveHealth:
    failures: Annotated[int, whole(1, 16)] = 3
    window: Timeout = 30.0
    retry_after: Timeout = 10.0


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
    server_name: HostPattern | None = None
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
    prefer_zone: Printable | None = None
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
    url: HttpUrl
    interval: Timeout = 30.0
    report: bool = False


@section
class DockerDiscovery:
    type: Literal["docker"]
    socket: DockerSocket = "unix:///var/run/docker.sock"


@section
class DnsDiscovery:
    type: Literal["dns"]
    name: Printable
    service: Name
    interval: Timeout = 30.0


# --- routes ---------------------------------------------------------------------------------------------------------
@section
class Split:
    service: str
    weight: Annotated[int, whole(0, 1_000_000)] = 1


@section
class HeaderEdits:
    set: Mapping[HeaderName, HeaderValue] = _mapping()
    remove: tuple[HeaderName, ...] = ()


@section
class Rewrite:
    path: RewritePath | None = None
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()


@section
class RouteCache:
    ttl: Timeout
    override: bool = False
    shared: bool = False


@section
class Mirror:
    service: str
    share: Share = 1.0


@section
class FixedResponse:
    status: Annotated[int, whole(200, 599)] = 200
    body: str = ""
    content_type: HeaderValue = "text/plain"


AuthMethod = Literal["jwt", "api_key", "mtls"]
JwtAlgorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]


@section
class Route:
    """One route. `timeouts` and `retries` hold only the keys that the route itself names; None: none.

    Everything that is None is as the service, the defaults or the server have it.
    """

    id: Printable
    path: RoutePath
    allow_encoded: tuple[Literal["%2F", "%5C", "//", ";"], ...] = ()
    hosts: tuple[HostPattern, ...] = ()
    methods: tuple[Method, ...] = ()
    headers: Mapping[HeaderName, HeaderValue] = _mapping()
    listeners: tuple[Plane, ...] = ("external",)
    service: str | None = None
    split: tuple[Split, ...] = ()
    balancer: BalancerName | None = None
    tags: tuple[Printable, ...] = ()
    strip_prefix: Prefix | None = None
    rewrite: Rewrite | None = None
    preserve_host: bool = True
    auth: Literal["default", "none"] | tuple[AuthMethod, ...] = "default"
    scopes: tuple[str, ...] = ()
    rate_limit: OneOrMany[str] | None = None
    concurrency: Positive | None = None
    cors: str | None = None
    cache: RouteCache | None = None
    timeouts: Mapping[str, float] | None = _overrides(Timeouts)
    retries: Mapping[str, Any] | None = _overrides(Retries)
    max_request_body: Size | None = None
    max_response_body: Size | None = None
    min_rate: ByteRate | None = None
    mirror: Mirror | None = None
    fixed_response: FixedResponse | None = None


# --- policies -------------------------------------------------------------------------------------------------------
@section
class Jwt:
    algorithms: AtLeastOne[JwtAlgorithm] = ("HS256",)
    secret: Secret | None = None
    public_key: Path | None = None
    jwks_url: HttpUrl | None = None
    discovery_url: HttpUrl | None = None
    issuer: str | None = None
    audience: str | None = None
    leeway: Duration = 0.0
    claims: Mapping[str, HeaderName] = _mapping()
    require_exp: bool = True
    require_active: bool = False


@section
class Key:
    id: Printable
    sha256: Sha256
    scopes: tuple[str, ...] = ()
    expires: Expiry | None = None


@section
class ApiKey:
    in_: AtLeastOne[Credential] = ("header:X-API-Key",)
    keys: tuple[Key, ...] = ()
    keys_file: Path | None = None


@section
class Capture:
    path: PlainPath
    method: Method = "POST"
    field: str = "access_token"
    ttl: Timeout = 60.0


@section
class Revoke:
    path: PlainPath
    method: Method = "POST"


@section
class Tokens:
    capture: tuple[Capture, ...] = ()
    revoke: tuple[Revoke, ...] = ()
    on_store_failure: Literal["deny", "allow"] = "deny"


@section
class Auth:
    default: Literal["none"] | tuple[AuthMethod, ...] = "none"
    forward_authorization: bool = False
    jwt: OneOrMany[Jwt] = (Jwt(),)
    api_key: ApiKey = ApiKey()
    tokens: Tokens = Tokens()


@section
class RateLimit:
    rate: Rate
    algorithm: Literal["token_bucket", "sliding_window"] = "token_bucket"
    burst: Positive | None = None
    key: OneOrMany[LimitKey] = ("client_ip",)
    fallback: LimitKey | None = None
    cost: Positive = 1
    exempt: tuple[str, ...] = ()
    ipv6_prefix: Annotated[int, whole(1, 128)] = 64
    mode: Literal["enforce", "observe"] = "enforce"


@section
class Cors:
    origins: AtLeastOne[Origin]
    methods: tuple[Method, ...] = ("GET", "POST")
    headers: tuple[HeaderName, ...] = ("Authorization", "Content-Type")
    expose: tuple[HeaderName, ...] = ()
    credentials: bool = False
    max_age: Duration = 600.0


@section
class Cache:
    engine: Literal["node", "memory", "redis"] = "node"
    path: Path = Path("var/cache")
    max_size: Capacity = 256 * 1024**2
    max_object: Capacity = 1024**2


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
    path: PlainPath = "/metrics"
    listeners: tuple[Plane, ...] = ("internal",)
    max_label_values: Positive = 1000


@section
class Tracing:
    propagate: bool = True
    b3: bool = False
    otlp_endpoint: HttpUrl | None = None
    sample: Share = 0.0


@section
class Recorder:
    max_size: Capacity = 32 * 1024**2
    sample: Share = 0.01


@section
class Routing:
    function: Hook | None = None


@section
class Config:
    """Everything in the file.

    origin: the file. digest: SHA-256 (hex) over every file that was read. warnings: what is allowed but hardly meant.
    """

    version: Literal[1] = _required(1)
    include: tuple[str, ...] = ()
    listeners: Listeners = Listeners()
    server: Server = field(default_factory=Server)
    state: State = State()
    admin: Admin = field(default_factory=Admin)
    defaults: Defaults = Defaults()
    services: Mapping[Name, Service] = _mapping(required=True)
    discovery: tuple[HttpDiscovery | DockerDiscovery | DnsDiscovery, ...] = ()
    routes: tuple[Route, ...] = _required(())
    auth: Auth = field(default_factory=Auth)
    rate_limits: Mapping[Name, RateLimit] = _mapping()
    cors: Mapping[Name, Cors] = _mapping()
    cache: Cache = Cache()
    logging: Logging = Logging()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    recorder: Recorder = Recorder()
    routing: Routing = Routing()
    setup: Hook | None = None
    origin: Path | None = _not_a_key(None)
    digest: str = _not_a_key("")
    warnings: tuple[Problem, ...] = _not_a_key(())

    @property
    def folder(self) -> Path | None:
        """Where the file is; None when the configuration was made without one."""
        return None if self.origin is None else self.origin.absolute().parent
