"""Policies by name: who may come, how often, from which origin, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from ..shape import AtLeastOne, OneOrMany
from ..texts import Credential, Expiry, HeaderName, HttpUrl, LimitKey, Method, Origin, PlainPath, Printable, Sha256
from ..units import Capacity, Duration, Positive, Rate, Secret, Timeout, whole
from .sections import mapping, section

AuthMethod = Literal["jwt", "api_key", "mtls"]
JwtAlgorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]


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
    claims: Mapping[str, HeaderName] = mapping()
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
