"""Rules for authentication, rate limits and CORS."""

from __future__ import annotations

from ..document import Document
from ..files import problem_with
from ..model import Config, Jwt
from ..problems import KeyPath

_SHORTEST_SECRET = 32  # bytes: RFC 7518, 3.2, for HS256


def jwt_keys_fit(config: Config, document: Document) -> None:
    issuers: set[str | None] = set()
    single = document.found("auth", "jwt") == "a mapping"
    for number, jwt in enumerate(config.auth.jwt):
        path: KeyPath = ("auth", "jwt") if single else ("auth", "jwt", number)
        if not document.given(*path) or not document.sound(*path):
            continue
        _keys_fit(jwt, path, document)
        if jwt.issuer in issuers and len(config.auth.jwt) > 1:
            document.refuse((*path, "issuer"), "several entries are told apart by issuer: each needs its own")
        issuers.add(jwt.issuer)


def _keys_fit(jwt: Jwt, path: KeyPath, document: Document) -> None:
    hmac = {name for name in jwt.algorithms if name.startswith("HS")}
    public = set(jwt.algorithms) - hmac
    if hmac and public:
        why = "HMAC and public-key algorithms for one key: a public key could be used as the secret"
        document.refuse((*path, "algorithms"), why, allowed="HS… alone, or none of them")
    elif jwt.secret and public:
        document.refuse((*path, "secret"), "is for HS256, HS384 and HS512, which algorithms does not name")
    elif hmac and (jwt.public_key or jwt.jwks_url or jwt.discovery_url):
        document.refuse((*path, "algorithms"), "HMAC needs secret; public keys are for RS…, PS…, ES… and EdDSA")
    if jwt.secret and len(jwt.secret.reveal().encode()) < _SHORTEST_SECRET:
        document.warn(
            (*path, "secret"), f"shorter than {_SHORTEST_SECRET} bytes, which is the least for HS256 (RFC 7518, 3.2)"
        )
    problem = problem_with(str(jwt.public_key)) if jwt.public_key else None
    if problem:
        document.refuse(
            (*path, "public_key"), f"the file cannot be used: {problem}", found=document.found(*path, "public_key")
        )


def api_keys_differ(config: Config, document: Document) -> None:
    seen: dict[str, int] = {}
    for number, key in enumerate(config.auth.api_key.keys):
        path: KeyPath = ("auth", "api_key", "keys", number, "id")
        if document.sound(*path):
            first = seen.setdefault(key.id, number)
            if first != number:
                there = document.place("auth", "api_key", "keys", first, "id")
                document.refuse(path, f"another key has this id, in {there}", found=document.found(*path))
    file = config.auth.api_key.keys_file
    problem = problem_with(str(file)) if file and document.sound("auth", "api_key", "keys_file") else None
    if problem:
        document.refuse(("auth", "api_key", "keys_file"), f"the file cannot be used: {problem}")


def limits_are_possible(config: Config, document: Document) -> None:
    for name, limit in config.rate_limits.items():
        path: KeyPath = ("rate_limits", name)
        if not document.sound(*path):
            continue
        largest = limit.burst if limit.burst is not None else max(1, limit.rate.per_second)
        if limit.algorithm == "sliding_window":
            if limit.burst is not None:
                document.refuse((*path, "burst"), "a sliding window has none: the rate is the most in its period")
            largest = limit.rate.count
        if limit.cost > largest:
            document.refuse((*path, "cost"), "more than the limit ever holds: every request would be refused")


def cors_is_possible(config: Config, document: Document) -> None:
    for name, cors in config.cors.items():
        if cors.credentials and "*" in cors.origins and document.sound("cors", name):
            why = "browsers refuse * with credentials: true (Fetch, 3.3.5)"
            document.refuse(("cors", name, "origins"), why, allowed="the origins themselves")
