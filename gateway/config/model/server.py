"""Listeners, server, state and admin: what concerns the process and not a request's way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from ..shape import AtLeastOne
from ..texts import BindAddress, HeaderName, HeaderValue, HostPattern, RedisUrl
from ..units import Capacity, Duration, Network, Positive, Secret, Size, Timeout, whole
from .sections import mapping, section

Plane = Literal["external", "internal"]


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
    security_headers: Mapping[HeaderName, HeaderValue] = mapping()


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
