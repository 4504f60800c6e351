from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.config.support import config_of, problem_of, problems_of

HEAD = "version: 1\nservices: {echo: {}}\nroutes: [{id: a, path: /a, service: echo}]\n"


def test_without_listeners_nothing_could_reach_the_gateway(tmp_path: Path):
    problems = problems_of(tmp_path, HEAD + "listeners: {external: null, internal: null}")
    assert (problems[-1].line, problems[-1].path) == (4, "listeners")
    assert "both listeners are null" in problems[-1].why


@pytest.mark.parametrize(
    ("listeners", "path"),
    [
        ('{external: {bind: ["127.0.0.1:9000", "127.0.0.1:9000"]}}', "listeners.external.bind[1]"),
        ('{external: {bind: ["127.0.0.1:9000"]}, internal: {bind: ["127.0.0.1:9000"]}}', "listeners.internal.bind[0]"),
        ('{external: {bind: ["0.0.0.0:8001"]}}', "listeners.internal"),
        ('{external: {bind: ["unix:/tmp/a", "unix:///tmp/a"]}}', "listeners.external.bind[1]"),
    ],
)
def test_two_binds_of_one_address_are_refused(tmp_path: Path, listeners: str, path: str):
    problem = problem_of(tmp_path, HEAD + f"listeners: {listeners}")
    assert (problem.line, problem.path) == (4, path)
    assert "the address is taken" in problem.why


def test_one_port_on_two_addresses_is_two_binds(tmp_path: Path):
    config_of(tmp_path, HEAD + 'listeners: {external: {bind: ["127.0.0.1:9000", "127.0.0.2:9000", "[::1]:9000"]}}')


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (
            "listeners: {internal: null}\nadmin: {listeners: [external, internal]}\nmetrics: {listeners: []}",
            "admin.listeners[1]",
        ),
        (
            "listeners: {internal: null}\nadmin: {listeners: []}\nmetrics: {listeners: [internal]}",
            "metrics.listeners[0]",
        ),
        ("listeners: {external: null}", "routes[0]"),
    ],
)
def test_a_listener_that_is_null_cannot_be_named(tmp_path: Path, text: str, path: str):
    if "external: null" not in text:
        text = text.replace("internal: null", 'external: {bind: ["127.0.0.1:8000"]}, internal: null')
    problem = problem_of(tmp_path, HEAD + text)
    assert problem.path == path
    assert "null" in problem.why


@pytest.mark.parametrize(
    ("listeners", "path"), [("[internal]", "routes[0].listeners[0]"), ("[]", "routes[0].listeners")]
)
def test_a_route_needs_a_listener_that_is_there(tmp_path: Path, listeners: str, path: str):
    text = f"""\
        version: 1
        services: {{echo: {{}}}}
        listeners: {{external: {{bind: ["127.0.0.1:8000"]}}, internal: null}}
        admin: {{listeners: []}}
        metrics: {{listeners: []}}
        routes: [{{id: a, path: /a, service: echo, listeners: {listeners}}}]
        """
    assert problem_of(tmp_path, text).path == path


def test_an_admin_api_that_no_listener_carries_is_a_warning(tmp_path: Path):
    text = HEAD + 'listeners: {external: {bind: ["127.0.0.1:8000"]}, internal: null}'
    warnings = config_of(tmp_path, text).warnings
    assert [warning.path for warning in warnings] == ["admin", "metrics"]
    assert config_of(tmp_path, text + "\nadmin: {listeners: []}\nmetrics: {listeners: []}").warnings == ()


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ('listeners: {internal: {bind: ["0.0.0.0:8001"]}}', ["listeners.internal.bind[0]"]),
        (
            'listeners: {internal: {bind: ["0.0.0.0:8001", "10.0.0.1:8002"]}}',
            ["listeners.internal.bind[0]", "listeners.internal.bind[1]"],
        ),
        ('listeners: {internal: {bind: ["gateway.internal:8001"]}}', ["listeners.internal.bind[0]"]),
        ('listeners: {internal: {bind: ["0.0.0.0:8001"]}}\nadmin: {listeners: []}', ["listeners.internal.bind[0]"]),
        ("admin: {listeners: [external]}", ["listeners.external"]),
        ('listeners: {internal: {bind: ["127.0.0.1:8001", "[::1]:8001", "localhost:8002", "unix:/tmp/x"]}}', []),
        ('listeners: {internal: {bind: ["0.0.0.0:8001"]}}\nadmin: {token: x}', []),
        ('listeners: {internal: {bind: ["0.0.0.0:8001"]}}\nadmin: {register_token: x}', []),
        ('listeners: {internal: {bind: ["0.0.0.0:8001"]}}\nadmin: {insecure: true}', []),
        ("", []),
    ],
)
def test_beyond_this_machine_the_admin_api_needs_a_token_or_a_clear_word(tmp_path: Path, text: str, refused: list[str]):
    text = HEAD + text
    if not refused:
        config_of(tmp_path, text)
        return
    problems = problems_of(tmp_path, text)
    assert [problem.path for problem in problems] == refused
    assert all("insecure: true" in problem.message for problem in problems)


def test_a_token_for_registration_alone_is_a_warning(tmp_path: Path):
    (warning,) = config_of(tmp_path, HEAD + "admin: {register_token: x}").warnings
    assert (warning.line, warning.path) == (4, "admin.register_token")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("one", "two"):
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        files = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run([*new, *files], cwd=folder, check=True, capture_output=True)
    lock = ["openssl", "ec", "-in", "one.key", "-aes128", "-passout", "pass:x", "-out", "locked.key"]
    subprocess.run(lock, cwd=folder, check=True, capture_output=True)
    (folder / "junk.pem").write_text("junk")
    return folder


@pytest.mark.parametrize(
    ("tls", "path", "why"),
    [
        ("certificate: one.pem, key: one.key", None, ""),
        ("certificate: one.pem, key: one.key, client_ca: two.pem, client_auth: required", None, ""),
        ("certificate: one.pem, key: two.key", "certificate", "do not belong together"),
        ("certificate: junk.pem, key: one.key", "certificate", "not PEM"),
        ("certificate: one.pem, key: locked.key", "certificate", "has a password"),
        ("certificate: one.pem, key: nowhere.key", "key", "no such file"),
        ("certificate: ., key: one.key", "certificate", "it is a folder"),
        ("certificate: one.pem, key: one.key, client_ca: junk.pem", "client_ca", "no certificates"),
        ("certificate: one.pem, key: one.key, client_auth: optional", "client_auth", "needs client_ca"),
        ("certificate: one.pem", "key", "this key is missing"),
    ],
)
def test_certificates_are_looked_at(tmp_path: Path, certificates: Path, tls: str, path: str | None, why: str):
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    text = HEAD + 'listeners: {external: {bind: ["127.0.0.1:8000"], tls: {' + tls + "}}}"
    if path is None:
        config_of(tmp_path, text)
        return
    problem = problem_of(tmp_path, text)
    assert (problem.line, problem.path) == (4, f"listeners.external.tls.{path}")
    assert why in problem.why
