"""Services: their instances, how one is chosen, judged and tried again; and where else instances come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from ..shape import AtLeastOne, OneOrMany
from ..texts import (
    DockerSocket,
    HashKey,
    HeaderValue,
    HostPattern,
    HttpUrl,
    InstanceUrl,
    Method,
    Name,
    PlainPath,
    Printable,
    Statuses,
    Token,
)
from ..units import Bound, Duration, Natural, Positive, Secret, Share, Timeout, Window, whole
from .sections import section

Weight = Annotated[int, whole(1, 1_000_000)]
ErrorStatus = Annotated[int, whole(400, 599)]


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
