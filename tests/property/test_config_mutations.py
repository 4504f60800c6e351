"""A damaged configuration file, however it is damaged, is a Config or problems with places, never a traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.load import load
from gateway.config.mask import mask
from gateway.config.model import Config
from gateway.config.problems import ConfigErrors
from gateway.config.render import render_json
from gateway.routing.table import Table, rows

SECRET = "hunter2-hunter2"
ENVIRONMENT = {"SECRET": SECRET, "PORT": "8081", "EMPTY": "", "JUNK": "\x00\n: [", "BYTES": "\udcff"}
GOOD = (Path(__file__).parents[1] / "unit/config/contract.yaml").read_text()
RICH = """\
version: 1
include: [more.yaml]
listeners: {external: {bind: ["127.0.0.1:8000", unix:/tmp/g.sock]}, internal: null}
admin: {listeners: [external], token: "${SECRET}"}
metrics: {listeners: [external]}
defaults: {timeouts: &times {connect: 2s, request: 1m}}
services:
  echo: &echo
    instances:
      - {id: inst-1, url: "http://127.0.0.1:${PORT}", weight: 3}
    timeouts: *times
    breaker: {failures: 3, open_for: 1.5m}
  other: *echo
  "quoted": {tls: null, registration: off, retries: {attempts: 1}}
routes:
  - id: one
    path: /{name}/x/*
    service: "{name}"
    strip_prefix: /{name}
    hosts: [api.example.com, "*.example.com"]
    methods: [GET, POST]
    headers: {X-Version: v2, X-Beta: "*"}
    rewrite: {request_headers: {set: {Authorization: "${SECRET}"}, remove: [Cookie]}}
  - {id: two, path: "~^/v[0-9]+/", split: [{service: echo, weight: 90}, {service: other, weight: 10}]}
  - {id: three, path: /down, fixed_response: {status: 503, body: "maintenance"}}
logging: {level: debug, sample: 12.5%}
"""
VALUES = [
    "",
    "null",
    "~",
    "[]",
    "{}",
    "true",
    "yes",
    "0",
    "-1",
    "1e400",
    ".nan",
    "99999999999999999999",
    "0x",
    "1" * 5000,
    '""',
    "'",
    "*x",
    "&x",
    "!x",
    "@",
    "%",
    "[",
    "{",
    "}",
    "]",
    ":",
    "- -",
    "|",
    ">",
    "? a",
    "---",
    "${SECRET}",
    '"${SECRET}"',
    '"${EMPTY}"',
    '"${JUNK}"',
    '"${BYTES}"',
    '"${NOPE}"',
    '"${"',
    '"${file:/dev/zero}"',
    '"${file:/}"',
    "30s",
    "64KiB",
    "20%",
    "\t",
    "\x00",
    "\u2028",
    "\ufeff",
    "é",
    "😀",
    "/a//b",
    "~(",
    "~(?P<x",
    "/{x}{y}",
    "unix:",
    "http://u:hunter2-hunter2@h",
    "http://127.0.0.1:8000",
    "a" * 3000,
    '"\\ud800"',
    '"\\0"',
    "<<: *times",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    text = draw(st.sampled_from([GOOD, RICH]))
    for _ in range(draw(st.integers(1, 4))):
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        kind = draw(st.sampled_from(["delete", "repeat", "swap", "indent", "value", "item", "cut", "key"]))
        if kind == "delete":
            del lines[at]
        elif kind == "repeat":
            lines.insert(draw(st.integers(0, len(lines))), line)
        elif kind == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], line
        elif kind == "indent":
            lines[at] = draw(st.sampled_from([" ", "  ", "    ", "\t", "- "])) + line.removeprefix(
                draw(st.sampled_from(["", "  "]))
            )
        elif kind == "value" and ":" in line:
            lines[at] = line[: line.index(":") + 1] + " " + draw(st.sampled_from(VALUES))
        elif kind == "item" and ", " in line:
            parts = line.split(", ")
            parts[draw(st.integers(0, len(parts) - 1))] = draw(st.sampled_from(VALUES))
            lines[at] = ", ".join(parts)
        elif kind == "cut":
            lines[at] = line[: draw(st.integers(0, len(line)))]
        elif kind == "key":
            lines[at] = line.replace(
                draw(st.sampled_from(["s", "e", "_", ":"])), draw(st.sampled_from(["", "x", "::"])), 1
            )
        text = "\n".join(lines)
    content = bytearray(text.encode())
    for _ in range(draw(st.integers(0, 3))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.sampled_from([None, None, None, draw(st.integers(0, len(content)))]))])


def outcome(content: bytes) -> Config | ConfigErrors:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.yaml"
        path.write_bytes(content)
        (Path(folder) / "more.yaml").write_text("routes: [{id: more, path: /more, fixed_response: {}}]\n")
        try:
            return load(path, ENVIRONMENT)
        except ConfigErrors as errors:
            lines = (
                content.count(b"\n") + content.count(b"\r") + content.count(b"\xc2\x85") + content.count(b"\xe2\x80")
            )
            for problem in errors:
                assert problem.file in (str(path), str(Path(folder) / "more.yaml"))
                assert 1 <= problem.line <= lines + 2
                assert problem.column >= 1
                assert problem.why
                assert "\n" not in str(problem)
            return errors


@settings(deadline=None, max_examples=400)
@given(mutated())
def test_a_damaged_file_is_a_configuration_or_problems_with_places(content: bytes):
    found = outcome(content)
    if isinstance(found, ConfigErrors):
        assert len(found) > 0
        assert SECRET not in str(found)
        assert SECRET not in render_json(found)
    else:
        shown = str(mask(found)) + str(found.admin) + "".join(map(str, found.warnings))
        assert found.admin.token is None or SECRET not in shown.replace(f"/{SECRET}", "")


@settings(deadline=None, max_examples=150)
@given(mutated())
def test_what_is_accepted_can_be_built_into_a_route_table(content: bytes):
    found = outcome(content)
    if isinstance(found, Config):
        rows(found.routes)
        Table(found.routes, "external")
        Table(found.routes, "internal")


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=400))
def test_bytes_without_any_sense_are_problems(content: bytes):
    assert isinstance(outcome(content), ConfigErrors)


def test_the_files_that_are_mutated_are_good(tmp_path: Path):
    assert isinstance(outcome(RICH.encode()), Config)
    problems = outcome(GOOD.encode())
    assert isinstance(problems, ConfigErrors)
    assert {problem.path for problem in problems} == {"rate_limits", "cors"}  # examples, not built yet
