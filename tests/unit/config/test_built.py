from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.built import NOT_BUILT, row_of
from gateway.config.model import Config
from gateway.config.shape import Items, Nullable, Section, Table, shape_of

from .support import config_of, problem_of, problems_of

SERVICE = "version: 1\nroutes: []\nservices:\n  s: "
ROUTE = "version: 1\nservices: {s: {}}\nroutes:\n  - "
REST = "version: 1\nservices: {}\nroutes: []\n"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (REST + "state: {engine: redis}", "state.engine"),
        (REST + "state: {redis: {prefix: x}}", "state.redis.prefix"),
        (REST + "state: {on_failure: deny}", "state.on_failure"),
        (REST + "defaults: {concurrency: {global: 1}}", "defaults.concurrency"),
        (SERVICE + "{protocol: grpc}", "services.s.protocol"),
        (SERVICE + "{concurrency: {per_service: 1}}", "services.s.concurrency"),
        (REST + "discovery: [{type: docker}]", "discovery"),
        (ROUTE + "{id: a, path: /a, service: s, auth: [jwt]}", "routes[0].auth"),
        (ROUTE + "{id: a, path: /a, service: s, scopes: [x]}", "routes[0].scopes"),
        (ROUTE + "{id: a, path: /a, service: s, concurrency: 1}", "routes[0].concurrency"),
        (ROUTE + "{id: a, path: /a, service: s, cache: {ttl: 1s}}", "routes[0].cache"),
        (ROUTE + "{id: a, path: /a, service: s, max_response_body: 1B}", "routes[0].max_response_body"),
        (ROUTE + "{id: a, path: /a, service: s, min_rate: 1B/s}", "routes[0].min_rate"),
        (ROUTE + "{id: a, path: /a, service: s, mirror: {service: s}}", "routes[0].mirror"),
        (REST + "auth: {default: [jwt]}", "auth.default"),
        (REST + "auth: {jwt: {issuer: x}}", "auth.jwt"),
        (REST + "auth: {tokens: {on_store_failure: allow}}", "auth.tokens.on_store_failure"),
        (REST + "rate_limits: {a: {rate: 1/s}}", "rate_limits"),
        (REST + "cors: {a: {origins: ['*']}}", "cors"),
        (REST + "cache: {max_size: 1MiB}", "cache.max_size"),
        (REST + "tracing: {sample: 1%}", "tracing.sample"),
        (REST + "recorder: {sample: 2%}", "recorder.sample"),
    ],
)
def test_a_key_that_is_not_built_is_refused_where_it_stands(tmp_path: Path, text: str, path: str):
    problems = problems_of(tmp_path, text)
    assert sorted(problem.path for problem in problems) == path.split()
    assert {(problem.line, problem.why) for problem in problems} == {(4, "this is not built yet")}


@pytest.mark.parametrize(
    "text",
    [
        REST + "state: {engine: memory, redis: {prefix: 'gateway:', timeout: 250ms}, on_failure: local}",
        REST
        + "cache: {engine: node, path: var/cache}\ntracing: {sample: 0%}\n"
        + "auth: {jwt: {algorithms: [HS256]}, default: none}",
        REST + "rate_limits: {}\ncors: {}\ndiscovery: []\ndefaults: {concurrency: null}",
        SERVICE
        + "{balancer: weighted_round_robin, retries: {attempts: 1}, breaker: {failures: 1, half_open_probes: 1}}",
        SERVICE + "{balancer: consistent_hash, hash: {key: path, bounded_load: 1.25}, slow_start: 1s, prefer_zone: a}",
        SERVICE + "{balancer: least_requests, sticky: {cookie: a, secret: b}, retries: {attempts: 3, budget: 1%}}",
        SERVICE
        + "{retries: {attempts: 2, budget: 20%}, health: {when_none_healthy: fail}, slow_start: 0ms, breaker: null}",
        SERVICE + '{instances: [{id: a, url: "http://h:1", zone: z, tags: [t]}]}',
        ROUTE + "{id: a, path: /a, service: s, balancer: round_robin, auth: none, retries: {attempts: 1}, tags: []}",
        ROUTE + "{id: a, path: /a, service: s, balancer: random_two, retries: {attempts: 3}, tags: [x]}",
    ],
)
def test_defaults_and_what_is_built_are_accepted(tmp_path: Path, text: str):
    config_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            REST + "recorder: {sample: 2}",
            "wrong type; found the number 2; allowed: a share from 0% to 100% (did you mean 2%?)",
        ),
        (SERVICE + "{retries: {attempts: many}}", 'wrong type; found "many"; allowed: a whole number from 1'),
        (SERVICE + "{balancer: least}", "unknown value"),
    ],
)
def test_a_wrong_type_is_told_as_a_wrong_type(tmp_path: Path, text: str, message: str):
    assert message in problem_of(tmp_path, text).message


def test_what_works_so_far_is_told(tmp_path: Path):
    assert problem_of(tmp_path, REST + "state: {engine: redis}").message == (
        'this is not built yet; found "redis"; allowed: memory, node'
    )
    assert problem_of(tmp_path, REST + "recorder: {sample: 2%}").message == (
        'this is not built yet; found "2%"; allowed: its default, so leave it out'
    )


def test_every_row_is_a_key_of_the_model():
    for row in NOT_BUILT:
        shape = shape_of(Config)
        for key in row.key.split("."):
            while isinstance(shape, Nullable):
                shape = shape.shape
            if key == "*":
                assert isinstance(shape, (Items, Table))
                shape = shape.item
            else:
                assert isinstance(shape, Section)
                shape = shape.fields[key].shape


def test_a_row_covers_what_is_below_it():
    row = row_of("services.*.grpc.reflection")
    assert row is not None
    assert row.key == "services.*.grpc"
    assert row_of("services.*.breaker.failures") is None
    assert row_of("services.*.hashes") is None
