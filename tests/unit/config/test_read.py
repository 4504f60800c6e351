"""What is wrong with single values: where it is told, and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from .support import config_of, problem_of, problems_of, write

HEAD = "version: 1\nservices: {echo: {}}\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "path", "message"),
    [
        # keys
        ("routes: []\nsever: {}", 4, 1, "sever", "unknown key (did you mean server?)"),
        ("routes: []\nserver: {Threads: 1}", 4, 10, "server.Threads", "unknown key (did you mean threads?)"),
        (
            "routes: []\nserver: {max-request-body: 1B}",
            4,
            10,
            "server.max-request-body",
            "unknown key (did you mean max_request_body?)",
        ),
        (
            "routes: []\nadmin: {zzz: 1}",
            4,
            9,
            "admin.zzz",
            "unknown key; allowed: listeners, token, register_token, insecure, hosts, register_networks",
        ),
        ("routes: []\n<<: {}", 4, 1, '["…"]', "YAML 1.2 has no merge keys; repeat the keys"),
        (
            "routes: []\nserver:\n  threads: 1\n  threads: 2",
            6,
            3,
            "server.threads",
            "the key threads stands twice; the first is in line 5",
        ),
        (
            "routes: [{path: /a, service: echo}]",
            3,
            10,
            "routes[0].id",
            "this key is missing; allowed: 1 to 128 printable characters",
        ),
        # kinds
        ("routes: {}", 3, 9, "routes", "wrong type; found a mapping; allowed: a list"),
        ("routes:", 3, 8, "routes", "wrong type; found null; allowed: a list (did you mean []?)"),
        ("routes: [x]", 3, 10, "routes[0]", "wrong type; found a text; allowed: a mapping"),
        ("routes: []\nserver: []", 4, 9, "server", "wrong type; found a list; allowed: a mapping"),
        ("routes: []\nserver: null", 4, 9, "server", "wrong type; found null; allowed: a mapping (did you mean {}?)"),
        (
            "routes: []\nserver: {threads: [1]}",
            4,
            19,
            "server.threads",
            "wrong type; found a list; allowed: a whole number from 1 to 4096",
        ),
        (
            "routes: []\nserver: {threads: {a: 1}}",
            4,
            19,
            "server.threads",
            "wrong type; found a mapping; allowed: a whole number from 1 to 4096",
        ),
        (
            "routes: []\ninclude: a.yaml",
            4,
            10,
            "include",
            "wrong type; found a text; allowed: a list (did you mean [a.yaml]?)",
        ),
        # scalars
        (
            'routes: []\nserver: {threads: "4"}',
            4,
            19,
            "server.threads",
            'wrong type; found "4"; allowed: a whole number from 1 to 4096 (did you mean 4?)',
        ),
        (
            "routes: []\nserver: {threads: 4.0}",
            4,
            19,
            "server.threads",
            "wrong type; found the number 4.0; allowed: a whole number from 1 to 4096",
        ),
        (
            "routes: []\nserver: {threads: 0}",
            4,
            19,
            "server.threads",
            "out of range; found the number 0; allowed: a whole number from 1 to 4096",
        ),
        (
            "routes: []\nserver: {threads: -1}",
            4,
            19,
            "server.threads",
            "out of range; found the number -1; allowed: a whole number from 1 to 4096",
        ),
        (
            "routes: []\nserver: {threads: null}",
            4,
            19,
            "server.threads",
            "wrong type; found null; allowed: a whole number from 1 to 4096",
        ),
        (
            "routes: []\nserver: {keepalive: 30}",
            4,
            21,
            "server.keepalive",
            "wrong type; found the number 30; allowed: a duration such as 500ms, 3s, 1m or 1h (did you mean 30s?)",
        ),
        (
            "routes: []\nserver: {client_idle: 0s}",
            4,
            23,
            "server.client_idle",
            'zero is not possible here; found "0s"; allowed: a duration above zero such as 500ms, 3s, 1m or 1h',
        ),
        (
            "routes: []\nserver: {max_request_body: 1MB}",
            4,
            28,
            "server.max_request_body",
            'not a size; found "1MB"; allowed: a size such as 512B, 64KiB or 2MiB (did you mean 1MiB?)',
        ),
        (
            "routes: []\nlogging: {sample: 0.5}",
            4,
            19,
            "logging.sample",
            "wrong type; found the number 0.5; allowed: a share from 0% to 100% (did you mean 50%?)",
        ),
        (
            "routes: []\nlogging: {access: yes}",
            4,
            19,
            "logging.access",
            'wrong type; found "yes"; allowed: true or false (did you mean true?)',
        ),
        (
            "routes: []\nlogging: {level: INFO}",
            4,
            18,
            "logging.level",
            'unknown value; found "INFO"; allowed: debug, info, warning or error (did you mean info?)',
        ),
        (
            "routes: []\nstate: {engine: nod}",
            4,
            17,
            "state.engine",
            'unknown value; found "nod"; allowed: memory, node or redis (did you mean node?)',
        ),
        (
            "routes: []\nstate: {engine: 1}",
            4,
            17,
            "state.engine",
            "unknown value; found the number 1; allowed: memory, node or redis",
        ),
        (
            "routes: []\nstate: {path: ''}",
            4,
            15,
            "state.path",
            'empty, or with a NUL; found ""; '
            "allowed: the path of a file, relative to the folder of the configuration file",
        ),
        (
            "routes: []\nserver: {pin_cpus: yes}",
            4,
            20,
            "server.pin_cpus",
            'wrong type; found "yes"; allowed: true or false or auto (did you mean true?)',
        ),
        (
            "routes: []\nserver: {trusted_proxies: [10.0.0.1/8]}",
            4,
            28,
            "server.trusted_proxies[0]",
            'wrong type; found "10.0.0.1/8"; '
            "allowed: a network such as 10.0.0.0/8 or fc00::/7, or an address or unix (did you mean 10.0.0.0/8?)",
        ),
        (
            "routes: []\nserver: {security_headers: {X-A: 1}}",
            4,
            34,
            "server.security_headers.X-A",
            "wrong type; found a number; allowed: the value of a header field: one line, without spaces at its ends",
        ),
        (
            "routes: []\nserver: {security_headers: {'X A': b}}",
            4,
            29,
            'server.security_headers["X…"]',
            "not the name of a header field; allowed: the name of a header field",
        ),
        (
            "routes: []\nserver: {security_headers: {X-A: b, x-a: c}}",
            4,
            37,
            "server.security_headers.x-a",
            "X-A again in another spelling",
        ),
        (
            "routes: []\nlisteners: {external: {bind: []}}",
            4,
            30,
            "listeners.external.bind",
            "empty; allowed: a list of at least 1",
        ),
        (
            "routes: []\nsetup: my_setup",
            4,
            8,
            "setup",
            'not module:function; found "my_setup"; allowed: module:function, or null',
        ),
        (
            "routes: []\ndiscovery: [{type: dsn}]",
            4,
            20,
            "discovery[0].type",
            'unknown value; found "dsn"; allowed: http, docker or dns (did you mean dns?)',
        ),
        (
            "routes: []\ndiscovery: [{url: x}]",
            4,
            13,
            "discovery[0].type",
            "this key is missing; allowed: http, docker or dns",
        ),
    ],
)
def test_one_wrong_value_is_one_problem_at_its_place(
    tmp_path: Path, text: str, line: int, column: int, path: str, message: str
):
    problem = problem_of(tmp_path, HEAD + text)
    assert (problem.line, problem.column, problem.path, problem.message) == (line, column, path, message)
    assert problem.file == str(tmp_path / "gateway.yaml")


@pytest.mark.parametrize("version", ["2", '"1"', "1.0", "null", "[1]"])
def test_only_version_1_is_known(tmp_path: Path, version: str):
    assert problem_of(tmp_path, f"version: {version}\nservices: {{}}\nroutes: []").path == "version"


def test_names_with_dots_stand_in_brackets(tmp_path: Path):
    text = "version: 1\nservices: {a.b: {expose: 1}}\nroutes: []"
    assert problem_of(tmp_path, text).path == 'services["a.b"].expose'


def test_an_aliased_value_is_told_where_it_is_written_under_the_key_where_it_is_used(tmp_path: Path):
    text = "version: 1\nservices:\n  a: &x {expose: maybe}\n  b: *x\nroutes: []"
    assert [(one.line, one.path) for one in problems_of(tmp_path, text)] == [
        (3, "services.a.expose"),
        (3, "services.b.expose"),
    ]


# --- what comes by ${…} -----------------------------------------------------------------------------------------------
ENVIRONMENT = {"N": "7", "T": "true", "D": "3s", "TEXT": "hunter2", "EMPTY": "", "NULL": "null", "BAD": "\udcff"}


def test_what_is_substituted_takes_the_type_of_its_key(tmp_path: Path):
    config = config_of(
        tmp_path,
        HEAD
        + """\
routes:
  - {id: "${N}", path: "/${TEXT}/*", hosts: ["${TEXT}.com"], service: echo}
server: {threads: "${N}", keepalive: "${D}", pin_cpus: "${T}", workers: "${NONE:-null}"}
logging: {access: "${T}", level: "${L:-debug}"}
admin: {token: "${TEXT}"}
""",
        ENVIRONMENT,
    )
    assert (config.routes[0].id, config.routes[0].path, config.routes[0].hosts) == ("7", "/hunter2/*", ("hunter2.com",))
    assert (config.server.threads, config.server.keepalive, config.server.pin_cpus, config.server.workers) == (
        7,
        3.0,
        True,
        None,
    )
    assert (config.logging.access, config.logging.level) == (True, "debug")
    assert config.admin.token
    assert config.admin.token.reveal() == "hunter2"


def test_null_from_outside_is_null_only_where_it_can_be_nothing_else(tmp_path: Path):
    config = config_of(
        tmp_path,
        HEAD + 'routes: []\nserver: {workers: "${NULL}"}\nadmin: {token: "${NULL}", register_token: "${X:-null}"}',
        ENVIRONMENT,
    )
    assert config.server.workers is None
    assert config.admin.token
    assert config.admin.token.reveal() == "null"
    assert config.admin.register_token is None


def test_what_files_hold_is_stripped(tmp_path: Path):
    write(tmp_path, "\n hunter2 \n\n", "secrets/token")
    config = config_of(tmp_path, HEAD + 'routes: []\nadmin: {token: "${file:secrets/${NAME}}"}', {"NAME": "token"})
    assert config.admin.token
    assert config.admin.token.reveal() == "hunter2"


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        ('server: {threads: "${TEXT}"}', "server.threads", "what stands for it: not a whole number"),
        ('server: {threads: "${NOPE}"}', "server.threads", "the environment variable NOPE is not set"),
        ('server: {threads: "${"}', "server.threads", "${ without the name"),
        ('server: {pin_cpus: "${TEXT}"}', "server.pin_cpus", "what stands for it: wrong type"),
        ('server: {keepalive: "${N}"}', "server.keepalive", "what stands for it: not a duration"),
        (
            'server: {security_headers: {X-A: "${LINES}"}}',
            "server.security_headers.X-A",
            "what stands for it: holds a control",
        ),
        ('server: "${TEXT}"', "server", "wrong type"),
        ('state: {engine: "${TEXT}"}', "state.engine", "what stands for it"),
        ('setup: "${TEXT}"', "setup", "what stands for it: not module:function"),
        ('admin: {token: "${EMPTY}"}', "admin.token", "what stands for it: empty"),
        ('admin: {token: "${EMPTY:-}"}', "admin.token", "what stands for it: empty"),
        ('admin: {token: ""}', "admin.token", "empty"),
        ('admin: {token: "${BAD}"}', "admin.token", "not UTF-8"),
        ('admin: {token: "${file:nowhere}"}', "admin.token", "no such file"),
        ('admin: {token: "${file:${TEXT}}"}', "admin.token", "no such file"),
        ('admin: {token: "${file:.}"}', "admin.token", "it is a folder"),
        ('admin: {token: "${file:big}"}', "admin.token", "larger than 65536"),
        ('admin: {token: "${file:latin}"}', "admin.token", "not UTF-8"),
        ('include: ["${TEXT}"]', "include[0]", "no such file"),
        ('metrics: {path: "${TEXT}"}', "metrics.path", "what stands for it"),
    ],
)
def test_a_wrong_substitution_is_shown_as_written_and_never_as_what_it_stands_for(
    tmp_path: Path, text: str, path: str, why: str
):
    write(tmp_path, "x" * 65537, "big")
    (tmp_path / "latin").write_bytes(b"\xe4")
    problem = problem_of(tmp_path, HEAD + "routes: []\n" + text, {**ENVIRONMENT, "LINES": "hunter2\nhunter2"})
    assert (problem.line, problem.path) == (4, path)
    assert why in problem.why
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    "text",
    [
        "admin: {token: [hunter2]}",
        "admin: {token: {hunter2: 1}}",
        "admin: {token: {a: hunter2}}",
        "admin: {tokn: hunter2}",
        "admin: token:hunter2",
        "admin: {token:hunter2}",
        "admin: {token=hunter2: 1}",
        "admin: {'token:hunter2': 1, 'token:hunter2': 2}",
        "admin: {token: *hunter2}",
        "admin: {token: !hunter2 x}",
        "admin: {register_token: 123, token: 'x' hunter2}",
        "server: {security_headers: {Authorization: 'hunter2 '}}",
        "server: {security_headers: {Authorization: ' hunter2'}}",
        "state: {redis: {url: 'redis:://u:hunter2@h'}}",
        "state: {redis: {url: 'http://u:hunter2@h'}}",
        "services: {s: {instances: [{id: a, url: 'http://u:hunter2@h'}]}}",
        "services: {s: {sticky: {cookie: a, secret: [hunter2]}}}",
        "services: {'http://u:hunter2@h': {}}",
        "server: {security_headers: {'Authorization: hunter2': x}}",
        "services: ['http://u:hunter2@h/x']",
        "auth: {jwt: hunter2}",
        "auth: {jwt: [hunter2]}",
        "auth: {api_key: {keys: [{id: a, sha256: hunter2}]}}",
        "auth: {api_key: {keys: [hunter2]}}",
        "routes: [{id: a, path: '/${S}//', service: '${S}', methods: ['${S} x'], hosts: ['${S}!']}]",
        "routes: [{id: '${S}', path: /a, service: '{${S}}'}, {id: '${S}', path: /a, service: '${S}'}]",
        "routes: [{id: a, path: '~(?P<${S}', split: [{service: '${S}'}], cors: '${S}', rate_limit: '${S}'}]",
        "routes: [{id: a, path: '/{${S}}', service: '{x}', strip_prefix: '/${S}', rewrite: {path: '/{${S}x}'}}]",
        'routes: [{id: a, path: /, fixed_response: {}, rewrite: {request_headers: {set: {Authorization: "${S}\\n"}}}}]',
        "listeners: {external: {bind: ['${S}']}}",
        "listeners: {external: {bind: ['0.0.0.0:1', '0.0.0.0:${P}']}}",
    ],
)
def test_secrets_appear_in_no_message(tmp_path: Path, text: str):
    key = text.partition(":")[0]
    rest = "".join(f"{line}\n" for line in ("services: {}", "routes: []") if not line.startswith(key + ":"))
    problems = problems_of(tmp_path, f"version: 1\n{rest}{text}", {"S": "hunter2", "P": "1"})
    assert problems
    assert not any("hunter2" in str(problem) for problem in problems)
