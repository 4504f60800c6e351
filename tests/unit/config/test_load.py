from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from gateway.config.load import defaults_in, load
from gateway.config.model import Config, Instance, Route, Service, Timeouts
from gateway.config.problems import ConfigErrors
from gateway.config.shape import Section, shape_of
from gateway.config.units import Network, Secret

from .support import SMALLEST, config_of, everything_built, problem_of, problems_of, write

__all__ = ["everything_built"]
CONTRACT = Path(__file__).with_name("contract.yaml")
REPOSITORY = Path(__file__).parents[3]


def test_the_smallest_file_is_the_defaults(tmp_path: Path):
    config = config_of(tmp_path, SMALLEST)
    assert config == dataclasses.replace(defaults_in(tmp_path), services=MappingProxyType({"echo": Service()}))
    assert config.origin == tmp_path / "gateway.yaml"
    assert config.warnings == ()


def test_every_value_that_the_contract_shows_as_a_default_is_the_default(tmp_path: Path, everything_built: None):
    config = config_of(tmp_path, CONTRACT.read_text())
    base = defaults_in(tmp_path)
    examples = {"services", "routes", "rate_limits", "cors"}
    for field in dataclasses.fields(Config):
        if field.compare and field.name not in examples:
            assert getattr(config, field.name) == getattr(base, field.name), field.name
    instances = (
        Instance(id="inst-1", url="http://127.0.0.1:8081"),
        Instance(id="inst-2", url="http://127.0.0.1:8082", zone="a", tags=("canary",)),
    )
    assert config.services == {"echo": Service(instances=instances)}
    assert config.routes == (Route(id="echo", path="/echo/*", service="echo"),)
    per_client = config.rate_limits["per_client"]
    assert dataclasses.replace(per_client, burst=None) == type(per_client)(rate=per_client.rate)
    cors = config.cors["public"]
    assert cors == type(cors)(origins=("https://app.example.com",))


def test_the_contract_names_every_key_but_those_that_were_added(tmp_path: Path, everything_built: None):
    """So that a default that the contract shows cannot escape the test above."""
    added = {
        "admin.hosts",
        "services.echo.timeouts",
        "services.echo.pool",
        "services.echo.concurrency",
        "services.echo.grpc",
    }
    config = config_of(tmp_path, CONTRACT.read_text())
    missing = set()
    text = CONTRACT.read_text()

    def look(shape: Section, value: Any, path: str) -> None:
        for key, field in shape.fields.items():
            if f"{key}:" not in text:
                missing.add(f"{path}{key}")
            inner = field.shape
            if isinstance(inner, Section) and not inner.overrides:
                look(inner, getattr(value, field.name), f"{path}{key}.")

    root, service = shape_of(Config), shape_of(Service)
    assert isinstance(root, Section)
    assert isinstance(service, Section)
    look(root, config, "")
    look(service, config.services["echo"], "services.echo.")
    assert missing <= added


def test_types_of_the_model(tmp_path: Path, everything_built: None):
    config = config_of(
        tmp_path,
        """
        version: 1
        server: {workers: 0x10, pin_cpus: false, trusted_proxies: [unix, 10.0.0.0/8], security_headers: {X-A: b}}
        listeners: {external: {bind: ["[0::1]:8000", unix:/tmp/x]}, internal: null}
        admin: {listeners: [external], token: hunter2}
        state: {path: data/state}
        services:
          a.b-C_1: {retries: {when: [timeout, 500]}, breaker: {window: 3.5x request}}
        routes:
          - {id: one, path: /a, service: a.b-C_1, auth: [jwt, mtls], rate_limit: slow,
             timeouts: {connect: 2s}, min_rate: 1KiB/s}
          - {id: two, path: /b, service: a.b-C_1, auth: none, rate_limit: [slow],
             retries: {attempts: 3, methods: [GET]}}
        auth: {jwt: [{issuer: a}, {issuer: b}], api_key: {in: [query:key]}}
        rate_limits: {slow: {rate: 600/m, key: [client_ip, route]}}
        discovery: [{type: dns, name: a.b, service: x}, {type: docker}]
        """,
    )
    assert config.server.workers == 16
    assert config.server.pin_cpus is False
    assert config.server.trusted_proxies == ("unix", Network("10.0.0.0/8"))
    assert config.server.security_headers == {"X-A": "b"}
    assert config.listeners.external
    assert config.listeners.external.bind == ("[::1]:8000", "unix:/tmp/x")
    assert config.listeners.internal is None
    assert config.admin.token == Secret("hunter2")
    assert config.state.path == tmp_path / "data/state"
    assert config.cache.path == tmp_path / "var/cache"
    service = config.services["a.b-C_1"]
    assert service.retries.when == ("timeout", 500)
    assert service.breaker
    assert service.breaker.window
    assert service.breaker.window.times_request == 3.5
    one, two = config.routes
    assert (one.auth, two.auth) == (("jwt", "mtls"), "none")
    assert one.rate_limit == two.rate_limit == ("slow",)
    assert one.timeouts == {"connect": 2.0}
    assert two.retries == {"attempts": 3, "methods": ("GET",)}
    assert one.min_rate == 1024
    assert [jwt.issuer for jwt in config.auth.jwt] == ["a", "b"]
    assert config.auth.api_key.in_ == ("query:key",)
    assert config.rate_limits["slow"].key == ("client_ip", "route")
    assert [type(one).__name__ for one in config.discovery] == ["DnsDiscovery", "DockerDiscovery"]


def test_null_is_none_and_an_empty_section_is_its_defaults(tmp_path: Path):
    config = config_of(
        tmp_path,
        "version: 1\nserver: {}\nroutes: []\n"
        "services: {a: {breaker: null}, b: {breaker: {}}, c: {breaker: {failures: 9}}}",
    )
    a, b, c = (service.breaker for service in config.services.values())
    assert a is None
    assert b == Service().breaker
    assert c
    assert (c.failures, c.open_for) == (9, 30.0)


def test_a_listener_keeps_its_own_default_bind(tmp_path: Path):
    config = config_of(tmp_path, SMALLEST + "listeners: {internal: {tls: null}}")
    assert config.listeners.internal
    assert config.listeners.internal.bind == ("127.0.0.1:8001",)


def test_defaults_lie_under_every_service_key_by_key(tmp_path: Path, everything_built: None):
    config = config_of(
        tmp_path,
        """
        version: 1
        services:
          plain: {}
          own: {timeouts: {connect: 3s}, pool: {max_connections: 5}, concurrency: {per_service: 1}}
          none: {concurrency: null}
        routes: []
        defaults: {timeouts: {connect: 2s, request: 9s}, pool: {max_connections: 7}, concurrency: {global: 100}}
        """,
    )
    plain, own, none = config.services.values()
    assert plain.timeouts == Timeouts(connect=2.0, request=9.0)
    assert own.timeouts == Timeouts(connect=3.0, request=9.0)
    assert (plain.pool.max_connections, own.pool.max_connections) == (7, 5)
    assert plain.concurrency
    assert own.concurrency
    assert (plain.concurrency.global_, plain.concurrency.per_service) == (100, None)
    assert (own.concurrency.global_, own.concurrency.per_service) == (100, 1)
    assert none.concurrency is None


@pytest.mark.parametrize("missing", ["version", "services", "routes"])
def test_three_keys_are_required(tmp_path: Path, missing: str):
    lines = {"version": "version: 1", "services": "services: {}", "routes": "routes: []"}
    problem = problem_of(tmp_path, "\n".join(line for key, line in lines.items() if key != missing))
    assert (problem.line, problem.path, problem.why) == (1, missing, "this key is missing")


def test_all_problems_come_at_once_in_order_of_lines(tmp_path: Path):
    problems = problems_of(
        tmp_path,
        """\
        version: 2
        server: {threads: many, workers: 0}
        services: {"a b": {}, echo: {instances: [{id: x}]}}
        routes:
          - {id: a, path: x, servce: echo}
          - {id: a, path: /y, service: nowhere}
        """,
    )
    assert [(one.line, one.path) for one in problems] == [
        (1, "version"),
        (2, "server.threads"),
        (2, "server.workers"),
        (3, 'services["a…"]'),
        (3, "services.echo.instances[0].url"),
        (5, "routes[0].path"),
        (5, "routes[0].servce"),
        (6, "routes[1].id"),
        (6, "routes[1].service"),
    ]


def test_paths_are_relative_to_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, SMALLEST + "state: {path: ../data}", "conf/gateway.yaml")
    monkeypatch.chdir(tmp_path)
    assert load("conf/gateway.yaml").state.path == tmp_path / "conf/../data"
    monkeypatch.chdir(tmp_path / "conf")
    assert load("gateway.yaml").state.path == tmp_path / "conf/../data"


@pytest.mark.parametrize(
    ("content", "why", "place"),
    [
        (b"", "the file is empty", (1, 1)),
        (b"# nothing\n\n", "the file is empty", (1, 1)),
        (b"---\n", "the file is empty", (1, 1)),
        (b"null", "the file is empty", (1, 1)),
        (b"- a", "the file is no mapping", (1, 1)),
        (b"\nversion 1", "the file is no mapping", (2, 1)),
        (b"version: 1\nroutes:\n  - {id: a, pa", "not YAML", (4, 1)),
        (b"version: 1\nroutes: [\n", "not YAML", (3, 1)),
        (b"version: 1\nserver: \xff", "not UTF-8", (2, 9)),
        (b"\x7fELF\x02\x01\x01\0\0", "not a text file", (1, 1)),
        (b"\x00" * 4096, "not a text file", (1, 1)),
        (b"version: 1\nsetup: a\x07b", "not a text file", (2, 9)),
        ("version: 1".encode("utf-16"), "not UTF-8", (1, 1)),
        (b"a: " + b"[" * 50 + b"]" * 50, "nested deeper", (1, 35)),
        (b"[" * 50_000, "nested deeper", (1, 33)),
    ],
)
def test_what_is_no_configuration_is_told_with_its_place(
    tmp_path: Path, content: bytes, why: str, place: tuple[int, int]
):
    path = tmp_path / "gateway.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigErrors) as refused:
        load(path)
    (problem,) = refused.value
    assert why in problem.why
    found = (problem.line, problem.column)
    # libyaml 0.2.6 and later stop at a depth of their own, before ours is reached
    assert found == pytest.approx(place, abs=1) or (found == (1, 1001) and len(content) > 1000)
    assert problem.file == str(path)


def test_a_half_written_file_that_is_yaml_is_refused_for_what_it_lacks(tmp_path: Path):
    assert problem_of(tmp_path, "version: 1\nservices: {}\n").path == "routes"


def test_a_file_that_is_none(tmp_path: Path):
    for path, why in ((tmp_path / "nowhere.yaml", "no such file"), (tmp_path, "it is a folder")):
        with pytest.raises(ConfigErrors, match=why) as refused:
            load(path)
        (problem,) = refused.value
        assert (problem.file, problem.line, problem.column) == (str(path), 1, 1)


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path):
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"#" * (16 * 1024**2 + 1))
    with pytest.raises(ConfigErrors, match="larger than"):
        load(path)


def test_the_digest_changes_with_every_file_that_is_read(tmp_path: Path):
    write(tmp_path, "token-1", "token")
    write(tmp_path, "rate_limits: {}", "more/a.yaml")
    text = SMALLEST + 'include: [more/*.yaml]\nadmin: {token: "${file:token}"}\n'
    first = config_of(tmp_path, text).digest
    assert config_of(tmp_path, text).digest == first
    write(tmp_path, "token-2", "token")
    second = config_of(tmp_path, text).digest
    write(tmp_path, "rate_limits: {} # changed", "more/a.yaml")
    third = config_of(tmp_path, text).digest
    fourth = config_of(tmp_path, text + "# changed").digest
    assert len({first, second, third, fourth}) == 4
    assert len(first) == 64


def test_a_configuration_and_its_problems_can_be_sent_to_another_process(tmp_path: Path):
    errors = ConfigErrors(problems_of(tmp_path, "version: 2"))
    assert pickle.loads(pickle.dumps(errors)).problems == errors.problems
    service = config_of(tmp_path, SMALLEST).services["echo"]
    assert pickle.loads(pickle.dumps(service)) == service


def test_sections_are_values():
    assert Timeouts(connect=2.0) == Timeouts(connect=2.0)
    assert Timeouts(connect=2.0) != Timeouts()
    assert Timeouts() != Service()
    assert len({Timeouts(), Timeouts(), Timeouts(connect=2.0)}) == 2
    assert (
        repr(Instance(id="a", url="http://a:1")) == "Instance(id='a', url='http://a:1', weight=1, zone=None, tags=())"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        Timeouts().connect = 2.0  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        Timeouts().other = 2.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["conf/gateway.yaml", "conf/examples/kerberos.yaml"])
def test_the_shipped_files_load_without_a_warning(name: str):
    assert load(REPOSITORY / name).warnings == ()


def test_the_smallest_gateway_has_one_listener_that_carries_everything():
    config = load(REPOSITORY / "conf/examples/kerberos.yaml")
    assert config.listeners.internal is None
    assert config.listeners.external
    assert config.listeners.external.bind == ("127.0.0.1:8080",)
    assert config.admin.listeners == config.metrics.listeners == ("external",)
    (service,) = config.services.values()
    assert service.breaker
    assert (service.breaker.failures, service.breaker.open_for) == (5, 30.0)
    assert [(route.path, route.service) for route in config.routes] == [("/{name}/*", "{name}")]


def test_a_start_is_quick():
    """Measured at 90 ms on an idle machine; the bound is for a busy one."""
    script = (
        "import time; begin = time.process_time(); from gateway.config.load import load; load('conf/gateway.yaml');"
        "print(time.process_time() - begin)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, check=True)
        for _ in range(2)
    ]
    assert min(float(run.stdout) for run in runs) < 0.5


def test_ten_thousand_routes_load_in_seconds(tmp_path: Path):
    routes = "".join(
        f"  - {{id: r{n}, path: '/p{n}/{{id}}/*', methods: [GET], hosts: [api.example.com], service: s{n % 100}}}\n"
        for n in range(10_000)
    )
    services = "".join(f"  s{n}: {{instances: [{{id: a, url: 'http://127.0.0.1:{9000 + n}'}}]}}\n" for n in range(100))
    path = write(tmp_path, f"version: 1\nservices:\n{services}routes:\n{routes}")
    begin = time.process_time()
    assert len(load(path).routes) == 10_000
    assert time.process_time() - begin < 5
