from __future__ import annotations

import json
from pathlib import Path

import yaml

from gateway.config.load import load
from gateway.config.mask import mask

from .support import config_of, everything_built, write

__all__ = ["everything_built"]
REPOSITORY = Path(__file__).parents[3]
SECRETS = """\
version: 1
admin: {token: hunter2, register_token: hunter2}
state: {redis: {url: "redis://user:hunter2@h:6379/0?password=hunter2&db=1"}}
server: {security_headers: {X-Frame-Options: DENY, X-Internal-Token: hunter2}}
services:
  s: {sticky: {cookie: a, secret: hunter2}, instances: [{id: a, url: "http://h:1"}]}
routes:
  - id: r
    path: /a
    service: s
    headers: {X-API-Key: hunter2, X-Version: v2, Sesame: hunter2}
    rewrite: {request_headers: {set: {Authorization: Bearer hunter2, X-A: b}}}
auth:
  jwt: {secret: hunter2, algorithms: [HS256]}
  api_key: {keys: [{id: partner, sha256: "%s"}]}
discovery: [{type: http, url: "https://user:hunter2@h/list"}]
tracing: {otlp_endpoint: "http://hunter2@h:4318"}
logging: {mask: [sesame]}
"""


def test_no_secret_is_shown(tmp_path: Path, everything_built: None):
    hashed = "ab" * 32
    shown = mask(config_of(tmp_path, SECRETS % hashed))
    told = json.dumps(shown)
    assert "hunter2" not in told
    assert hashed not in told
    assert shown["admin"]["token"] == shown["auth"]["jwt"][0]["secret"] == "***"
    assert shown["state"]["redis"]["url"] == "redis://***@h:6379/0?password=***&db=1"
    assert shown["server"]["security_headers"] == {"X-Frame-Options": "DENY", "X-Internal-Token": "***"}
    route = shown["routes"][0]
    assert route["headers"] == {"X-API-Key": "***", "X-Version": "v2", "Sesame": "***"}
    assert route["rewrite"]["request_headers"]["set"] == {"Authorization": "***", "X-A": "b"}


def test_values_are_spelled_as_in_the_file(tmp_path: Path):
    shown = mask(load(REPOSITORY / "conf/gateway.yaml"))
    assert shown["server"]["keepalive"] == "75s"
    assert shown["server"]["pin_cpus"] == "auto"
    assert shown["server"]["max_request_body"] == "100MiB"
    assert shown["server"]["trusted_proxies"] == ["127.0.0.1/32", "::1/128", "unix"]
    assert shown["services"]["echo"]["breaker"]["failures"] == 5
    assert shown["listeners"]["internal"] == {"bind": ["127.0.0.1:8001"], "tls": None}
    assert shown["auth"]["api_key"]["in"] == ["header:X-API-Key"]
    assert "digest" not in shown


def test_what_holds_no_secret_loads_again_as_the_same(tmp_path: Path, everything_built: None):
    text = """\
    version: 1
    server: {workers: 3, pin_cpus: true, trusted_proxies: [unix], max_request_body: 1.5MiB}
    services:
      a: {hash: null, breaker: {window: 3.5x request, failure_on: [5xx]},
          retries: {when: [connect, 500], budget: 12.5%}}
      b: {breaker: null, timeouts: {connect: 250ms}, concurrency: {global: 5, queue: 1.5s}}
    routes:
      - {id: a, path: /a, service: a, auth: [jwt], rate_limit: slow,
         timeouts: {connect: 2s}, retries: {when: [502]}, min_rate: 1KiB/s}
      - {id: b, path: '/{x}/*', split: [{service: a, weight: 9}, {service: b}],
         rewrite: {path: '/v2/*'}, headers: {X-A: '*'}}
    rate_limits: {slow: {rate: 0.5/s, key: [client_ip, "header:X"]}}
    cors: {any: {origins: ['~^https://']}}
    discovery: [{type: dns, name: a.b, service: a}, {type: http, url: "http://h/x"}]
    logging: {sample: 33.3%}
    """
    config = config_of(tmp_path, text)
    again = write(tmp_path, yaml.safe_dump(mask(config)), "again.yaml")
    assert load(again) == config
