from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.support import config_of, everything_built, problem_of

__all__ = ["everything_built"]
HEAD = "version: 1\nservices: {}\nroutes: []\n"
pytestmark = pytest.mark.usefixtures("everything_built")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("auth: {jwt: {algorithms: [HS256, RS256]}}", "auth.jwt.algorithms"),
        ("auth: {jwt: {algorithms: [none]}}", "auth.jwt.algorithms[0]"),
        ("auth: {jwt: {algorithms: []}}", "auth.jwt.algorithms"),
        ("auth: {jwt: {algorithms: [RS256], secret: x}}", "auth.jwt.secret"),
        ('auth: {jwt: {jwks_url: "https://a/keys"}}', "auth.jwt.algorithms"),
        ("auth: {jwt: {algorithms: [ES256], public_key: nowhere.pem}}", "auth.jwt.public_key"),
        ('auth: {jwt: {jwks_url: "ftp://a"}}', "auth.jwt.jwks_url"),
        ("auth: {jwt: [{issuer: a}, {issuer: a}]}", "auth.jwt[1].issuer"),
        ("auth: {jwt: {secret: ''}}", "auth.jwt.secret"),
        ("auth: {api_key: {in: [X-API-Key]}}", "auth.api_key.in[0]"),
        ("auth: {api_key: {keys_file: nowhere}}", "auth.api_key.keys_file"),
        ("auth: {api_key: {keys: [{id: a, sha256: abc}]}}", "auth.api_key.keys[0].sha256"),
        ("auth: {default: jwt}", "auth.default"),
        ("auth: {default: [none]}", "auth.default[0]"),
        ("rate_limits: {a: {}}", "rate_limits.a.rate"),
        ("rate_limits: {a: {rate: 10/s, cost: 11}}", "rate_limits.a.cost"),
        ("rate_limits: {a: {rate: 1/m, cost: 2}}", "rate_limits.a.cost"),
        ("rate_limits: {a: {rate: 10/m, cost: 11, algorithm: sliding_window}}", "rate_limits.a.cost"),
        ("rate_limits: {a: {rate: 10/m, burst: 5, algorithm: sliding_window}}", "rate_limits.a.burst"),
        ("rate_limits: {a: {rate: 10/m, key: ip}}", "rate_limits.a.key"),
        ("rate_limits: {a: {rate: 10/m, key: [client_ip, ip]}}", "rate_limits.a.key[1]"),
        ("rate_limits: {a: {rate: 10/m, ipv6_prefix: 129}}", "rate_limits.a.ipv6_prefix"),
        ('cors: {a: {origins: ["*"], credentials: true}}', "cors.a.origins"),
        ("cors: {a: {origins: []}}", "cors.a.origins"),
        ("cors: {a: {}}", "cors.a.origins"),
    ],
)
def test_what_could_not_work(tmp_path: Path, text: str, path: str):
    problem = problem_of(tmp_path, HEAD + text)
    assert (problem.line, problem.path) == (4, path)


def test_what_works(tmp_path: Path):
    (tmp_path / "key.pem").write_text("x")
    config = config_of(
        tmp_path,
        HEAD
        + f"""\
auth:
  jwt: [{{secret: {"x" * 32}}}, {{issuer: b, algorithms: [ES256], public_key: key.pem}}]
  api_key: {{keys: [{{id: a, sha256: {"a" * 64}}}, {{id: b, sha256: {"a" * 64}}}]}}
rate_limits: {{a: {{rate: 10/s, cost: 10}}, b: {{rate: 600/m, cost: 11, algorithm: sliding_window}}}}
cors: {{a: {{origins: ["*"]}}, b: {{origins: ["https://*.a.b"], credentials: true}}}}
""",
    )
    assert config.warnings == ()


def test_keys_have_ids_of_their_own(tmp_path: Path):
    one = f"{{id: a, sha256: {'a' * 64}}}"
    assert problem_of(tmp_path, HEAD + f"auth: {{api_key: {{keys: [{one}, {one}]}}}}").path == "auth.api_key.keys[1].id"


def test_a_short_secret_is_a_warning_that_does_not_show_it(tmp_path: Path):
    (warning,) = config_of(tmp_path, HEAD + "auth: {jwt: {secret: hunter2}}").warnings
    assert (warning.line, warning.path) == (4, "auth.jwt.secret")
    assert "shorter than 32 bytes" in warning.why
    assert "hunter2" not in str(warning)
