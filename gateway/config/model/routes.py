"""Routes: which request goes to which service, and how it is changed on its way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ..shape import OneOrMany
from ..texts import HeaderName, HeaderValue, Hook, HostPattern, Method, Prefix, Printable, RewritePath, RoutePath
from ..units import ByteRate, Positive, Share, Size, Timeout, whole
from .policies import AuthMethod
from .sections import mapping, overrides, section
from .server import Plane
from .services import BalancerName, Retries, Timeouts


@section
class Split:
    service: str
    weight: Annotated[int, whole(0, 1_000_000)] = 1


@section
class HeaderEdits:
    set: Mapping[HeaderName, HeaderValue] = mapping()
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
    headers: Mapping[HeaderName, HeaderValue] = mapping()
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
    timeouts: Mapping[str, float] | None = overrides(Timeouts)
    retries: Mapping[str, Any] | None = overrides(Retries)
    max_request_body: Size | None = None
    max_response_body: Size | None = None
    min_rate: ByteRate | None = None
    mirror: Mirror | None = None
    fixed_response: FixedResponse | None = None


@section
class Routing:
    function: Hook | None = None
